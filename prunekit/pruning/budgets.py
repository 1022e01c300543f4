"""What a pruning run may spend, and how its last iteration lands on it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor, nn

from prunekit.channels import ChannelGraph, trace
from prunekit.channels.capture import attribute
from prunekit.channels.kinds import kind_of
from prunekit.checks import checked, choice, inputs, module
from prunekit.checks.settings import Budget
from prunekit.measure import latencies, profile
from prunekit.pruning.checkpoint import Run
from prunekit.pruning.plan import PRICED, Plan
from prunekit.pruning.schedule import reached
from prunekit.selection import checked_ranking, removable, select
from prunekit.surgery import Removal

NETWORK = partial(module, numbers=False)
LATENCY_ROUNDS = 30


def left(model: nn.Module, layers: list[str], example_inputs: Tensor | tuple) -> dict[str, int]:
    """What is left of a network, in the columns of the table."""
    cost = profile(model, example_inputs)
    found = [model.get_submodule(name) for name in layers]
    return {
        # Of the layers themselves: a profile has no row for one that is called by a function.
        "filters": sum(getattr(layer, kind_of(layer).filters) for layer in found),
        "parameters": cost.parameters,
        "macs": cost.macs,
        "bytes": cost.bytes,
    }


def counted(cost: float, budget: str) -> float:
    """What a whole network costs, of which shares are taken: refused if that is nothing."""
    if not cost:
        raise ValueError(
            f"the network has no {budget} that profile counts: call its layers as modules, not "
            "by functions such as F.conv2d, or give another budget"
        )
    return cost


def relative_latency(model: nn.Module, unpruned: nn.Module, image: tuple) -> float:
    """Median time of a forward pass on one image, as a share of the unpruned network's.

    The two take turns for 30 rounds on one thread, after 3 to warm up: a
    slow moment of the machine meets both.
    """
    small, large = latencies([model, unpruned], image, repeats=LATENCY_ROUNDS)
    return small.median / large.median


def enough(
    run: Run, ranking: pd.DataFrame, plan: Plan, example_inputs: tuple, iteration: int
) -> int:
    """The fewest groups that reach the goal of an iteration; as many as it may take, if none do.

    What is measured is not known before, nor sure to fall with every group:
    it never makes an iteration smaller.
    """
    first, budget, goal = run.rows[0], plan.budget, plan.goal(iteration)
    most = plan.most(removable(ranking, **plan.limits_of(ranking)).groups)
    if not most or plan.measured or not isinstance(budget, str):
        return most
    after = None if budget == "filters" else left_after(run.model, example_inputs, budget)

    def suffices(groups: int) -> bool:
        selection = select(ranking, groups, **plan.limits_of(ranking))
        here = run.rows[-1]["filters"] - selection.filters if after is None else after(selection)
        return reached(1 - here / first[budget], goal)

    if not suffices(most):
        return most
    return 1 + bisect_left(range(1, most), True, key=suffices)


@checked(model=NETWORK, example_inputs=inputs, budget=partial(choice, among=PRICED))
def left_after(
    model: nn.Module, example_inputs: Tensor | tuple, budget: Budget
) -> Callable[[Removal], int]:
    """What :func:`prunekit.profile` would count after a removal, without making the network.

    Parameters
    ----------
    budget
        ``"parameters"`` or ``"macs"`` (of one example).

    Returns
    -------
    A function of a removal, as :func:`prunekit.rebuild` takes it, with the
    same errors for what does not exist or must stay.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False))
    >>> left = left_after(model, torch.zeros(1, 1, 5, 5), "parameters")
    >>> left({}), left({"0": [1]})
    (12, 9)
    """
    graph, total, tensors = _priced(model, example_inputs, budget)

    def left(remove: Removal) -> int:
        gone = graph.groups_of(remove)
        return total - sum(
            tensor.lost([int((~gone[groups]).sum()) for groups in tensor.dims])
            for tensor in tensors
        )

    return left


@checked(
    ranking=checked_ranking,
    model=NETWORK,
    example_inputs=inputs,
    budget=partial(choice, among=PRICED),
)
def per_saving(
    ranking: pd.DataFrame, model: nn.Module, example_inputs: Tensor | tuple, budget: Budget
) -> pd.DataFrame:
    """The scores of each group, added up and divided by the share of the network they cost.

    Filters differ in price: one that makes large maps may cost ten times the
    MACs of a later one. Where a budget is to be met, least value for each
    unit saved first is the greedy rule for a knapsack (Dantzig 1957). Value
    adds up, so here a group of two filters is worth twice their mean score. By
    a criterion that adds up itself, such as ``fisher``, each row of a ranking
    has the score of its group: pass it through
    :func:`prunekit.criteria.ranking.adding_up`, as :func:`prunekit.prune` does.

    That it adds up is a guess, and a dear group is taken though all of a
    layer's filters are dear alike: few layers then pay for all the others.

    Parameters
    ----------
    ranking
        As :func:`prunekit.rank` returns it for ``model``, scores from zero up.
    budget
        ``"parameters"`` or ``"macs"``: what a group saves if it is the only
        one to go, of what the whole network has.

    Raises
    ------
    ValueError
        A score is below zero: it would change its order. Or the ranking is
        of another network, or a group saves nothing that is counted.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AvgPool2d(2), nn.Conv2d(2, 2, 1),
    ...                       nn.Conv2d(2, 1, 1))
    >>> table = pd.DataFrame({"layer": list("0022"), "filter": [0, 1, 0, 1],
    ...                       "score": [1.0, 2.0, 1.0, 2.0], "group": [1, 2, 3, 4]})
    >>> per_saving(table, model, torch.zeros(1, 1, 2, 2), "macs")["score"].round(2).tolist()
    [2.33, 4.67, 4.67, 9.33]
    """
    if "group" not in ranking:
        raise ValueError("the ranking has no column group, by which cost_aware counts savings")
    if (ranking["score"] < 0).any():
        raise ValueError(
            "cost_aware divides scores by what filters cost, so they must not be below zero: "
            "choose another criterion"
        )
    graph, total, tensors = _priced(model, example_inputs, budget)
    for layer, rows in ranking.groupby("layer", sort=False):
        of_model = graph.layers[layer].groups if layer in graph.layers else np.empty(0)
        filters = rows["filter"].to_numpy()
        if (filters >= len(of_model)).any() or (of_model[filters] != rows["group"]).any():
            raise ValueError(f"the ranking is of another network: its filters of {layer} differ")
    whole = counted(total, str(budget))
    saved = np.zeros(graph.count, dtype=np.int64)
    for tensor in tensors:
        alone = [len(groups) - np.bincount(groups, minlength=graph.count) for groups in tensor.dims]
        saved += tensor.lost(alone)
    shares = saved[ranking["group"].to_numpy()] / whole
    if not shares.all():
        free = ranking["layer"].iloc[shares.argmin()]
        raise ValueError(
            f"filters of {free} save no {budget} that profile counts, and cost_aware divides by "
            f"what they save: call {free} and the layers that read it as modules, not by functions "
            "such as F.conv2d, or leave out cost_aware"
        )
    return ranking.assign(score=ranking.groupby("group")["score"].transform("sum") / shares)


class _Priced(NamedTuple):
    """A tensor that carries channels: what an element is worth, and the groups by dimension."""

    worth: int
    size: int
    dims: list[np.ndarray]

    def lost(self, kept: list[int] | list[np.ndarray]) -> Any:
        """What goes if so many positions are kept in each dimension; for arrays, one by one.

        What is left of a tensor is the product of what is kept in its dimensions.
        """
        rest = self.size // math.prod(map(len, self.dims))
        return self.worth * (self.size - rest * math.prod(kept))


def _priced(
    model: nn.Module, example_inputs: Tensor | tuple, budget: Budget
) -> tuple[ChannelGraph, int, list[_Priced]]:
    """A weight costs one parameter, and one MAC at each position where it is used."""
    graph, cost = trace(model, example_inputs), profile(model, example_inputs)
    worth: Counter[int] = Counter()
    if budget == "parameters":
        worth.update({id(parameter): 1 for parameter in model.parameters()})
    else:
        for row in cost.layers[cost.layers["macs"] > 0].itertuples():
            weight = attribute(model, f"{row.layer}.weight")
            worth[id(weight)] += row.macs // weight.numel()
    tensors = {
        id(tensor := attribute(model, name)): (tensor.numel(), list(dims.values()))
        for name, dims in graph.slices.items()
    }
    priced = [_Priced(worth[key], *of) for key, of in tensors.items() if worth[key]]
    return graph, getattr(cost, budget), priced
