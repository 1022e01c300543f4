"""How much the loss would change without a filter, to second order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from prunekit.criteria.base import Criterion, Observation, summed_products
from prunekit.criteria.registry import register


@register("fisher", label="Fisher diagonal", source="Theis et al. 2018; Liu et al. 2021")
@dataclass(frozen=True)
class Fisher(Criterion):
    """Half the Fisher diagonal of each filter's gate, as optimal brain damage has of a weight.

    Think of each map as multiplied by a gate of 1, which a removal sets to
    zero. At a minimum the first derivative by the gate vanishes, and the loss
    rises by half the second one (LeCun, Denker and Solla 1990). Of that, the
    empirical Fisher information stands in: the square of the derivative of
    each example's own loss, averaged over examples (Theis et al. 2018). The
    derivative is the sum over positions of gradient x activation.

    It is squared for each example, not for a batch, so that scores do not
    depend on how batches are made. And the gradients of a filter's weights are
    added up before they are squared: where its map is proportional to its
    weights w, the score is half of w F w, with F their whole Fisher block and
    not its diagonal, by which weights of one filter would go independently.
    Coupled filters have the sum of their scores, and so do the uses of a layer
    that runs more than once. What would come of adding up their gradients
    first, as group Fisher does (Liu et al. 2021), is left out. Layers are
    compared as they are.

    The update of the other weights that belongs to a Hessian (optimal brain
    surgeon) is zero where it is diagonal over filters, as here. With that of
    the error in the next layer's output, it is what
    :func:`prunekit.repair` finds by ``method="least_squares"``.

    Examples
    --------
    >>> import torch
    >>> maps = torch.tensor([[[1.0, 2.0]], [[1.0, 2.0]]])
    >>> slopes = torch.tensor([[[1.0, 1.0]], [[-1.0, 0.0]]])
    >>> seen = Observation("conv", torch.nn.Conv2d(1, 1, 1), maps, slopes)
    >>> Fisher()(seen)  # (3^2 + 1^2) / 2 examples / 2
    tensor([2.5000])
    """

    needs: ClassVar = "gradients"
    normalized: ClassVar = False
    pool: ClassVar = "sum"

    def __call__(self, observation: Observation) -> Tensor:
        slopes = summed_products(observation.gradient, observation.activation)
        return slopes.square().mean(dim=0) / 2
