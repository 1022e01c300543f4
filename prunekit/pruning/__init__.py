"""The loop: rank, select, rebuild, fine-tune, record, and again."""

from prunekit.pruning.loop import PruningHistory, prune

__all__ = ["PruningHistory", "prune"]
