"""How far a filter lies from the geometric median of its layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunekit.criteria.base import Criterion, Observation
from prunekit.criteria.registry import register
from prunekit.criteria.weight import filters_of


@register("fpgm", label="FPGM", source="He et al. 2019, eq. 8")
@dataclass(frozen=True)
class FPGM(Criterion):
    """Sum of the Euclidean distances from a filter to all others of its layer.

    A filter near the geometric median of its layer, where this sum is least,
    is the one that the others can best stand in for (He et al. 2019, eq. 8).
    Biases are left out.

    Examples
    --------
    >>> layer = torch.nn.Linear(1, 3)
    >>> layer.weight.data = torch.tensor([[0.0], [1.0], [5.0]])
    >>> FPGM()(Observation("fc", layer)).tolist()  # 1+5, 1+4, 5+4
    [6.0, 5.0, 9.0]
    """

    def __call__(self, observation: Observation) -> Tensor:
        # Distances come from products, which in float32 would blur filters that are close.
        filters = filters_of(observation.module).double()
        return torch.cdist(filters, filters).sum(dim=1)
