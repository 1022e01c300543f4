"""Closed-form correction after removal, and batch norms put in and folded away."""

from prunekit.repair.batch_norms import fold_batch_norm, insert_batch_norm
from prunekit.repair.closed_form import repair

__all__ = ["fold_batch_norm", "insert_batch_norm", "repair"]
