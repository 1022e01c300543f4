"""The criterion that knows nothing, which every other one has to beat."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from prunekit.criteria.base import Criterion, Observation
from prunekit.criteria.weight import filters_of


@dataclass(frozen=True)
class Random(Criterion):
    """Uniform scores in [0, 1), the same for the same seed, layer name and number of filters.

    They are not normalised, which would favour the filters of small layers,
    and coupled filters take the draw of the first: a mean of many draws lies
    near one half, and such a group would never be among the lowest.
    """

    needs: ClassVar = "weights"
    normalized: ClassVar = False
    pool: ClassVar = "first"
    seed: int = 0

    def __call__(self, observation: Observation) -> Tensor:
        filters = len(filters_of(observation.module))
        # torch's CPU generator looks at 32 bits of a seed only.
        own_seed = zlib.crc32(f"{self.seed} {observation.layer}".encode())
        return torch.rand(filters, generator=torch.Generator().manual_seed(own_seed))
