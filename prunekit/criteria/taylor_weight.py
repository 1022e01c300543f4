"""How much the loss would change without the weights of a filter, to first order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from prunekit.criteria.base import Criterion, Observation
from prunekit.criteria.registry import register
from prunekit.criteria.weight import filters_of


@register("taylor_weight", label="Taylor of weights", source="Molchanov et al. 2019, eq. 8")
@dataclass(frozen=True)
class TaylorWeight(Criterion):
    """Square of the sum of gradient x weight over a filter's weights, averaged over batches.

    The sum is the first-order change of the loss if these weights were zero
    (Molchanov et al. 2019, eq. 8). Coupled filters have the sum of their
    squares, and layers are compared as they are, as the paper does. As
    there, the gradient is that of a batch's mean loss: scores depend on how
    large the batches are. Biases are left out.

    Examples
    --------
    >>> import torch
    >>> layer = torch.nn.Linear(2, 1)
    >>> layer.weight.data = torch.tensor([[2.0, 3.0]])
    >>> slopes = torch.tensor([[5.0, -1.0]])
    >>> TaylorWeight()(Observation("fc", layer, weight_gradient=slopes))  # (10 - 3)^2
    tensor([49.])
    """

    needs: ClassVar = "weight_gradients"
    normalized: ClassVar = False
    pool: ClassVar = "sum"

    def __call__(self, observation: Observation) -> Tensor:
        module = observation.module
        slopes = filters_of(module, observation.weight_gradient)
        return (slopes * filters_of(module)).sum(dim=1).square()
