"""The whisker of a box plot, in the reader's hand, and the widths that follow from it."""

from __future__ import annotations

from typing import Literal

import pandas as pd
from torch import Tensor, nn

from prunekit.book.moving.page import MovingFigure
from prunekit.channels import trace
from prunekit.channels.units import units
from prunekit.criteria import rank
from prunekit.pruning.budgets import left_after
from prunekit.widths import select_widths


def moving_whisker(
    model: nn.Module,
    example_inputs: Tensor,
    lists: dict[str, pd.Series],
    ratio: float = 0.5,
) -> MovingFigure:
    """A slider for the whisker factor: which units are abnormal, and what each unit keeps.

    Beneath it stands what stays: channels, and the shares of MACs and parameters.

    The page computes what :func:`prunekit.widths.abnormal_richness` and
    :func:`prunekit.widths.allocate`, with ``"contrast"`` and a budget of MACs,
    give for the factor.

    Parameters
    ----------
    lists
        Two indicators by unit, entropies and norms, each under its name.
    ratio
        Share of the MACs that is removed.

    Raises
    ------
    ValueError
        A channel of one unit costs more or less after one of another has gone.
    """
    graph = trace(model, example_inputs)
    names = list(next(iter(lists.values())).index)
    widths = {unit.name: unit.width for unit in units(graph, "everywhere") if unit.name in names}
    ranking = rank(model, [(example_inputs, None)], "weight_l1")

    def priced(budget: Literal["macs", "parameters"]) -> tuple[int, dict[str, int]]:
        """What the whole network costs, and a channel of each unit."""
        left = left_after(model, example_inputs, budget)

        def after(gone: dict[str, int]) -> int:
            kept = {name: widths[name] - gone.get(name, 0) for name in names}
            return left(select_widths(ranking, kept, graph))

        whole = left({})
        costs = {name: whole - after({name: 1}) for name in names}
        if whole - after(dict.fromkeys(names, 1)) != sum(costs.values()):
            raise ValueError("units read each other's channels: what one costs depends on others")
        return whole, costs

    whole, costs = priced("macs")
    parameters, weights = priced("parameters")
    least = {name: max(2, int(0.1 * widths[name] + 0.5)) for name in names}
    data = {
        "lists": [{"label": label, "values": values.tolist()} for label, values in lists.items()],
        "names": names,
        "widths": [widths[name] for name in names],
        "costs": [costs[name] for name in names],
        "whole": whole,
        "weights": [weights[name] for name in names],
        "parameters": parameters,
        "ratio": ratio,
        "least": whole - sum((widths[name] - least[name]) * costs[name] for name in names),
    }
    return MovingFigure("whisker", data, "The box plots above show it for a factor of 1.5.")
