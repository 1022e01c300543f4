"""How a run lands on its budget, round numbers of filters, and criteria that take turns."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loops import FILTERS, assert_same_run, quickly
from networks import random_networks, some_of_every_layer
from torch import nn

from prunekit import profile, prune, rank, rebuild, select, trace
from prunekit.criteria import Criterion
from prunekit.models import ResNet
from prunekit.pruning.budgets import left_after, per_saving


@pytest.mark.parametrize("budget", ["parameters", "macs"])
def test_the_last_iteration_takes_the_fewest_groups_that_reach_the_budget(noise, budget):
    history = quickly(noise, budget=budget, per_iteration=30)
    left = history.table[budget] / history.table[budget].iloc[0]
    assert left.iloc[-1] <= 0.5 < left.iloc[-2]
    assert (history.table["removed"].iloc[1:-1] == 30).all()
    last = history.table["removed"].iloc[-1]
    assert last < 30
    before = quickly(noise, ratio=1 - history.table["filters"].iloc[-2] / FILTERS, per_iteration=30)
    ranking = rank(before.model, noise, "weight_l1")
    fewer = rebuild(before.model, noise[0][0], select(ranking, last - 1))
    assert getattr(profile(fewer, noise[0][0]), budget) > 0.5 * history.table[budget].iloc[0]


@settings(max_examples=settings.default.max_examples // 2)
@given(random_networks(), st.integers(0, 2**16))
def test_what_a_removal_leaves_is_known_without_rebuilding(model, seed):
    x = torch.zeros(1, 3, 8, 8, dtype=torch.double)
    remove = some_of_every_layer(trace(model, x), 0.7, seed)
    rebuilt = profile(rebuild(model, x, remove), x)
    assert left_after(model, x, "parameters")(remove) == rebuilt.parameters
    assert left_after(model, x, "macs")(remove) == rebuilt.macs


@settings(max_examples=settings.default.max_examples // 2)
@given(random_networks(), st.sampled_from(["parameters", "macs"]))
def test_a_cost_aware_score_is_the_value_of_its_group_for_what_it_saves_alone(model, budget):
    x = torch.zeros(2, 3, 8, 8, dtype=torch.double)
    graph, total = trace(model, x), getattr(profile(model, x), budget)
    assume(graph.prunable)
    ranking = rank(model, [(x, torch.zeros(2).long())], "random")
    priced, left = per_saving(ranking, model, x, budget), left_after(model, x, budget)
    for group, rows in ranking.groupby("group"):
        members = graph.members(group)
        if any(len(filters) == graph.layers[name].filters for name, filters in members.items()):
            continue  # the only filters of their layer: no removal of these can be tried
        saved = 1 - left(members) / total
        value = rows["score"].sum() / saved
        assert priced.loc[rows.index, "score"].to_numpy() == pytest.approx(value)


@pytest.mark.parametrize("budget", ["parameters", "macs"])
def test_a_cost_aware_run_meets_its_budget_with_fewer_filters_gone(noise, budget):
    plain, aware = (quickly(noise, budget=budget, cost_aware=on) for on in (False, True))
    assert aware.table[budget].iloc[-1] <= 0.5 * aware.table[budget].iloc[0]
    assert aware.table["filters"].iloc[-1] > plain.table["filters"].iloc[-1]


class Norms(Criterion):
    normalized = False

    def __call__(self, observation):
        return observation.module.weight.flatten(1).norm(dim=1)


class AddedNorms(Norms):
    pool = "sum"


def test_a_group_is_worth_as_much_whichever_way_its_scores_are_pooled(noise):
    options = {"ratio": 0.9, "budget": "macs", "per_iteration": 8, "fine_tune": None}
    model = ResNet(blocks=1)
    by_mean, by_sum = (
        prune(model, noise, noise, criterion, cost_aware=True, progress=False, **options)
        for criterion in (Norms(), AddedNorms())
    )
    assert by_mean.kept == by_sum.kept


def test_scores_below_zero_have_no_price(noise):
    class Negative(Criterion):
        def __call__(self, observation):
            return -observation.module.weight.flatten(1).norm(dim=1)

    with pytest.raises(ValueError, match="choose another criterion"):
        quickly(noise, criterion=Negative(), budget="macs", cost_aware=True)


class Written(nn.Module):
    """Its second layer and the third, which reads it, are written as functions."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(3, 3, 1, bias=False) for _ in range(3))
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        x = F.conv2d(self.first(x), self.second.weight)
        return self.last(F.conv2d(x, self.third.weight).mean((2, 3)))


def test_filters_that_save_nothing_that_is_counted_have_no_price():
    model, x = Written(), torch.zeros(1, 3, 4, 4)
    ranking = rank(model, [(x, None)], "weight_l1")
    with pytest.raises(ValueError, match=r"filters of second save no macs .*leave out cost_aware"):
        per_saving(ranking, model, x, "macs")
    assert per_saving(ranking, model, x, "parameters")["score"].gt(0).all()


@pytest.mark.parametrize("budget", ["filters", "parameters", "macs"])
@pytest.mark.parametrize("criterion", ["weight_l1", "random"])
def test_a_share_an_iteration_takes_any_criterion_equally_many(noise, budget, criterion):
    history = quickly(
        noise, criterion=criterion, budget=budget, share_per_iteration=0.15, ratio=0.45
    )
    removed = 1 - history.table[budget] / history.table[budget].iloc[0]
    assert len(removed) == 4
    for share, reached in zip((0.15, 0.3, 0.45), removed[1:], strict=True):
        assert share <= reached + 1e-9 < share + 0.05


