"""Criterion 3: several criteria brought together."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from prunekit.criteria.activation import ActivationL2
from prunekit.criteria.base import Criterion
from prunekit.criteria.taylor import Taylor


@dataclass(frozen=True)
class Combined:
    """The sum of the layer-wise normalised scores of its parts.

    The thesis (chapter 9) combines the rankings by activation L2 and by
    Taylor expansion; how, it leaves open.
    """

    parts: tuple[Criterion, ...] = (ActivationL2(), Taylor())

    def combine(self, scores: list[pd.Series]) -> pd.Series:
        return sum(scores)


@dataclass(frozen=True)
class CombinedRanks:
    """The sum of the positions a filter has in the rankings of its parts, over all layers.

    Position 1 is the lowest score. Equal scores share a position, and so do
    coupled filters.
    """

    parts: tuple[Criterion, ...] = (ActivationL2(), Taylor())

    def combine(self, scores: list[pd.Series]) -> pd.Series:
        return sum(score.rank(method="dense") for score in scores)
