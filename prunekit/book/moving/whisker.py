"""The whisker of a box plot, in the reader's hand, and the widths that follow from it."""

from __future__ import annotations

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
    left = left_after(model, example_inputs, "macs")

    def after(gone: dict[str, int]) -> int:
        kept = {name: widths[name] - gone.get(name, 0) for name in names}
        return left(select_widths(ranking, kept, graph))

    whole = left({})
    costs = {name: whole - after({name: 1}) for name in names}
    if whole - after(dict.fromkeys(names, 1)) != sum(costs.values()):
        raise ValueError("units read each other's channels: what one costs depends on the others")
    least = {name: max(2, int(0.1 * widths[name] + 0.5)) for name in names}
    data = {
        "lists": [{"label": label, "values": values.tolist()} for label, values in lists.items()],
        "names": names,
        "widths": [widths[name] for name in names],
        "costs": [costs[name] for name in names],
        "whole": whole,
        "ratio": ratio,
        "least": whole - sum((widths[name] - least[name]) * costs[name] for name in names),
    }
    return MovingFigure("whisker", data, "The box plots above show it for a factor of 1.5.")
