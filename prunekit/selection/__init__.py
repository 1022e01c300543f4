"""Which filters go next: a min-heap over the scores of all layers, and its limits."""

from prunekit.selection.heap import Selection, checked_ranking, removable, select
from prunekit.selection.limits import LEAST, caps_of, floors_of

__all__ = ["LEAST", "Selection", "caps_of", "checked_ranking", "floors_of", "removable", "select"]
