"""Filters that do what another filter of their layer does: find them, count them, look at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from prunekit.checks import checked, module, number, optional, shown, whole
from prunekit.checks.batches import Batches, one_pass
from prunekit.criteria.base import Observation
from prunekit.criteria.observe import observe
from prunekit.criteria.ranking import prepared
from prunekit.criteria.similarity import MapSimilarity
from prunekit.selection import checked_ranking, select

PEARSON = MapSimilarity(centred=True)


def _measure(name: str, value: object) -> MapSimilarity:
    if not isinstance(value, MapSimilarity):
        raise TypeError(f"{name} must be a MapSimilarity object, not {shown(value)}")
    return value


def _similarities(name: str, value: object) -> dict[str, np.ndarray]:
    """Matrices of similarity by layer, each square and free of NaN."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must map layers to arrays, not {shown(value)}")
    if not value:
        raise ValueError(f"{name} is empty: there is no layer to look at")
    for layer, matrix in value.items():
        square = isinstance(matrix, np.ndarray) and matrix.ndim == 2
        if not square or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(
                f"{name}: {layer} must have an array of shape (filters, filters), not "
                f"{shown(matrix)}"
            )
        if np.isnan(matrix).any():
            raise ValueError(f"{name}: {layer} holds NaN")
    return dict(value)


def _ratios(name: str, value: object) -> list[float]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of numbers, not {shown(value)}")
    return [number(name, ratio, least=0, below=1) for ratio in value]


@checked(model=module, loader=one_pass)
def activation_maps(model: nn.Module, loader: Batches, layer: str) -> np.ndarray:
    """The activation maps of one layer, as the next layer sees them.

    Returns
    -------
    Array of shape (examples, filters, map height, map width); (examples, filters, 1) of a
    linear layer.

    Raises
    ------
    ValueError
        No layer of that name has filters that may be removed.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    >>> activation_maps(model, [(torch.rand(5, 1, 4, 4), torch.zeros(5).long())], "0").shape
    (5, 2, 2, 2)
    """
    graph, layers, batches = prepared(model, loader, labels=False)
    if layer not in layers:
        raise ValueError(f"no layer {layer!r} can be pruned; there are {', '.join(layers)}")
    maps: list[Tensor] = []

    def keep(seen: Observation, examples: int) -> None:
        maps.append(seen.activation.unflatten(2, seen.extent or (1,)).cpu())

    observe(model, graph, [layer], {"activations": keep}, batches)
    return _finite(layer, torch.cat(maps).float()).numpy()


def _finite(layer: str, seen: Tensor) -> Tensor:
    if not seen.isfinite().all():
        raise ValueError(f"{layer}: its activation maps hold NaN or infinite values")
    return seen


@checked(model=module, loader=one_pass, measure=_measure, batches=optional(partial(whole, least=1)))
def map_similarities(
    model: nn.Module,
    loader: Batches,
    measure: MapSimilarity = PEARSON,
    *,
    batches: int | None = None,
) -> dict[str, np.ndarray]:
    """Similarity of each two activation maps of a layer, over all examples.

    Parameters
    ----------
    loader
        Batches ``(x, y)`` of images and labels.
    measure
        Pearson's correlation by default; ``MapSimilarity()`` is the cosine.
    batches
        How many batches to look at; all of them by default.

    Returns
    -------
    By layer, an array of shape (filters, filters) with values from -1 to 1.
    A map that is zero on every example has a similarity of 0 to all.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    >>> _ = model[0].weight.data.copy_(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1))
    >>> _ = model[0].bias.data.copy_(torch.tensor([0.0, 5.0]))
    >>> batch = torch.rand(8, 1, 2, 2), torch.arange(8) % 2
    >>> map_similarities(model, [batch])["0"].round(3)  # 3 r + 5 rises and falls with r
    array([[1., 1.],
           [1., 1.]])
    """
    graph, layers, seen = prepared(model, loader, labels=False, batches=batches)
    totals: dict[str, Tensor] = {}

    def add(observation: Observation, examples: int) -> None:
        products = measure(observation).double() * examples
        totals[observation.layer] = totals.get(observation.layer, 0) + products

    count = observe(model, graph, layers, {"activations": add}, seen)
    similarities = {}
    for layer, total in totals.items():
        mean = _finite(layer, total / count)
        similarity = measure.similarity(mean)
        silent = mean.diagonal()[: len(similarity)] == 0
        similarity[silent | silent.unsqueeze(1)] = 0
        similarities[layer] = similarity.cpu().numpy()
    return similarities


