"""How many patterns a filter's map is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunekit.criteria.base import PART, Criterion, Observation
from prunekit.criteria.registry import register


@register("hrank", label="HRank", source="Lin et al. 2020, section 3")
@dataclass(frozen=True)
class HRank(Criterion):
    """Rank of a filter's activation map as a matrix, averaged over examples (Lin et al. 2020).

    The rank is the number of singular values above the rounding error of
    the largest. It needs a singular value decomposition a map, which takes
    far longer than the forward pass: a few batches are enough (the paper
    looks at 500 images). A map of one position has rank 1, or 0 where it is
    zero; of three spatial dimensions, the last two count as one. Of a layer
    that runs more than once, the ranks of its uses add up.

    Examples
    --------
    >>> maps = torch.tensor([[[1.0, 0.0, 0.0, 1.0], [1.0, 2.0, 1.0, 2.0]]])  # two of 2x2
    >>> HRank()(Observation("conv", torch.nn.Conv2d(1, 2, 1), maps, extent=(2, 2)))
    tensor([2., 1.])
    """

    needs = "activations"

    def __call__(self, observation: Observation) -> Tensor:
        maps, rows = observation.activation, next(iter(observation.extent), 1)
        kind = torch.promote_types(maps.dtype, torch.float32)
        ranks = [
            torch.linalg.matrix_rank(part.to(kind).unflatten(2, (rows, -1)))
            for part in maps.split(max(1, PART // max(1, maps[0].numel())))
        ]
        return torch.cat(ranks).to(kind).mean(dim=0)
