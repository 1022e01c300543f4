"""Abnormal information richness: entropies and norms of layers, outliers tamed, then fused."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from torch import Tensor, nn

from prunekit.channels import ChannelGraph, channel_graph
from prunekit.channels.calls import calls_by_module, norm_behind
from prunekit.channels.kinds import BATCH_NORM
from prunekit.channels.units import Scope
from prunekit.checks import checked, choice, flag, module, number, shown
from prunekit.criteria.weight import filters_of
from prunekit.widths.entropy import by_maker

Abnormal = Literal["whisker", "normal", "median", "keep"]
Fusion = Literal["mean", "product", "maximum"]


def finite(name: str, value: Any) -> np.ndarray:
    """Numbers in one row, none of them NaN or infinite; as float64."""
    numbers = np.asarray(value)
    if numbers.ndim != 1 or (len(numbers) and numbers.dtype.kind not in "iuf"):
        raise TypeError(f"{name} must be a row of numbers, not {shown(value)}")
    if not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be one number or more, all of them finite")
    return numbers.astype(float)


_WHISKER = partial(number, least=0, below=math.inf)


@checked(values=finite, whisker=_WHISKER)
def fences(values: Any, whisker: float = 1.5) -> tuple[float, float]:
    """Where the whiskers of a box plot end (Tukey 1977): beyond them values are abnormal.

    ``whisker`` times the distance of the quartiles below the first and above
    the third, both interpolated linearly. The ends are not drawn back to the
    nearest value.

    Examples
    --------
    >>> fences([1, 2, 3, 4, 100])  # quartiles 2 and 4
    (-1.0, 7.0)
    """
    first, third = np.quantile(values, [0.25, 0.75])
    reach = whisker * (third - first)
    return float(first - reach), float(third + reach)


@checked(values=finite, whisker=_WHISKER, to=partial(choice, among=get_args(Abnormal)))
def tamed(values: Any, to: Abnormal = "whisker", whisker: float = 1.5) -> np.ndarray:
    """Values of which the abnormal ones have been replaced.

    Parameters
    ----------
    to
        ``"whisker"``: the end of the whisker on their side; ``"normal"``: the
        most extreme value that is not abnormal; ``"median"``; or ``"keep"``,
        which replaces nothing. The abstract of the method says only that
        abnormal layers are processed: all four are reconstructions.

    Raises
    ------
    ValueError
        ``to`` is ``"normal"`` and no value is.

    Examples
    --------
    >>> tamed([1, 2, 3, 4, 100]).tolist(), tamed([1, 2, 3, 4, 100], "median").tolist()
    ([1.0, 2.0, 3.0, 4.0, 7.0], [1.0, 2.0, 3.0, 4.0, 3.0])
    """
    low, high = fences(values, whisker)
    if to == "keep":
        return values
    inside = (values >= low) & (values <= high)
    if to == "median":
        return np.where(inside, values, np.median(values))
    if to == "normal":
        if not inside.any():
            raise ValueError(f"no value lies within whiskers of {whisker:g}: lengthen them")
        low, high = values[inside].min(), values[inside].max()
    return values.clip(low, high)


@checked(values=finite)
def to_unit_range(values: Any) -> np.ndarray:
    """Shifted and scaled, so that the least is 0 and the greatest 1; 0.5 each if all are equal.

    Examples
    --------
    >>> to_unit_range([1, 2, 5]).tolist(), to_unit_range([3, 3]).tolist()
    ([0.0, 0.25, 1.0], [0.5, 0.5])
    """
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)


@checked(
    model=module,
    graph=channel_graph,
    per=partial(choice, among=("weight", "filter")),
    folded=flag,
)
def mean_magnitudes(
    model: nn.Module,
    graph: ChannelGraph,
    scope: Scope = "blocks",
    *,
    per: Literal["weight", "filter"] = "weight",
    folded: bool = False,
) -> pd.Series:
    """Average L1 norm of each unit's weights, in the layer that makes its channels.

    Parameters
    ----------
    per
        ``"weight"``: mean absolute weight. ``"filter"``: absolute weights of a
        filter, added up, and averaged over filters; that grows with fan-in.
        Which of the two is meant the abstract does not say: the default is a
        reconstruction.
    folded
        Whether to scale each filter first as the batch norm directly behind
        it would in use. The weights before a batch norm have no size of their
        own: one that is doubled, its batch norm's running statistics with it,
        leaves the network's function as it was and doubles this norm. Folded
        weights do not change.

    Returns
    -------
    Series by the names of units, in order of execution.

    Examples
    --------
    >>> import torch
    >>> from prunekit import trace
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1))
    >>> _ = model[0].weight.data.copy_(torch.tensor([1.0, -3.0]).view(2, 1, 1, 1))
    >>> mean_magnitudes(model, trace(model, torch.zeros(1, 1, 4, 4))).to_dict()
    {'0': 2.0}
    """
    graph.refuse_another(model)
    calls = calls_by_module(graph.operations, graph.calls)

    def magnitude(name: str) -> float:
        rows = filters_of(model.get_submodule(name)).double().abs()
        if folded:
            rows = rows * _scales(
                model, norm_behind(calls.get(name, []), graph.calls, model, BATCH_NORM)
            )
        return float((rows.mean() if per == "weight" else rows.sum(1).mean()).cpu())

    return by_maker(graph, scope, magnitude, "magnitude")


def _scales(model: nn.Module, name: str | None) -> Tensor | float:
    """What a batch norm multiplies each channel by in evaluation mode, as a column."""
    norm: Any = None if name is None else model.get_submodule(name)
    if norm is None or norm.running_var is None:
        return 1.0
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    return (scale if norm.weight is None else scale * norm.weight.detach().abs()).unsqueeze(1)


@checked(
    weight=partial(number, least=0, most=1),
    fusion=partial(choice, among=get_args(Fusion)),
)
def abnormal_richness(
    entropies: pd.Series,
    magnitudes: pd.Series,
    *,
    weight: float = 0.5,
    fusion: Fusion = "mean",
    abnormal: Abnormal = "whisker",
    whisker: float = 1.5,
) -> pd.DataFrame:
    """The richness of each unit, fused from its entropy and its norm (Wei 2023).

    Entropies and norms are treated apart: box plot over the units, abnormal
    ones :func:`tamed`, the rest brought :func:`to_unit_range`. Then they are
    fused. The thesis's abstract names entropy, average L1 norm, box plots and
    fusion; how they are put together here is a reconstruction.

    Parameters
    ----------
    entropies, magnitudes
        As :func:`layer_entropies` and :func:`mean_magnitudes` give them, of
        the same units.
    weight
        Of the entropy in the mean, 0 to 1: with 1 the norm plays no part,
        with 0 the entropy.
    fusion
        ``"mean"``, weighted; ``"product"`` or ``"maximum"`` of the two.
    abnormal, whisker
        As for :func:`tamed`.

    Returns
    -------
    DataFrame by unit: ``entropy`` and ``magnitude`` as given,
    ``entropy_abnormal`` and ``magnitude_abnormal`` (whether they lie beyond
    the whiskers), and ``richness``, 0 to 1.

    Examples
    --------
    >>> entropies = pd.Series([1.0, 2, 3, 4, 100], list("abcde"))
    >>> magnitudes = pd.Series([5.0, 5, 5, 5, 5], list("abcde"))
    >>> table = abnormal_richness(entropies, magnitudes, weight=1)
    >>> table["richness"].round(2).tolist(), table["entropy_abnormal"].tolist()
    ([0.0, 0.17, 0.33, 0.5, 1.0], [False, False, False, False, True])
    """
    given = {"entropy": entropies, "magnitude": magnitudes}
    for name, values in given.items():
        if not isinstance(values, pd.Series):
            raise TypeError(f"{name}: pass a Series by units, not {shown(values)}")
    if list(entropies.index) != list(magnitudes.index):
        raise ValueError(
            "entropies and magnitudes are of different units: take both with one graph and scope"
        )
    table = pd.DataFrame(given)
    for name in given:
        low, high = fences(table[name], whisker)
        table[f"{name}_abnormal"] = ~table[name].between(low, high)
    ours, theirs = (to_unit_range(tamed(table[name], abnormal, whisker)) for name in given)
    table["richness"] = {
        "mean": weight * ours + (1 - weight) * theirs,
        "product": ours * theirs,
        "maximum": np.maximum(ours, theirs),
    }[fusion]
    return table
