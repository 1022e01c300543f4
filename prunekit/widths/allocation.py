"""Widths in one step: from a value for each unit to how many channels it keeps, on a budget."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import pandas as pd
from torch import Tensor, nn

from prunekit.channels import ChannelGraph, channel_graph, trace
from prunekit.channels.units import Unit, units
from prunekit.checks import checked, choice, inputs, module, number, shown, whole
from prunekit.pruning.budgets import counted, left_after
from prunekit.pruning.plan import PRICED
from prunekit.pruning.schedule import reached
from prunekit.selection import Selection, checked_ranking
from prunekit.widths.richness import finite, to_unit_range

Relation = Literal["to_max", "contrast", "neighbours"]


def by_unit(name: str, value: object) -> pd.Series:
    """Finite numbers by the names of units."""
    if not isinstance(value, (pd.Series, Mapping)):
        raise TypeError(f"{name} must map units to numbers, not {shown(value)}")
    series = pd.Series(value)
    return pd.Series(finite(name, series.to_numpy()), series.index)


@checked(
    model=partial(module, numbers=False),
    example_inputs=inputs,
    ratio=partial(number, above=0, below=1),
    relation=partial(choice, among=get_args(Relation)),
    budget=partial(choice, among=PRICED),
    least_rate=partial(number, least=0, most=1),
    min_filters=partial(whole, least=1),
    round_to=partial(whole, least=1),
)
def allocate(
    model: nn.Module,
    example_inputs: Tensor | tuple,
    values: pd.Series | Mapping[str, float],
    ratio: float,
    *,
    relation: Relation = "to_max",
    budget: Literal["macs", "parameters"] = "macs",
    least_rate: float = 0.1,
    min_filters: int = 2,
    round_to: int = 1,
) -> pd.DataFrame:
    """How wide each unit stays, so that the network meets a budget: units of higher value wider.

    A unit u of n channels keeps the share r of them, rounded, with one scale
    ``s`` for all units, the largest that the budget allows:

    =============== ===========================================================
    ``to_max``      r = s v / (greatest v)
    ``contrast``    r = s + (1 - s) (v - least v) / (greatest v - least v)
    ``neighbours``  r = s v / (mean of v over the unit before, it, and the next)
    =============== ===========================================================

    Rates lie between ``least_rate`` and 1. Under ``contrast`` the unit of
    greatest value is narrowed last, only where all others at their narrowest
    do not meet the budget, and ``s``, the rate of the least, may fall below
    zero where the budget is small. Equal values have the rate (1 + s) / 2.

    Widths grow with ``s`` one channel at a time; of units that grow at the
    same ``s``, earlier ones grow first. The result is found by bisection over
    these steps, so it meets the budget to within one channel: the next step
    would exceed it. What a step costs is counted, by
    :func:`prunekit.pruning.budgets.left_after`.

    Parameters
    ----------
    values
        By unit, such as :func:`layer_entropies` gives them, or the richness
        of :func:`abnormal_richness`. Units that are not named keep their
        width. Equal values make uniform rates, ``1 / values`` reversed ones.
    ratio
        Share to remove, between 0 and 1, of what ``budget`` names.
    relation
        The abstract of adaptive layer entropy (Wei and Chen 2022) says that
        the relation of the layers' entropies sets their widths: these three
        readings are reconstructions.
    least_rate, min_filters
        No unit gets narrower than this share, to the nearest whole channel, and
        this many channels.
    round_to
        Widths of units that lose channels are multiples of this.

    Returns
    -------
    DataFrame by unit: ``value``, ``width`` (channels it has), ``kept`` and
    ``rate`` (kept / width).

    Raises
    ------
    ValueError
        A name is of no unit, a value is below zero where the relation divides
        by it, or the budget cannot be met: the message says what can.

    Examples
    --------
    >>> import torch
    >>> from prunekit.models import ResNet
    >>> model, x = ResNet(blocks=1), torch.zeros(1, 3, 32, 32)
    >>> equal = {f"layer{stage}.0.conv1": 1.0 for stage in (1, 2, 3)}
    >>> allocate(model, x, equal, ratio=0.5)["kept"].to_dict()
    {'layer1.0.conv1': 7, 'layer2.0.conv1': 15, 'layer3.0.conv1': 30}
    """
    graph = trace(model, example_inputs)
    wanted = by_unit("values", values)
    chosen = named_units(graph, wanted.index)
    shares = _relative(wanted.to_numpy(), relation).tolist()
    levels = [_levels(unit.width, least_rate, min_filters, round_to) for unit in chosen]
    steps = _steps(levels, shares, relation)
    count = left_after(model, example_inputs, budget)
    whole_cost = counted(count({}), budget)

    def widths(taken: int) -> list[int]:
        grown = np.bincount(steps[:taken], minlength=len(chosen))
        return [of_unit[level] for of_unit, level in zip(levels, grown, strict=True)]

    def removed(taken: int) -> float:
        return 1 - count(narrowed(graph, chosen, widths(taken))) / whole_cost

    if not reached(removed(0), ratio):
        raise ValueError(
            f"{relation} can remove at most {removed(0):.1%} of {budget} from these units, not "
            f"{ratio:.1%}: lower least_rate or min_filters, or name more units"
        )
    fitting = bisect_left(
        range(1, len(steps) + 1), True, key=lambda taken: not reached(removed(taken), ratio)
    )
    found = pd.DataFrame(
        {"value": wanted, "width": [unit.width for unit in chosen], "kept": widths(fitting)}
    )
    return found.rename_axis("unit").assign(rate=found["kept"] / found["width"])


@checked(ranking=checked_ranking, graph=channel_graph)
def select_widths(
    ranking: pd.DataFrame, kept: pd.Series | Mapping[str, int], graph: ChannelGraph
) -> Selection:
    """The filters to remove so that each unit keeps so many channels: those of lowest score go.

    Parameters
    ----------
    ranking
        Of the network that ``graph`` is of, as :func:`prunekit.rank` gives
        it: by ``"weight_l1"``, say, which needs no data, or by ``"random"``.
        The method is silent on which filters of a layer stay.
    kept
        Channels by unit, such as the column ``kept`` of :func:`allocate`.
        Units that are not named keep all.

    Returns
    -------
    Selection, to be passed to :func:`prunekit.rebuild`.

    Raises
    ------
    ValueError
        A unit does not exist or has fewer channels, would keep none, or has a
        group that the ranking lacks.

    Examples
    --------
    >>> import torch
    >>> from prunekit import rank
    >>> from prunekit.models import TinySqueezeNet
    >>> model, x = TinySqueezeNet(), torch.zeros(1, 3, 32, 32)
    >>> ranking = rank(model, [(x, None)], "weight_l1")
    >>> removed = select_widths(ranking, {"features.0": 12}, trace(model, x))
    >>> removed.keys(), removed.filters
    (dict_keys(['features.0']), 4)
    """
    if "group" not in ranking:
        raise ValueError("the ranking has no column group: pass one that rank gave")
    widths = by_unit("kept", kept)
    chosen = named_units(graph, widths.index)
    scores = ranking.groupby("group")["score"].mean()
    ordered = []
    for unit, count in zip(chosen, widths, strict=True):
        if count % 1 or not 1 <= count <= unit.width:
            raise ValueError(f"{unit.name} can keep 1 to {unit.width} channels, not {count:g}")
        if not np.isin(unit.groups, scores.index).all():
            raise ValueError(f"{unit.name}: the ranking has no row for some of its filters")
        by_score = np.argsort(scores[unit.groups].to_numpy(), kind="stable")
        ordered.append(Unit(unit.name, unit.makers, unit.layers, unit.groups[by_score]))
    return narrowed(graph, ordered, [int(count) for count in widths])


def named_units(graph: ChannelGraph, names: Iterable[str]) -> list[Unit]:
    known = {unit.name: unit for unit in units(graph, "everywhere")}
    for name in names:
        if name not in known:
            raise ValueError(f"no unit is named {name!r}; there are {', '.join(known)}")
    return [known[name] for name in names]


def _relative(values: np.ndarray, relation: Relation) -> np.ndarray:
    """What a unit's value is to those of the others: its rate is the scale times that."""
    if relation == "contrast":
        return to_unit_range(values)
    if (values < 0).any():
        raise ValueError(f"{relation} divides by values, so they must not be below zero")
    reference = np.full(len(values), values.max())
    if relation == "neighbours":
        near, count = (np.convolve(row, np.ones(3))[1:-1] for row in (values, np.ones(len(values))))
        reference = near / count
    return np.divide(values, reference, out=np.ones(len(values)), where=reference > 0)


