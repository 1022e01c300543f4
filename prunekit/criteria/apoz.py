"""How often a filter is silent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunekit.criteria.base import Criterion, Observation
from prunekit.criteria.registry import register


@register("apoz", label="APoZ", source="Hu et al. 2016, eq. 1")
@dataclass(frozen=True)
class APoZ(Criterion):
    """One minus the average percentage of zeros of a filter's maps (Hu et al. 2016, eq. 1).

    The share of positions, over all examples, at which the map is not zero.
    It tells filters apart only behind an activation that gives exact zeros,
    such as ReLU: other maps hardly ever are zero. Of a layer that runs more
    than once, the shares of its uses add up.

    Examples
    --------
    >>> maps = torch.tensor([[[0.0, 2.0], [0.0, 0.0]], [[1.0, 2.0], [3.0, 0.0]]])
    >>> APoZ()(Observation("conv", torch.nn.Conv2d(1, 2, 1), maps))  # 3 of 4, 1 of 4
    tensor([0.7500, 0.2500])
    """

    needs = "activations"

    def __call__(self, observation: Observation) -> Tensor:
        maps = observation.activation
        return torch.count_nonzero(maps, dim=(0, 2)) / (maps.shape[0] * maps.shape[2])
