"""The loop: rank, select, rebuild, fine-tune, record, and again; and units pruned alone."""

from prunekit.pruning.history import PruningHistory
from prunekit.pruning.loop import prune
from prunekit.pruning.sensitivity import Sensitivity, sensitivity

__all__ = ["PruningHistory", "Sensitivity", "prune", "sensitivity"]
