"""Units and their widths: a budget met to one filter, on any network."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import random_networks
from torch import nn
from torchvision import models

from prunekit import mask, profile, rank, rebuild, trace
from prunekit.models import mobilenet_v2, resnet20, squeezenet, vgg16_bn
from prunekit.widths import allocate, layer_entropies, select_widths, units

X = torch.zeros(2, 3, 32, 32)
NETWORKS = {
    "squeezenet": squeezenet,
    "resnet20": resnet20,
    "vgg16_bn": vgg16_bn,
    "mobilenet_v2": mobilenet_v2,
}
RELATIONS = "to_max", "contrast", "neighbours"


def cost(model: nn.Module, kept: pd.Series, budget: str = "macs") -> int:
    graph = trace(model, X)
    ranking = rank(model, [(X, None)], "weight_l1", graph=graph)
    return getattr(profile(rebuild(model, graph, select_widths(ranking, kept, graph)), X), budget)


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_in_three_lines(name):
    torch.manual_seed(0)
    model, x = NETWORKS[name]().eval(), torch.randn(2, 3, 32, 32)
    graph = trace(model, x)
    widths = allocate(model, x, layer_entropies(model, graph), ratio=0.4)
    remove = select_widths(rank(model, [(x, None)], "weight_l1"), widths["kept"], graph)
    small = rebuild(model, graph, remove)
    assert profile(small, x).macs <= 0.6 * profile(model, x).macs
    for unit in widths.index:
        assert small.get_submodule(unit).weight.shape[0] == widths["kept"][unit]
    with torch.inference_mode():
        torch.testing.assert_close(small(x), mask(model, graph, remove)(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("scope", ["blocks", "everywhere"])
@pytest.mark.parametrize("budget", ["macs", "parameters"])
def test_a_budget_is_met_to_one_filter(relation, scope, budget):
    torch.manual_seed(0)
    model = resnet20()
    values = layer_entropies(model, trace(model, X), scope)
    widths = allocate(model, X, values, ratio=0.45, relation=relation, budget=budget)
    target = 0.55 * getattr(profile(model, X), budget)
    assert cost(model, widths["kept"], budget) <= target
    wider = widths["kept"] < widths["width"]
    dearest = max(
        cost(model, widths["kept"] + (widths.index == unit), budget) for unit in widths.index[wider]
    )
    assert dearest > target


def test_rates_on_paper():
    """Three convolutions of ten filters in a row, at 1x1: MACs are products of widths."""
    layers = [nn.Conv2d(a, b, 1, bias=False) for a, b in ((1, 10), (10, 10), (10, 10), (10, 1))]
    model, x = nn.Sequential(*layers), torch.zeros(1, 1, 1, 1)
    values = {"0": 1.0, "1": 2.0, "2": 4.0}

    def kept(ratio: float, **options) -> list[int]:
        return allocate(model, x, values, ratio, **options)["kept"].tolist()

    # There are 10 + 100 + 100 + 10 MACs. Scale 0.6 gives 1.5, 3 and 6: with 2, 3 and 6 filters
    # they are 2 + 6 + 18 + 6 = 32.
    assert kept(1 - 32 / 220) == [2, 3, 6]
    # 0.65 is where the last one reaches 7, with 36 MACs.
    assert kept(1 - 35 / 220) == [2, 3, 6]
    assert kept(1 - 36 / 220) == [2, 3, 7]
    # Relative to the neighbours' mean: 2/3, 6/7 and 4/3. Scale 0.6 gives 4, 5.14 and 8.
    assert kept(1 - (4 + 20 + 40 + 8) / 220, relation="neighbours") == [4, 5, 8]
    # 0.41 gives 2.73, 3.51 and 5.47, which are rounded to the nearest.
    assert kept(1 - (3 + 12 + 20 + 5) / 220, relation="neighbours") == [3, 4, 5]
    # On the unit range: 0, 1/3, 1. The least at 0.1 gives 1 (but two must stay), 4 and 10.
    assert kept(1 - (2 + 8 + 40 + 10) / 220, relation="contrast") == [2, 4, 10]
    # The least at 0.4 gives 4, and the second 0.4 + 0.6 / 3.
    assert kept(1 - (4 + 24 + 60 + 10) / 220, relation="contrast") == [4, 6, 10]
    # Below zero, the second falls on: -0.26 gives it 0.16.
    assert kept(1 - (2 + 4 + 20 + 10) / 220, relation="contrast") == [2, 2, 10]


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_constant_and_a_zero_divide_nothing(relation):
    model = resnet20()
    names = [unit.name for unit in units(trace(model, X))]
    equal = allocate(model, X, dict.fromkeys(names, 0.0), 0.3, relation=relation)
    same = allocate(model, X, dict.fromkeys(names, 2.0), 0.3, relation=relation)
    assert equal["kept"].tolist() == same["kept"].tolist()
    assert equal["rate"].max() - equal["rate"].min() < 0.1
    uneven = dict.fromkeys(names, 1.0) | {UNIT: 0.0}
    starved = allocate(model, X, uneven, 0.02, relation=relation)
    assert starved["rate"].idxmin() == UNIT


def test_a_constant_added_changes_no_width_under_contrast():
    model = resnet20()
    values = layer_entropies(model, trace(model, X))
    plain, shifted = (
        allocate(model, X, one, 0.4, relation="contrast")["kept"] for one in (values, values + 7)
    )
    assert plain.tolist() == shifted.tolist()


def test_permuted_rates_meet_the_same_budget():
    torch.manual_seed(0)
    model, generator = resnet20(), np.random.default_rng(0)
    values = layer_entropies(model, trace(model, X)) ** 8  # far apart
    macs = []
    for shown in (
        values,
        1 / values,
        *(values.iloc[generator.permutation(len(values))] for _ in "abc"),
    ):
        reordered = pd.Series(shown.to_numpy(), values.index)
        macs.append(cost(model, allocate(model, X, reordered, 0.4)["kept"]))
    assert max(macs) <= profile(model, X).macs * 0.6
    dearest = 2 * 16 * 9 * 32 * 32  # a filter of the first stage
    assert max(macs) - min(macs) <= dearest


def test_larger_values_get_larger_rates():
    model = resnet20()
    names = [unit.name for unit in units(trace(model, X)) if unit.width == 32]
    widths = allocate(model, X, {name: 1.0 + place for place, name in enumerate(names)}, 0.1)
    assert sorted(widths["kept"]) == widths["kept"].tolist()
    assert widths["kept"].iloc[0] < widths["kept"].iloc[-1]


def test_round_numbers():
    torch.manual_seed(0)
    model = mobilenet_v2()
    widths = allocate(model, X, layer_entropies(model, trace(model, X)), 0.5, round_to=8)
    assert (widths["kept"] % 8 == 0).all()
    assert cost(model, widths["kept"]) <= 0.5 * profile(model, X).macs


@settings(max_examples=settings.default.max_examples // 4)
@given(random_networks(), st.sampled_from(RELATIONS), st.floats(0.1, 0.9), st.data())
def test_random_networks_meet_their_budget(model, relation, ratio, data):
    x = torch.zeros(1, 3, 8, 8, dtype=torch.double)
    graph = trace(model, x)
    found = units(graph, "everywhere")
    assume(found)
    assert len({unit.name for unit in found}) == len(found)
    values = {unit.name: data.draw(st.floats(0, 5)) for unit in found}
    try:
        kept = allocate(model, x, values, ratio, relation=relation, min_filters=1, least_rate=0.01)[
            "kept"
        ]
    except ValueError as error:
        assert "can remove at most" in str(error)
        return
    ranking = rank(model, [(x, None)], "random", graph=graph)
    small = rebuild(model, graph, select_widths(ranking, kept, graph))
    assert profile(small, x).macs <= (1 - ratio) * profile(model, x).macs
    for unit in found:
        channels = trace(small, x).layers[unit.makers[0]].groups
        assert len(channels) > 0


@pytest.mark.parametrize("name", ["googlenet", "shufflenet_v2_x0_5", "efficientnet_b0"])
def test_units_part_the_groups_of_a_network(name):
    options = {"init_weights": False} if name == "googlenet" else {}
    graph = trace(getattr(models, name)(weights=None, **options), torch.zeros(1, 3, 96, 96))
    found = units(graph, "everywhere")
    groups = list(itertools.chain(*(unit.groups.tolist() for unit in found)))
    assert len(set(groups)) == len(groups) and 0 not in groups
    inside = units(graph)
    assert {unit.name for unit in inside} <= {unit.name for unit in found}
    assert not any("aux" in unit.name for unit in found)  # in training only


def test_what_enters_a_sum_is_not_inside_a_block():
    graph = trace(models.efficientnet_b0(weights=None), torch.zeros(1, 3, 64, 64))
    inside = {unit.name for unit in units(graph)}
    assert "features.2.1.block.0.0" in inside  # expanded channels, with their gate
    assert "features.2.0.block.3.0" not in inside  # projected onto the sum of the stage
    assert "features.2.0.block.3.0" in {unit.name for unit in units(graph, "everywhere")}


RESNET = resnet20()
UNIT = "layer1.0.conv1"


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"values": {"conv9": 1.0}}, ValueError, "no unit is named 'conv9'; there are conv1, lay"),
        ({"values": {}}, ValueError, "values must be one number or more"),
        ({"values": {UNIT: np.nan}}, ValueError, "values must be one number or more"),
        ({"values": [1.0]}, TypeError, r"values must map units to numbers, not \[1.0\]"),
        ({"values": {UNIT: "1"}}, TypeError, "values must be a row of numbers"),
        ({"values": {UNIT: -1.0}}, ValueError, "to_max divides by values, so they must not be be"),
        ({"ratio": 1.0}, ValueError, "ratio must be above 0 and below 1"),
        ({"ratio": 0.5}, ValueError, "to_max can remove at most .* of macs from these units, not"),
        ({"relation": "max"}, ValueError, "relation must be one of to_max, contrast, neighbours"),
        ({"budget": "latency"}, ValueError, "budget must be one of parameters, macs"),
        ({"least_rate": 2}, ValueError, "least_rate must be at least 0 and at most 1"),
        ({"min_filters": 0}, ValueError, "min_filters must be at least 1"),
        ({"round_to": 1.5}, TypeError, "round_to must be a whole number"),
    ],
)
def test_allocations_that_are_refused(changed, error, message):
    with pytest.raises(error, match=message):
        allocate(RESNET, X, **{"values": {UNIT: 1.0}, "ratio": 0.01} | changed)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({UNIT: 0}, "layer1.0.conv1 can keep 1 to 16 channels, not 0"),
        ({UNIT: 17}, "layer1.0.conv1 can keep 1 to 16 channels, not 17"),
        ({UNIT: 2.5}, "layer1.0.conv1 can keep 1 to 16 channels, not 2.5"),
        ({"fc": 2}, "no unit is named 'fc'"),
    ],
)
def test_widths_that_cannot_be(kept, message):
    graph = trace(RESNET, X)
    ranking = rank(RESNET, [(X, None)], "weight_l1", graph=graph)
    with pytest.raises(ValueError, match=message):
        select_widths(ranking, kept, graph)
    with pytest.raises(ValueError, match="has no column group"):
        select_widths(ranking.drop(columns="group"), {UNIT: 2}, graph)
    with pytest.raises(ValueError, match=r"layer1\.0\.conv1: the ranking has no row for some"):
        select_widths(ranking[ranking["layer"] != UNIT], {UNIT: 2}, graph)


def test_the_lowest_of_a_unit_go():
    graph = trace(RESNET, X)
    ranking = rank(RESNET, [(X, None)], "weight_l1", graph=graph)
    removed = select_widths(ranking, {UNIT: 13}, graph)
    own = ranking[ranking["layer"] == UNIT].nsmallest(3, "score")
    assert removed == {UNIT: sorted(own["filter"])} and removed.groups == 3
