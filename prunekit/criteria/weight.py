"""Criteria that read the weights alone, and need no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from prunekit.channels.kinds import kind_of
from prunekit.channels.layers import IN
from prunekit.checks import number
from prunekit.criteria.base import Criterion, Observation
from prunekit.criteria.registry import register


def filters_of(module: nn.Module, values: Tensor | None = None) -> Tensor:
    """The weights of a convolution or linear layer as rows, of shape (filters, weights each).

    Or any other ``values`` of the shape of its weights.

    Examples
    --------
    >>> filters_of(nn.Conv2d(3, 8, 5)).shape, filters_of(nn.ConvTranspose2d(6, 8, 5)).shape
    (torch.Size([8, 75]), torch.Size([8, 150]))
    """
    weight = torch.as_tensor(module.weight).detach() if values is None else values
    if kind_of(module).cut["weight"][0] == IN:
        # Stored as (inputs, filters of one group, ...): bring the filters of all groups first.
        weight = weight.unflatten(0, (module.groups, -1)).transpose(1, 2).flatten(0, 1)
    return weight.flatten(1)


@register("weight_l2", label="L2 of weights", source="Li et al. 2017", order=2)
@register("weight_l1", label="L1 of weights", source="Li et al. 2017", order=1)
@dataclass(frozen=True)
class WeightNorm(Criterion):
    """L1 or L2 norm of a filter's weights, its bias left out (Li et al. 2017 use L1).

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> _ = nn.init.constant_(layer.weight, -2.0)
    >>> WeightNorm(1)(Observation("fc", layer)).tolist()
    [4.0]
    """

    needs: ClassVar = "weights"
    order: float = 2

    def __post_init__(self) -> None:
        number("order", self.order, above=0)

    def __call__(self, observation: Observation) -> Tensor:
        return torch.linalg.vector_norm(filters_of(observation.module), self.order, dim=1)
