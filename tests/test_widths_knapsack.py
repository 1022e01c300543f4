"""Widths that lose the least on a budget, against trying all of them."""

from __future__ import annotations

import math
import re
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from prunekit import profile, prune, rank, rebuild, select, sensitivity, trace
from prunekit.channels.units import units
from prunekit.models import ResNet, TinySqueezeNet
from prunekit.pruning.budgets import left_after, per_saving
from prunekit.widths import knapsack, select_widths, width_table
from prunekit.widths.allocation import narrowed
from prunekit.widths.knapsack import STEPS, _least_lost

X = torch.zeros(1, 3, 8, 8)


def chain(*widths: int) -> nn.Module:
    """Convolutions one after another, and a last one of two filters."""
    torch.manual_seed(0)
    sizes = [3, *widths, 2]
    return nn.Sequential(*(nn.Conv2d(a, b, 1) for a, b in pairwise(sizes)))


def scored(model: nn.Module, x: Tensor = X) -> pd.DataFrame:
    return rank(model, [(x, None)], "weight_l1", normalize=False)


@pytest.mark.parametrize("score", [0.0, -1.0, math.inf])
def test_scores_of_which_no_share_can_be_taken_are_refused(score):
    with pytest.raises(ValueError, match=r"the scores of the ranking add up to .* above 0 and"):
        width_table(scored(model := chain(4)).assign(score=score), model, X)


TABLES = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 16)), min_size=1, max_size=5),
    min_size=1,
    max_size=5,
)


@given(TABLES, st.integers(0, 80))
def test_no_choice_of_rows_loses_less_at_the_same_cost(tables, budget):
    lost = [np.array([row[0] for row in of], float) for of in tables]
    costs = [np.array([row[1] for row in of], float) for of in tables]
    above = sum(of.max() - of.min() for of in costs)
    size = min(STEPS, int((budget + 0.5) / (above / STEPS or 1)))
    chosen = _least_lost(lost, costs)(size)

    def totals(rows):
        spent = sum(of[k] - of.min() for of, k in zip(costs, rows, strict=True))
        return spent, sum(of[k] for of, k in zip(lost, rows, strict=True))

    every = [totals(rows) for rows in product(*(range(len(of)) for of in tables))]
    assert totals(chosen)[0] <= budget
    assert totals(chosen)[1] == min(loss for spent, loss in every if spent <= budget)


@pytest.mark.parametrize("cost", ["macs", "parameters"])
@pytest.mark.parametrize("ratio", [0.2, 0.4, 0.6])
def test_what_is_found_is_near_the_best_of_all_networks(cost, ratio):
    """Costs of neighbours multiply, which the sums in the table do not say."""
    model = chain(10, 14, 8)
    table = width_table(scored(model), model, X, cost, levels=8)
    found = knapsack(table, model, X, ratio, cost)
    graph, price = trace(model, X), left_after(model, X, cost)
    alone = units(graph, "everywhere")
    most = (1 - ratio) * price({})

    def priced(kept: list[int]) -> int:
        return price(narrowed(graph, alone, kept))

    assert priced(found["kept"].to_list()) <= most
    choices = [
        [(unit.width, 0.0), *table.loc[table["unit"] == unit.name, ["kept", "lost"]].to_numpy()]
        for unit in alone
    ]
    losses = [
        sum(lost for _, lost in rows)
        for rows in product(*choices)
        if priced([int(kept) for kept, _ in rows]) <= most
    ]
    assert found["lost"].sum() <= min(losses) + 0.03
    assert found["lost"].sum() < np.median(losses)


def test_a_table_says_what_goes_and_what_the_network_then_costs():
    model = ResNet(blocks=1).eval()
    x = torch.zeros(1, 3, 16, 16)
    ranking, graph = scored(model, x), trace(model, x)
    table = width_table(ranking, model, x, levels=4)
    alone = {unit.name: unit for unit in units(graph, "everywhere")}
    assert set(table["unit"]) == set(alone)
    for row in table.itertuples():
        unit = alone[row.unit]
        remove = select_widths(ranking, {row.unit: row.kept}, graph)
        assert 2 <= row.kept < unit.width
        assert profile(rebuild(model, graph, remove), x).macs == row.cost
        gone = sum(ranking.set_index(["layer", "filter"]).loc[name, "score"].loc[some].sum()
                   for name, some in remove.items())  # fmt: skip
        assert row.lost == pytest.approx(gone / ranking["score"].sum())


def steps_of_eight(model: nn.Module) -> float:
    """A machine that computes eight channels at a time, as fast as one."""
    return 1 + sum(math.ceil(m.out_channels / 8) for m in model if isinstance(m, nn.Conv2d))


def test_a_machine_that_counts_in_eights_gets_multiples_of_eight():
    model = chain(40, 24, 32)
    ranking, graph = scored(model), trace(model, X)
    table = width_table(ranking, model, X, steps_of_eight, levels=40)
    found = knapsack(table, model, X, 0.4, steps_of_eight)
    small = rebuild(model, graph, select_widths(ranking, found["kept"], graph))
    assert steps_of_eight(small) <= 0.6 * steps_of_eight(model)
    assert (found["kept"] % 8 == 0).all()
    # By score for each MAC, as many filters would have to go as reach the same budget.
    greedy = per_saving(ranking, model, X, "macs")
    for count in range(1, 96):
        remove = select(greedy, count)
        if steps_of_eight(rebuild(model, graph, remove)) <= 0.6 * steps_of_eight(model):
            break
    lost = sum(
        ranking.set_index(["layer", "filter"]).loc[name, "score"].loc[some].sum()
        for name, some in remove.items()
    )
    assert found["lost"].sum() < lost / ranking["score"].sum()


