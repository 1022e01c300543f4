"""Criterion 1: how strong a filter's activation maps are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from prunekit.criteria.base import Criterion, Needs, Observation, summed_products
from prunekit.criteria.registry import register


@register("activation_l2", label="L2 of maps", source="Gaikwad 2018, chapter 7")
@dataclass(frozen=True)
class ActivationL2(Criterion):
    """L2 norm of a filter's activation map, averaged over examples (thesis, chapter 7).

    Examples
    --------
    >>> import torch
    >>> maps = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[0.0, 1.0], [2.0, 0.0]]])
    >>> ActivationL2()(Observation("conv", torch.nn.Conv2d(1, 2, 1), maps))  # (5+1)/2, (0+2)/2
    tensor([3., 1.])
    """

    needs: ClassVar[Needs] = "activations"

    def __call__(self, observation: Observation) -> Tensor:
        maps = observation.activation
        # vector_norm takes up to fifty times as long where positions are not next to one another.
        return summed_products(maps, maps).sqrt().mean(dim=0)
