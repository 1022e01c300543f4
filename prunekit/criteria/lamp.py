"""Magnitude that layers can be compared by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from prunekit.criteria.base import Criterion, Observation
from prunekit.criteria.registry import register
from prunekit.criteria.weight import filters_of


@register("lamp", label="LAMP", source="Lee et al. 2021, read for whole filters")
@dataclass(frozen=True)
class LAMP(Criterion):
    """Layer-adaptive magnitude (Lee et al. 2021), read for whole filters.

    Squared L2 norm of a filter, divided by the sum of the squared norms of
    all filters of its layer that are not smaller: its share of what would be
    left if the smaller ones went first. The largest of each layer has 1, so
    that scores are compared over layers as they are. The paper scores single
    weights; one score for a whole filter is our reading. Filters of zeros
    have 0; biases are left out.

    Examples
    --------
    >>> layer = torch.nn.Linear(1, 3)
    >>> layer.weight.data = torch.tensor([[1.0], [-3.0], [2.0]])
    >>> LAMP()(Observation("fc", layer)).tolist() == [1 / (1 + 9 + 4), 9 / 9, 4 / (4 + 9)]
    True
    """

    normalized: ClassVar = False

    def __call__(self, observation: Observation) -> Tensor:
        squares = filters_of(observation.module).double().square().sum(dim=1)
        rest = (squares >= squares.unsqueeze(1)).double() @ squares
        return squares / torch.where(rest == 0, 1, rest)
