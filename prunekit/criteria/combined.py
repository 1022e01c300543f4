"""Criterion 3: several criteria brought together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import pandas as pd

from prunekit.criteria.activation import ActivationL2
from prunekit.criteria.base import Criterion, usable
from prunekit.criteria.registry import register
from prunekit.criteria.taylor import Taylor


@register("combined", label="sum of scores", source="Gaikwad 2018, chapter 9")
@dataclass(frozen=True)
class Combined(Criterion):
    """The sum of the scores of its parts, normalised by layer. Parts may be combined ones, too.

    A part that is compared over layers as it is, such as ``fisher``
    (``normalized = False``), enters as it is, and may outweigh the others or
    vanish beside them. :class:`CombinedRanks` does not mind.

    The thesis (chapter 9) combines the rankings by activation L2 and by
    Taylor expansion; how, it leaves open.

    Examples
    --------
    :func:`prunekit.rank` takes it with parts of your own, as in
    ``Combined((WeightNorm(1), Taylor()))``, and shows it the scores of each:

    >>> combined = Combined()
    >>> activation, taylor = combined.parts
    >>> combined.scores({activation: pd.Series([0.1, 0.6]), taylor: pd.Series([0.5, 0.2])}).tolist()
    [0.6, 0.8]
    """

    parts: tuple[Criterion, ...] = (ActivationL2(), Taylor())

    def leaves(self) -> Sequence[Criterion]:
        if not self.parts:
            raise ValueError(f"{type(self).__name__} needs at least one criterion as its parts")
        return [leaf for part in self.parts for leaf in usable(part).leaves()]

    def scores(self, seen: Mapping[Criterion, pd.Series]) -> pd.Series:
        return self.combine([part.scores(seen) for part in self.parts])

    def combine(self, scores: Sequence[pd.Series]) -> pd.Series:
        """One score for each filter, from those of the parts in their order."""
        return reduce(add, scores)


@register("combined_ranks", label="sum of ranks", source="Gaikwad 2018, chapter 9")
@dataclass(frozen=True)
class CombinedRanks(Combined):
    """The sum of the positions a filter has in the rankings of its parts, over all layers.

    Position 1 is the lowest score. Equal scores share a position, and so do
    coupled filters.

    Examples
    --------
    >>> combined = CombinedRanks()
    >>> activation, taylor = combined.parts
    >>> seen = {activation: pd.Series([0.1, 0.6, 0.3]), taylor: pd.Series([0.5, 0.2, 0.2])}
    >>> combined.scores(seen).tolist()  # positions 1, 3 and 2; 2, 1 and 1
    [3.0, 4.0, 3.0]
    """

    def combine(self, scores: Sequence[pd.Series]) -> pd.Series:
        return super().combine([score.rank(method="dense") for score in scores])
