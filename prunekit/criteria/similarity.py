"""Which filters do the same as another one of their layer, and so need not both stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from prunekit.checks import flag
from prunekit.criteria.base import PART, Criterion, Observation
from prunekit.criteria.registry import register
from prunekit.criteria.weight import filters_of


def cosines(products: Tensor) -> Tensor:
    """Cosine of the angle between vectors, from the matrix of their inner products.

    Vectors of zeros are like one another (1) and unlike all others (0).

    Examples
    --------
    >>> vectors = torch.tensor([[3.0, 0.0], [4.0, 3.0], [0.0, 0.0]])
    >>> cosines(vectors @ vectors.T)
    tensor([[1.0000, 0.8000, 0.0000],
            [0.8000, 1.0000, 0.0000],
            [0.0000, 0.0000, 1.0000]])
    """
    lengths = products.diagonal().clamp(min=0).sqrt()
    zero = lengths == 0
    units = torch.where(zero, 1, lengths)
    angles = (products / units / units.unsqueeze(1)).clamp(-1, 1)
    return torch.where(zero & zero.unsqueeze(1), 1, angles)


def spare(similarity: Tensor, saliency: Tensor) -> Tensor:
    """How unlike each filter is to those that outlive it, when twins go one by one.

    Again and again, of the two filters left that are most similar the one of
    lower saliency goes, with the score 1 - similarity. The last one has 2,
    the score of its own opposite. A filter of no saliency at all goes
    as if it had a twin. Scores rise in the order in which filters
    go, so that removing those of lowest score takes one filter of each most
    similar pair and keeps the more salient.

    Parameters
    ----------
    similarity : tensor of shape (filters, filters), from -1 to 1
    saliency : tensor of shape (filters,)

    Returns
    -------
    Tensor of shape (filters,), from 0 (an exact twin stays) to 2.

    Examples
    --------
    Filters 0 and 1 are alike, and so are 1 and 2. Once 1 has gone in favour
    of 2, filter 0 has no twin any more:

    >>> similarity = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, 0.9], [0.0, 0.9, 1.0]])
    >>> spare(similarity, torch.tensor([1.0, 2.0, 3.0]))
    tensor([1.0000, 0.1000, 2.0000], dtype=torch.float64)
    """
    order = np.argsort(saliency.cpu().numpy(), kind="stable")
    ranked = similarity.double().cpu().numpy()[np.ix_(order, order)]
    ranked[saliency.cpu().numpy()[order] == 0] = 1
    # A filter (row) can go in favour of any that is left and more salient (to the right).
    left = np.where(np.triu(np.ones_like(ranked, dtype=bool), 1), ranked, -np.inf)
    closest, twin = left.max(axis=1), left.argmax(axis=1)
    scores = np.full(len(order), 2.0)
    for _ in range(len(order) - 1):
        gone = closest.argmax()
        scores[order[gone]] = 1 - closest[gone]
        closest[gone] = left[:, gone] = -np.inf
        lost = np.flatnonzero((twin == gone) & (closest > -np.inf))
        closest[lost], twin[lost] = left[lost].max(axis=1), left[lost].argmax(axis=1)
    return torch.from_numpy(scores)


def map_products(maps: Tensor) -> Tensor:
    """Inner products of the maps of each two filters, the mean over examples.

    ``maps`` has the shape (examples, filters, positions), the result
    (filters, filters).
    """
    kind = torch.promote_types(maps.dtype, torch.float32)
    total = maps.new_zeros(maps.shape[1], maps.shape[1], dtype=kind)
    for part in maps.split(max(1, PART // max(1, maps[0].numel()))):
        rows = part.to(kind).transpose(0, 1).flatten(1)
        total += rows @ rows.T
    return total / len(maps)


_AFTER = "after I2CT 2022, of which only the abstract is public"


@register("similarity_pearson", label="similarity (Pearson)", source=_AFTER, centred=True)
@register("similarity_cosine", label="similarity (cosine)", source=_AFTER)
@dataclass(frozen=True)
class MapSimilarity(Criterion):
    """Feature maps that repeat another's get low scores, by cosine or by Pearson's correlation.

    The maps of a filter for all examples are taken as one long vector. The
    similarity of two filters is the cosine of the angle between their
    vectors; with ``centred``, after the mean has been subtracted from each,
    which is Pearson's correlation. Saliency is the length of the vector,
    that is activation L2 with the root taken over all examples at once.
    :func:`spare` makes scores of the two; they are compared over layers as
    they are, since an angle means the same in each.

    Of "saliency, then similarity" (I2CT 2022) only the abstract is public:
    it removes one of each pair of most similar feature maps. The measures
    and the order of removal are ours.

    Examples
    --------
    >>> maps = torch.tensor([[[3.0, 4.0], [6.0, 8.0], [4.0, -3.0]]])
    >>> criterion = MapSimilarity()
    >>> seen = Observation("conv", torch.nn.Conv2d(1, 3, 1), maps)
    >>> criterion.finish(criterion(seen)).tolist()  # 0 repeats 1, which is louder; 2 is like none
    [0.0, 2.0, 1.0]
    """

    needs: ClassVar = "activations"
    normalized: ClassVar = False
    centred: bool = False

    def __post_init__(self) -> None:
        flag("centred", self.centred)

    def __call__(self, observation: Observation) -> Tensor:
        """Inner products, of shape (filters, filters); with ``centred`` of a map of ones too."""
        maps = observation.activation
        if self.centred:
            ones = maps.new_ones(1, 1, 1).expand(len(maps), 1, maps.shape[2])
            maps = torch.cat([maps, ones], dim=1)
        return map_products(maps)

    def similarity(self, mean: Tensor) -> Tensor:
        """Similarity of each two filters, from the mean of what a call gives."""
        if not self.centred:
            return cosines(mean)
        products, sums, positions = mean[:-1, :-1], mean[:-1, -1], mean[-1, -1]
        covariances = products - torch.outer(sums, sums) / positions
        # A map that is the same everywhere is left with the rounding error of its square.
        varies = covariances.diagonal() > 1e-5 * products.diagonal()
        return cosines(covariances * (varies & varies.unsqueeze(1)))

    def finish(self, mean: Tensor) -> Tensor:
        filters = len(mean) - self.centred
        return spare(self.similarity(mean), mean.diagonal()[:filters])


@register(
    "similarity_filters", label="similarity of filters", source="similarity_cosine on weights"
)
@dataclass(frozen=True)
class FilterSimilarity(Criterion):
    """Filters whose weights point where another's point get low scores.

    The similarity of two filters is the cosine of the angle between their
    weights, saliency the L2 norm of the weights; biases are left out. Scores
    are made as in :class:`MapSimilarity`.

    Examples
    --------
    >>> conv = torch.nn.Conv2d(2, 3, 1)
    >>> _ = conv.weight.data.copy_(torch.tensor([[3.0, 4], [6, 8], [4, -3]]).view(3, 2, 1, 1))
    >>> criterion = FilterSimilarity()
    >>> seen = Observation("conv", conv)
    >>> criterion.finish(criterion(seen)).tolist()  # 0 points where 1 does; 2 where none does
    [0.0, 2.0, 1.0]
    """

    needs: ClassVar = "weights"
    normalized: ClassVar = False

    def __call__(self, observation: Observation) -> Tensor:
        filters = filters_of(observation.module).double()
        return filters @ filters.T

    def finish(self, mean: Tensor) -> Tensor:
        return spare(cosines(mean), mean.diagonal())
