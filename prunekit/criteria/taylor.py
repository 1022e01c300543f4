"""Criterion 2: how much the loss would change without a filter, to first order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunekit.criteria.base import Criterion, Observation, summed_products
from prunekit.criteria.registry import register


@register("taylor", label="Taylor", source="Molchanov et al. 2017, eq. 8; Gaikwad 2018, chapter 8")
@dataclass(frozen=True)
class Taylor(Criterion):
    """Absolute mean over positions of gradient x activation per example, averaged over examples.

    Setting a map r to zero changes the loss C by about −∂C/∂r · r (thesis,
    chapter 8). Its size is taken for each example, so that an example which
    gains and one which loses do not cancel (Molchanov et al. 2017, eq. 8). Of a
    layer that runs more than once, it is taken for each use, and added up.

    Examples
    --------
    >>> maps = torch.tensor([[[1.0, 2.0]], [[1.0, 2.0]]])
    >>> slopes = torch.tensor([[[1.0, 1.0]], [[-1.0, -1.0]]])
    >>> seen = Observation("conv", torch.nn.Conv2d(1, 1, 1), maps, slopes)
    >>> Taylor()(seen)
    tensor([1.5000])
    >>> TaylorSigned().finish(TaylorSigned()(seen))
    tensor([0.])
    """

    needs = "gradients"

    def __call__(self, observation: Observation) -> Tensor:
        return _change(observation).abs().mean(dim=0)


@register("taylor_signed", label="Taylor, signed", source="a widely used reading of taylor")
@dataclass(frozen=True)
class TaylorSigned(Criterion):
    """The variant in which examples cancel: the absolute value of one mean over all.

    A widely used implementation sums the signed products over all batches
    and takes the absolute value last.

    Examples
    --------
    An example gains 4.5 and another one loses 1.5:

    >>> maps = torch.tensor([[[1.0, 2.0]], [[1.0, 2.0]]])
    >>> slopes = torch.tensor([[[3.0, 3.0]], [[-1.0, -1.0]]])
    >>> seen = Observation("conv", torch.nn.Conv2d(1, 1, 1), maps, slopes)
    >>> TaylorSigned().finish(TaylorSigned()(seen)), Taylor()(seen)
    (tensor([1.5000]), tensor([3.]))
    """

    needs = "gradients"

    def __call__(self, observation: Observation) -> Tensor:
        return _change(observation).mean(dim=0)

    def finish(self, mean: Tensor) -> Tensor:
        return torch.abs(mean)


def _change(observation: Observation) -> Tensor:
    """Mean over positions of gradient times activation, of shape (examples, filters)."""
    products = summed_products(observation.gradient, observation.activation)
    return products / observation.activation.shape[2]