def test_a_scan_of_sensitivity_is_a_table(one_thread):
    torch.manual_seed(0)
    model = TinySqueezeNet().eval()
    batches = [(torch.randn(10, 3, 32, 32), torch.arange(10))]
    scan = sensitivity(model, batches, shares=[0.25, 0.5, 0.75], progress=False)
    for row in scan.table.itertuples():
        assert row.filters < scan.unpruned["filters"]
    table = scan.table.rename(columns={"accuracy_lost": "lost", "macs": "cost"})
    found = knapsack(table, model, batches[0][0][:1], 0.5)
    ranking = rank(model, batches, "weight_l1", progress=False)
    graph = trace(model, batches[0][0])
    small = rebuild(model, graph, select_widths(ranking, found["kept"], graph))
    x = batches[0][0][:1]
    assert profile(small, x).macs <= 0.5 * profile(model, x).macs
    assert found["lost"].sum() == pytest.approx(
        sum(
            table[(table["unit"] == unit) & (table["kept"] == row["kept"])]["lost"].iloc[0]
            for unit, row in found.iterrows()
            if row["kept"] < row["width"]
        )
    )


def test_prune_goes_to_the_widths_by_steps_where_they_are_its_floors():
    torch.manual_seed(0)
    model = TinySqueezeNet().eval()
    batches = [(torch.randn(10, 3, 32, 32), torch.arange(10))]
    x = batches[0][0][:2]
    ranking, graph = rank(model, batches, "weight_l1", progress=False), trace(model, x)
    widths = knapsack(width_table(ranking, model, x), model, x, 0.5)
    gone = select_widths(ranking, widths["kept"], graph)
    floors = {
        name: layer.filters - len(gone.get(name, ())) for name, layer in graph.prunable.items()
    }
    history = prune(model, batches, batches, "weight_l1", 0.5, share_per_iteration=0.2,
                    budget="macs", fine_tune=None, min_filters=floors, progress=False)  # fmt: skip
    assert history.stopped == "ratio" and len(history.table) == 4
    spare = [len(history.kept[name]) - least for name, least in floors.items()]
    # Not one filter more than the budget asks for: the knapsack may end a little below it.
    assert min(spare) >= 0 and sum(spare) <= 3


def good_table() -> pd.DataFrame:
    rows = [("0", 4, 0.2, 100), ("1", 3, 0.1, 100)]
    return pd.DataFrame(rows, columns=["unit", "kept", "lost", "cost"])


BAD = [
    (lambda t: {"widths": t.drop(columns="lost")}, ValueError, "has no column lost"),
    (lambda t: {"widths": t[:0]}, ValueError, "is empty: it has no width to choose"),
    (lambda t: {"widths": t.to_dict()}, TypeError, "widths must be a DataFrame as width_table"),
    (lambda t: {"widths": t.assign(unit="9")}, ValueError, "no unit is named '9'; there are 0, 1"),
    (lambda t: {"widths": t.assign(kept=40)}, ValueError, "0 can keep 1 to 8 channels, not 40"),
    (lambda t: {"widths": t.assign(kept=2.5)}, ValueError, "0 can keep 1 to 8 channels, not 2.5"),
    (lambda t: {"widths": t.assign(cost=np.nan)}, ValueError, "finite numbers in column cost"),
    (lambda t: {"widths": t.assign(lost="much")}, ValueError, "finite numbers in column lost"),
    (lambda t: {"ratio": 0.99}, ValueError, r"the narrowest widths in the table save .*%"),
    (lambda t: {"ratio": 1}, ValueError, "ratio must be above 0 and below 1, not 1"),
    (lambda t: {"cost": "filters"}, ValueError, "cost must be one of parameters, macs, or a func"),
    (lambda t: {"cost": lambda _: "3 ms"}, TypeError, "what cost gave must be a number"),
    (lambda t: {"cost": lambda _: 0}, ValueError, "what cost gave must be above 0"),
]


@pytest.mark.parametrize(("changed", "kind", "message"), BAD)
def test_bad_input_is_named(changed, kind, message):
    model = chain(8, 6)
    given = {"widths": good_table(), "ratio": 0.3, "cost": "macs"} | changed(good_table())
    with pytest.raises(kind, match=message if ".*" in message else re.escape(message)):
        knapsack(given["widths"], model, X, given["ratio"], given["cost"])


def test_a_ranking_of_another_network_or_without_groups_makes_no_table():
    ranking = scored(chain(8, 6))
    with pytest.raises(ValueError, match="no column group"):
        width_table(ranking.drop(columns="group"), chain(8, 6), X)
    with pytest.raises(ValueError, match="the ranking has no row for some of its filters"):
        width_table(ranking, chain(8, 9), X)