@checked(similarities=_similarities)
def nearest(similarities: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """How similar each filter is to the one of its layer that is most like it.

    Returns
    -------
    DataFrame with the columns ``layer``, ``filter`` and ``similarity``.

    Examples
    --------
    >>> nearest({"conv": np.array([[1, 0.9, 0.8], [0.9, 1, 0.1], [0.8, 0.1, 1]])})
      layer  filter  similarity
    0  conv       0         0.9
    1  conv       1         0.9
    2  conv       2         0.8
    """
    parts = []
    for layer, similarity in similarities.items():
        others = np.where(np.eye(len(similarity), dtype=bool), -np.inf, similarity)
        columns = {"filter": np.arange(len(others)), "similarity": others.max(axis=1)}
        parts.append(pd.DataFrame({"layer": layer} | columns))
    return pd.concat(parts, ignore_index=True)


@checked(similarities=_similarities, count=partial(whole, least=1))
def closest_pairs(similarities: Mapping[str, np.ndarray], count: int) -> pd.DataFrame:
    """The most similar pairs of filters, each filter in one pair at most.

    Returns
    -------
    DataFrame of ``count`` rows, or of as many as there are pairs: ``layer``,
    ``filter``, ``twin`` and ``similarity``, the most similar first.

    Examples
    --------
    >>> alike = np.array([[1, 0.9, 0.8], [0.9, 1, 0.1], [0.8, 0.1, 1]])
    >>> closest_pairs({"conv": alike}, 2)
      layer  filter  twin  similarity
    0  conv       0     1         0.9
    """
    rows = []
    for layer, similarity in similarities.items():
        first, second = np.triu_indices(len(similarity), 1)
        values = similarity[first, second]
        paired: set[int] = set()
        for place in np.argsort(-values, kind="stable"):
            pair = int(first[place]), int(second[place])
            if paired.isdisjoint(pair):
                paired.update(pair)
                rows.append((layer, *pair, float(values[place])))
                if len(paired) >= 2 * count:
                    break
    table = pd.DataFrame(rows, columns=["layer", "filter", "twin", "similarity"])
    ordered = table.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)
    return ordered.head(count)


@checked(
    similarities=_similarities,
    ranking=checked_ranking,
    ratios=_ratios,
    threshold=partial(number, least=-1, most=1),
)
def twins_left(
    similarities: Mapping[str, np.ndarray],
    ranking: pd.DataFrame,
    ratios: Iterable[float],
    threshold: float,
) -> pd.DataFrame:
    """How many of the filters that a ranking keeps have a twin among those that it keeps.

    Parameters
    ----------
    similarities
        As :func:`map_similarities` returns them.
    ratios
        Shares of the groups in the ranking to remove, all at once.
    threshold
        Two filters of a layer at least as similar as this are twins.

    Returns
    -------
    DataFrame with a row a ratio: ``ratio``, ``kept`` and ``twins`` (numbers of
    filters) and ``share``, the one by the other.

    Raises
    ------
    ValueError
        So much cannot be removed: every layer keeps two filters. Or the
        ranking is of another network.

    Examples
    --------
    Filters 0 and 1 are twins. A ranking that finds both important keeps both:

    >>> alike = {"conv": np.array([[1, 0.9, 0, 0], [0.9, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])}
    >>> scores = {"layer": "conv", "filter": range(4), "score": [3.0, 3.0, 1.0, 2.0]}
    >>> twins_left(alike, pd.DataFrame(scores), [0, 0.25, 0.5], threshold=0.8)
       ratio  kept  twins     share
    0   0.00     4      2  0.500000
    1   0.25     3      2  0.666667
    2   0.50     2      2  1.000000
    """
    for layer, last in ranking.groupby("layer")["filter"].max().items():
        if layer not in similarities or last >= len(similarities[layer]):
            raise ValueError(f"the ranking has filters of {layer} that similarities has not")
    groups = ranking["group"].nunique() if "group" in ranking else len(ranking)
    rows = []
    for ratio in ratios:
        count = round(ratio * groups)
        gone = select(ranking, count) if count else {}
        kept = twins = 0
        for layer, similarity in similarities.items():
            left = np.delete(np.arange(len(similarity)), gone.get(layer, []))
            closest = nearest({layer: similarity[np.ix_(left, left)]})["similarity"]
            kept += len(left)
            twins += int((closest >= threshold).sum())
        rows.append((ratio, kept, twins, twins / kept))
    return pd.DataFrame(rows, columns=["ratio", "kept", "twins", "share"])
