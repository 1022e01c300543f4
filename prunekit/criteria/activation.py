"""Criterion 1: how strong a filter's activation maps are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunekit.criteria.base import Criterion, Observation


@dataclass(frozen=True)
class ActivationL2(Criterion):
    """L2 norm of a filter's activation map, averaged over examples (thesis, chapter 7).

    Examples
    --------
    >>> maps = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[0.0, 1.0], [2.0, 0.0]]])
    >>> ActivationL2()(Observation("conv", torch.nn.Conv2d(1, 2, 1), maps))  # (5+1)/2, (0+2)/2
    tensor([3., 1.])
    """

    needs = "activations"

    def __call__(self, observation: Observation) -> Tensor:
        return torch.linalg.vector_norm(observation.activation, dim=2).mean(dim=0)
