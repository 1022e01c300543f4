"""The loop: rank, select, rebuild, fine-tune, record, and again."""

from prunekit.pruning.history import PruningHistory
from prunekit.pruning.loop import prune

__all__ = ["PruningHistory", "prune"]
