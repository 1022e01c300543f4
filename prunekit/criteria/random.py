"""The criterion that knows nothing, which every other one has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from prunekit.criteria.base import Criterion, Observation
from prunekit.criteria.registry import register
from prunekit.criteria.weight import filters_of


@register("random", label="random", source="the baseline, as in Li et al. 2017")
@dataclass(frozen=True)
class Random(Criterion):
    """Uniform scores in [0, 1), drawn anew each time from torch's global generator of the CPU.

    ``torch.manual_seed`` fixes them; :func:`prunekit.prune` seeds each of its
    iterations. They are not normalised, which would favour the filters of
    small layers, and coupled filters take the draw of the first: a mean of
    many draws lies near one half, and such a group would never be among the
    lowest.

    Examples
    --------
    >>> seen = Observation("fc", torch.nn.Linear(1, 2))
    >>> bool((Random()(seen) == Random()(seen)).any())
    False
    """

    needs: ClassVar = "weights"
    normalized: ClassVar = False
    pool: ClassVar = "first"

    def __call__(self, observation: Observation) -> Tensor:
        return torch.rand(len(filters_of(observation.module)))
