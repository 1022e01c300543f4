"""Widths that lose little on a budget: a knapsack over tables of what each width costs."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from torch import Tensor, nn

from prunekit.channels import ChannelGraph, trace
from prunekit.channels.units import units
from prunekit.checks import checked, function, inputs, module, number, shown, whole
from prunekit.checks.settings import Cost
from prunekit.execution import evaluation_mode
from prunekit.pruning.budgets import counted, left_after
from prunekit.pruning.plan import PRICED
from prunekit.pruning.schedule import reached
from prunekit.selection import checked_ranking
from prunekit.surgery import Removal, rebuild
from prunekit.widths.allocation import named_units, narrowed

COLUMNS = ["unit", "kept", "lost", "cost"]
STEPS = 4096  # between the costs of the narrowest network and the whole one


def _cost(name: str, value: object) -> object:
    if value not in PRICED and not callable(value):
        raise ValueError(
            f"{name} must be one of {', '.join(PRICED)}, or a function of a network, not "
            f"{shown(value)}"
        )
    return function(name, value) if callable(value) else value


def _widths(name: str, value: object) -> pd.DataFrame:
    if not isinstance(value, pd.DataFrame):
        raise TypeError(f"{name} must be a DataFrame as width_table gives it, not {shown(value)}")
    if missing := [column for column in COLUMNS if column not in value]:
        raise ValueError(f"the table of {name} has no column {', '.join(missing)}")
    if value.empty:
        raise ValueError(f"the table of {name} is empty: it has no width to choose")
    for column in COLUMNS[1:]:
        if value[column].dtype.kind not in "iuf" or not np.isfinite(value[column]).all():
            raise ValueError(f"the table of {name} must hold finite numbers in column {column}")
    return value


@checked(
    ranking=checked_ranking,
    model=partial(module, numbers=False),
    example_inputs=inputs,
    cost=_cost,
    levels=partial(whole, least=2),
    min_filters=partial(whole, least=1),
)
def width_table(
    ranking: pd.DataFrame,
    model: nn.Module,
    example_inputs: Tensor | tuple,
    cost: Literal["macs", "parameters"] | Cost = "macs",
    *,
    levels: int = 8,
    min_filters: int = 2,
) -> pd.DataFrame:
    """What each width of each unit loses of the network's score, and what the network then costs.

    Parameters
    ----------
    ranking
        As :func:`prunekit.rank` returns it for ``model``. The scores of a group
        are added up: by a criterion that adds up itself, such as ``fisher``,
        pass it through :func:`prunekit.criteria.ranking.adding_up`.
    cost
        ``"macs"`` (of one example), ``"parameters"``, or a function as for
        the ``budget`` of :func:`prunekit.prune`: called with a network of
        which one unit is narrowed, it tells, say, its milliseconds.
    levels
        So many widths of a unit, beside its own, at even distances.
    min_filters
        No unit gets narrower than this.

    Returns
    -------
    DataFrame with a row for each unit and width: ``unit``, ``kept`` (its
    channels), ``lost``: the share of all scores that goes with the others, and
    ``cost`` of the whole network, this unit alone narrowed.

    Raises
    ------
    ValueError
        The ranking lacks a column or a filter, or its scores do not add up to a
        number above 0.

    Examples
    --------
    >>> import torch
    >>> model, x = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 1)), torch.zeros(1, 1, 2, 2)
    >>> scores = {"layer": ["0"] * 4, "filter": range(4), "score": [1.0, 2, 3, 4]}
    >>> ranking = pd.DataFrame(scores).assign(group=trace(model, x).layers["0"].groups)
    >>> width_table(ranking, model, x, levels=2, min_filters=1)
      unit  kept  lost  cost
    0    0     1   0.6    12
    1    0     2   0.3    24
    """
    if "group" not in ranking:
        raise ValueError("the ranking has no column group: pass one that rank gave")
    graph = trace(model, example_inputs)
    priced = _pricing(model, graph, example_inputs, cost)
    scores = ranking.groupby("group")["score"].sum()
    if not 0 < (total := scores.sum()) < math.inf:
        raise ValueError(
            f"the scores of the ranking add up to {total:g}, and what a width loses is a share of "
            "that, which must be above 0 and finite: rank by another criterion"
        )
    rows = []
    for unit in units(graph, "everywhere"):
        if not np.isin(unit.groups, scores.index).all():
            raise ValueError(f"{unit.name}: the ranking has no row for some of its filters")
        going = np.sort(scores[unit.groups].to_numpy()).cumsum()
        distances = np.linspace(min(min_filters, unit.width), unit.width, levels + 1)
        for kept in np.unique(distances[:-1].round().astype(int)):
            if kept < unit.width:
                lost = going[unit.width - kept - 1] / total
                rows.append((unit.name, int(kept), lost, priced(narrowed(graph, [unit], [kept]))))
    return pd.DataFrame(rows, columns=COLUMNS)


@checked(
    widths=_widths,
    model=partial(module, numbers=False),
    example_inputs=inputs,
    ratio=partial(number, above=0, below=1),
    cost=_cost,
)
def knapsack(
    widths: pd.DataFrame,
    model: nn.Module,
    example_inputs: Tensor | tuple,
    ratio: float,
    cost: Literal["macs", "parameters"] | Cost = "macs",
) -> pd.DataFrame:
    """Widths that lose little in all, so that a network costs no more than it may.

    Each unit takes one of the widths in the table, or stays whole. What is
    lost adds up over units, and so, to begin with, does what is saved: a
    knapsack with a choice for each unit, which dynamic programming solves.
    But layers on both sides of a tensor save less together than each
    alone. So each answer is counted or measured as one network, and the
    knapsack made smaller, by bisection, until that network is cheap enough.
    The widths lose the least for a knapsack of that one size; others that lose
    less may keep to the budget, where they save more together than these do.

    Dividing scores by costs, as ``cost_aware`` does, is as good where each
    filter saves equally much. Where a layer of 57 filters takes as long as
    one of 64, only a table knows. Neither can know more than ``lost`` says,
    and that scores of filters add up is a guess: it takes too much from
    layers whose scores are all low. Accuracies that
    :func:`prunekit.sensitivity` measured show where a layer breaks
    (``benchmarks/widths.py`` compares the two).

    :func:`prunekit.prune` goes to these widths by steps, with training in
    between, if they are its ``min_filters``, by layer::

        gone = select_widths(ranking, widths["kept"], graph)
        floors = {name: layer.filters - len(gone.get(name, ()))
                  for name, layer in graph.prunable.items()}

    Parameters
    ----------
    widths
        Columns ``unit``, ``kept``, ``lost`` and ``cost``, as :func:`width_table`
        gives them; or the table of a scan of sensitivity, by these names:
        ``scan.table.rename(columns={"accuracy_lost": "lost", "macs": "cost"})``.
        Units that are not named stay whole.
    ratio
        Share to remove, between 0 and 1, of what ``cost`` counts or measures.
    cost
        What the column ``cost`` is of, as for :func:`width_table`.

    Returns
    -------
    DataFrame by unit: ``width`` (channels it has), ``kept``, ``rate`` (kept /
    width) and ``lost``. :func:`select_widths` says which filters go.

    Raises
    ------
    ValueError
        The narrowest widths do not reach the budget; or the table lacks a
        column, names what is no unit, or has widths that are none.

    Examples
    --------
    The second layer loses nothing on its way from 8 channels to 4, the first one does:

    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 1, 1))
    >>> rows = [("0", 4, 0.5, 44), ("1", 4, 0.0, 44), ("1", 2, 0.4, 26)]
    >>> widths = pd.DataFrame(rows, columns=["unit", "kept", "lost", "cost"])
    >>> knapsack(widths, model, torch.zeros(1, 1, 1, 1), 0.4)["kept"].to_dict()
    {'0': 8, '1': 4}
    """
    graph = trace(model, example_inputs)
    chosen = named_units(graph, widths["unit"].unique())
    price = _pricing(model, graph, example_inputs, cost)
    before = counted(price({}), str(cost))
    options = []
    for unit in chosen:
        rows = widths.loc[widths["unit"] == unit.name, ["kept", "lost", "cost"]]
        options.append(np.vstack([rows.to_numpy(float), (unit.width, 0, before)]))
        odd = [kept for kept in options[-1][:, 0] if kept % 1 or not 1 <= kept <= unit.width]
        if odd:
            raise ValueError(f"{unit.name} can keep 1 to {unit.width} channels, not {odd[0]:g}")
    choose = _least_lost([of[:, 1] for of in options], [of[:, 2] for of in options])

    def kept(size: int) -> list[int]:
        return [int(of[row, 0]) for of, row in zip(options, choose(size), strict=True)]

    def saved(size: int) -> float:
        return 1 - price(narrowed(graph, chosen, kept(size))) / before

    too_large = bisect_left(range(STEPS + 1), True, key=lambda n: not reached(saved(n), ratio))
    if not too_large:
        raise ValueError(
            f"the narrowest widths in the table save {saved(0):.1%} of the cost, not {ratio:.1%}: "
            "give narrower ones, or of more units"
        )
    rows = [of[row] for of, row in zip(options, choose(too_large - 1), strict=True)]
    found = pd.DataFrame(
        {
            "width": [unit.width for unit in chosen],
            "kept": [int(row[0]) for row in rows],
            "lost": [row[1] for row in rows],
        },
        index=pd.Index([unit.name for unit in chosen], name="unit"),
    )
    return found.assign(rate=found["kept"] / found["width"])


def _pricing(
    model: nn.Module,
    graph: ChannelGraph,
    example_inputs: Tensor | tuple,
    cost: Literal["macs", "parameters"] | Cost,
) -> Callable[[Removal], float]:
    """What a network costs after a removal."""
    if isinstance(cost, str):
        return left_after(model, example_inputs, cost)

    def measured(remove: Removal) -> float:
        small = rebuild(model, graph, remove)
        with evaluation_mode(small):
            return number("what cost gave", cost(small), above=0, below=math.inf)

    return measured


def _least_lost(lost: list[np.ndarray], costs: list[np.ndarray]) -> Callable[[int], list[int]]:
    """The row of each unit that together lose the least, by the size of the knapsack in steps.

    At size 0 each unit is as cheap as can be, at ``STEPS`` as dear. Costs are
    rounded to a step, so an answer is wrong by no more than half a step a unit.
    """
    dearer = [of - of.min() for of in costs]
    step = sum(of.max() for of in dearer) / STEPS or 1.0
    weights = [(of / step).round().astype(int) for of in dearer]
    least, rows = np.zeros(STEPS + 1), []
    for of_unit, weight in zip(lost, weights, strict=True):
        each = np.full((len(weight), STEPS + 1), np.inf)
        for row, size in enumerate(weight):
            each[row, size:] = least[: STEPS + 1 - size] + of_unit[row]
        rows.append(each.argmin(axis=0))
        least = each.min(axis=0)

    def choose(size: int) -> list[int]:
        chosen = []
        for of_unit, weight in zip(reversed(rows), reversed(weights), strict=True):
            chosen.append(int(of_unit[size]))
            size -= int(weight[chosen[-1]])
        return chosen[::-1]

    return choose
