"""What a criterion is, and the layer-wise normalisation that all share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from prunekit.checks import choice, shown
from prunekit.checks.settings import Normalizer, normalizer

if TYPE_CHECKING:
    from jaxtyping import Float

Needs = Literal["weights", "outputs", "activations", "gradients", "weight_gradients", "batch_norms"]
#: Of these, what takes a backward pass, and what takes a pass over the data at all.
FROM_LOSS: frozenset[Needs] = frozenset({"gradients", "weight_gradients"})
FROM_DATA: frozenset[Needs] = FROM_LOSS | {"outputs", "activations"}
#: What no criterion finds missing: it reads only what it says it needs.
ABSENT: Any = None


@dataclass(frozen=True)
class Observation:
    """What a criterion sees of one layer.

    Attributes
    ----------
    activation : tensor of shape (examples, filters, positions)
        The layer's activation maps as its consumer sees them, each flattened.
        A linear layer has one position. For criteria that need ``"outputs"``,
        the maps as the layer itself gives them, before batch norm and
        activation function. None for criteria that need no data.
    gradient : tensor of the same shape
        Derivative of each example's own loss with respect to its maps. None
        unless the criterion needs gradients.
    extent : tuple of int
        Height and width of a map before it was flattened; empty for a linear
        layer and without maps.
    scale : tensor of shape (filters,)
        Absolute scale of the batch norm that each filter's map passes, NaN
        where it passes none. None unless the criterion needs batch norms.
    weight_gradient : tensor of the shape of the layer's weight
        Derivative of the mean loss of a batch with respect to it. None unless
        the criterion needs gradients of weights.
    """

    layer: str
    module: nn.Module
    activation: Float[Tensor, "examples filters positions"] = ABSENT
    gradient: Float[Tensor, "examples filters positions"] = ABSENT
    extent: tuple[int, ...] = ()
    scale: Float[Tensor, " filters"] = ABSENT
    weight_gradient: Tensor = ABSENT


class Criterion:
    """Base of the criteria: one score for each filter, low for those that matter little.

    A criterion of one's own is a class with a ``__call__``:

    >>> class LargestValue(Criterion):
    ...     needs = "activations"
    ...
    ...     def __call__(self, observation):
    ...         return observation.activation.amax(dim=2).mean(dim=0)
    >>> maps = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])  # 1 example, 2 filters, 2 positions
    >>> LargestValue()(Observation("conv", nn.Conv2d(1, 2, 1), maps))
    tensor([2., 3.])

    Pass such an object to :func:`prunekit.rank`, or give it a name by
    :func:`prunekit.criteria.register`.
    """

    #: What an observation must hold.
    needs: ClassVar[Needs] = "weights"
    #: Whether a layer's scores are normalised before layers are compared.
    normalized: ClassVar[bool] = True
    #: How coupled filters come to their one score, by an aggregation that pandas knows.
    pool: ClassVar[str] = "mean"

    def __call__(self, observation: Observation) -> Tensor:
        """Scores of shape (filters,), the mean over the examples of the observation.

        Or any other tensor that is such a mean, if ``finish`` makes scores of it.
        """
        raise NotImplementedError

    def finish(self, mean: Tensor) -> Float[Tensor, " filters"]:
        """Scores from the mean over all examples, once it is known."""
        return mean

    def leaves(self) -> Sequence[Criterion]:
        """The criteria that look at the network for this one: itself, unless it combines others."""
        return (self,)

    def scores(self, seen: Mapping[Criterion, pd.Series]) -> pd.Series:
        """One score for each filter of the network, from those of all leaves."""
        return seen[self]


def usable(criterion: object) -> Criterion:
    """The criterion itself, if it and those that it combines are criteria; else an error."""
    if isinstance(criterion, type):
        raise TypeError(f"a criterion is an object: pass {criterion.__name__}(), not the class")
    kind: type[Any] = type(criterion)
    if not isinstance(criterion, Criterion) or (
        kind.__call__ is Criterion.__call__ and kind.leaves is Criterion.leaves
    ):
        raise TypeError(
            "a criterion, and each part of a combined one, is an object of a subclass of "
            f"Criterion with a __call__ of its own, not {shown(criterion)}"
        )
    name, pool = kind.__name__, criterion.pool
    choice(f"{name}.needs", criterion.needs, get_args(Needs))
    if not isinstance(pool, str) or not hasattr(pd.api.typing.SeriesGroupBy, pool):
        raise ValueError(f"{name}.pool must be an aggregation of pandas, not {pool!r}")
    if kind.__hash__ is None:
        raise TypeError(f"{name} cannot be hashed: make the dataclass frozen")
    criterion.leaves()
    return criterion


def normalise(
    scores: Float[Tensor, " filters"], by: Normalizer = "l2"
) -> Float[Tensor, " filters"]:
    """Divide a layer's scores by their size; scores that are all zero stay zero.

    Layers differ in the size of their maps and of their gradients. Without
    this step most filters would be taken from whichever layer happens to have
    the smallest scores (Molchanov et al. 2017, section 2.2).

    Parameters
    ----------
    by
        ``"l2"``, the L2 norm, as in that paper and in the thesis: of n equal
        scores it makes 1 / sqrt(n) each, so that wide layers lose filters
        first. ``"mean"``, the mean absolute score: equal scores become 1,
        however many there are. False: nothing is divided.

    Examples
    --------
    >>> normalise(torch.tensor([3.0, 4.0]))
    tensor([0.6000, 0.8000])
    >>> normalise(torch.ones(4)), normalise(torch.ones(4), "mean")
    (tensor([0.5000, 0.5000, 0.5000, 0.5000]), tensor([1., 1., 1., 1.]))
    >>> normalise(torch.zeros(2))
    tensor([0., 0.])
    """
    normalizer("by", by)
    if not isinstance(scores, Tensor) or scores.dim() != 1 or not len(scores):
        raise TypeError(f"scores must be a tensor of shape (filters,), not {shown(scores)}")
    if not scores.isfinite().all():
        raise ValueError("scores must be finite, and some are NaN or infinite")
    if not by:
        return scores
    # Scaling by the largest first keeps squares of tiny or huge scores representable.
    largest = scores.abs().amax()
    if largest == 0:
        return scores
    scaled = scores / largest
    return scaled / (torch.linalg.vector_norm(scaled) if by == "l2" else scaled.abs().mean())


# Maps that must be copied are worked on in parts of so many numbers: 4 MB of float32.
PART = 1 << 20


def summed_products(a: Tensor, b: Tensor) -> Tensor:
    """Sums over positions of a times b, for tensors of shape (examples, filters, positions).

    Sums of half-precision numbers are taken in float32.

    Examples
    --------
    >>> summed_products(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0]]]))
    tensor([[11.]])
    """
    kind = torch.promote_types(a.dtype, torch.float32)
    a, b = a.to(kind), b.to(kind)
    if a.device.type != "cpu":
        return (a * b).sum(dim=2)
    # NumPy sums as it multiplies. Torch writes the product first, as large as the maps themselves.
    return torch.from_numpy(np.einsum("ncp,ncp->nc", a.numpy(), b.numpy()))