def test_latency_as_a_budget_ends_with_the_iteration_that_reaches_it(noise, monkeypatch, tmp_path):
    def by_filters(model, unpruned, image):
        assert [x.shape for x in image] == [(1, 3, 32, 32)]
        assert profile(unpruned, image).layers["filters"].sum() == FILTERS + 10
        return (profile(model, image).layers["filters"].sum() - 10) / FILTERS

    monkeypatch.setattr("prunekit.pruning.iterations.relative_latency", by_filters)
    history = quickly(noise, budget="latency", per_iteration=50, ratio=0.4, folder=tmp_path)
    assert history.table["removed"].tolist() == [0, 50, 50]
    assert history.table["latency"].tolist() == pytest.approx([1, 134 / FILTERS, 84 / FILTERS])
    again = quickly(noise, budget="latency", per_iteration=50, ratio=0.4, folder=tmp_path)
    assert_same_run(again, history)


@pytest.mark.filterwarnings("ignore:pruning ended")
def test_latency_is_measured_against_the_unpruned_network(noise):
    # No speed is promised for a network this small: only that it is measured and recorded.
    history = quickly(noise, budget="latency", per_iteration=60, ratio=0.99, max_accuracy_drop=0.0)
    assert history.table["latency"].iloc[0] == 1
    assert (history.table["latency"].iloc[1:] > 0).all()


def filters_of(model: nn.Module) -> float:
    """A cost of one's own, such as the milliseconds of another machine."""
    assert not model.training
    layers = profile(model, torch.zeros(1, 3, 32, 32)).layers
    return 2.5 * (int(layers["filters"].sum()) - 10)


def test_a_function_may_say_what_a_network_costs(noise, tmp_path):
    options = {"budget": filters_of, "per_iteration": 50, "ratio": 0.4, "folder": tmp_path}
    history = quickly(noise, **options)
    assert history.stopped == "ratio"
    assert history.table["cost"].tolist() == [2.5 * FILTERS, 2.5 * 134, 2.5 * 84]
    assert_same_run(quickly(noise, **options), history)
    with pytest.raises(ValueError, match="is of a pruning run with other settings: budget"):
        quickly(noise, **options | {"budget": lambda model: 1.0})


@pytest.mark.parametrize(
    "budget, error, message",
    [
        (
            lambda model: 0,
            ValueError,
            "the cost that budget gave must be above 0 and finite, not 0",
        ),
        (lambda model: "fast", TypeError, "the cost that budget gave must be a number"),
        (nn.Linear, TypeError, "budget must be a function, not the class Linear"),
    ],
)
def test_a_cost_is_a_number_above_zero(noise, budget, error, message):
    with pytest.raises(error, match=message):
        quickly(noise, budget=budget, per_iteration=50)


def test_layers_keep_round_numbers_of_filters(noise):
    history = quickly(noise, round_to=4, ratio=0.6)
    layers = profile(history.model, noise[0][0]).layers
    assert (layers["filters"].iloc[:-1] % 4 == 0).all()
    assert 0.6 <= 1 - history.table["filters"].iloc[-1] / FILTERS < 0.6 + 4 / FILTERS


SCHEDULE = [(0, "weight_l1"), (0.3, "similarity_cosine"), (0.45, "random")]


def test_a_schedule_switches_at_shares_of_the_budget(noise):
    schedule = [(0, "weight_l1"), (0.3, "random")]
    rows = quickly(
        noise, criterion=schedule, budget="macs", ratio=0.6, share_per_iteration=0.2
    ).table
    assert rows["criterion"].tolist()[1:] == ["weight_l1", "weight_l1", "random"]
    gone = 1 - rows["macs"] / rows["macs"][0]
    assert 0.2 <= gone[1] < 0.3 <= gone[2]


def test_a_schedule_switches_between_criteria_at_shares_of_filters_removed(noise, tmp_path):
    history = quickly(noise, criterion=SCHEDULE, ratio=0.6, per_iteration=30, folder=tmp_path)
    expected = [None, "weight_l1", "weight_l1", "similarity_cosine", "random"]
    assert history.table["filters"].tolist() == [184, 154, 124, 94, 73]
    assert [name if isinstance(name, str) else None for name in history.table["criterion"]] == (
        expected
    )
    alone = quickly(noise, ratio=0.6, per_iteration=30)
    assert history.removed[:2] == alone.removed[:2]
    assert history.removed[2] != alone.removed[2]
    assert "criterion" not in alone.table
    lists = [list(stage) for stage in SCHEDULE]  # as a study file has them
    again = quickly(noise, criterion=lists, ratio=0.6, per_iteration=30, folder=tmp_path)
    assert_same_run(again, history)
    with pytest.raises(ValueError, match="criterion"):
        quickly(noise, criterion=SCHEDULE[:2], ratio=0.6, per_iteration=30, folder=tmp_path)


@pytest.mark.parametrize(
    "schedule",
    [[], ["taylor"], [(0.1, "taylor")], [(0, "taylor"), (0, "random")], [(0, "taylor", 1)],
     [(0, "taylor"), (1.0, "random")], [("taylor", 0)]],
)  # fmt: skip
def test_a_schedule_that_says_nothing_clear_is_refused(noise, schedule):
    with pytest.raises(ValueError, match="the shares rise from 0 and stay below 1"):
        quickly(noise, criterion=schedule)


def test_every_criterion_of_a_schedule_is_known_before_the_first_iteration(noise, tmp_path):
    with pytest.raises(ValueError, match="no criterion is named 'twins'"):
        quickly(noise, criterion=[(0, "weight_l1"), (0.4, "twins")], folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