def _levels(width: int, least_rate: float, min_filters: int, round_to: int) -> list[int]:
    """The widths that a unit may have, in ascending order."""
    floor = max(min_filters, math.floor(least_rate * width + 0.5))
    lowest = -(-floor // round_to) * round_to
    return [*range(lowest, width, round_to), width]


def _steps(levels: list[list[int]], shares: list[float], relation: Relation) -> np.ndarray:
    """The places of units that grow to their next level, in the order in which they do."""
    scales, grown = [], []
    for place, (widths, share) in enumerate(zip(levels, shares, strict=True)):
        for below, above in pairwise(widths):
            rate = (below + above) / 2 / widths[-1]  # from here on, it rounds to the one above
            scales.append(_scale(rate, share, relation))
            grown.append(place)
    return np.array(grown, dtype=np.int64)[np.argsort(scales, kind="stable")]


def _scale(rate: float, share: float, relation: Relation) -> float:
    """The scale at which a unit reaches a rate."""
    if relation == "contrast":
        return (rate - share) / (1 - share) if share < 1 else -math.inf
    return rate / share if share > 0 else math.inf


def narrowed(graph: ChannelGraph, chosen: list[Unit], widths: list[int]) -> Selection:
    """Remove the first groups of each unit, so that as many as ``widths`` says stay."""
    leaving = [unit.groups[: unit.width - kept] for unit, kept in zip(chosen, widths, strict=True)]
    groups = np.concatenate(leaving)
    filters = {
        name: np.flatnonzero(np.isin(layer.groups, groups)).tolist()
        for name, layer in graph.layers.items()
    }
    return Selection({name: some for name, some in filters.items() if some}, len(groups))
