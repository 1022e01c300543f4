"""Filter grafting: one grafting, on paper and on any network."""

from __future__ import annotations

import copy
import math

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rings import MODES, assert_same, ring_of, small, states
from torch import nn

from prunekit.grafting import coefficient, coefficients, graft
from prunekit.models import TinySqueezeNet, mobilenet_v2, resnet20, vgg16_bn_half
from prunekit.widths import entropy


def test_coefficients_on_paper():
    assert coefficient(1.7, 1.7) == 0.5
    assert (coefficient(2.3, 0.1), coefficient(0.1, 2.3)) == (0.7, 0.3)
    assert coefficient(1.002, 1) == round(0.4 / math.pi * math.pi / 4 + 0.5, 2) == 0.6
    assert coefficient(2.3, 0.1, amplitude=0) == 0.5


@given(st.floats(0, 5), st.floats(0, 5), st.floats(0, 1), st.floats(0, 1000))
def test_two_networks_share_all_that_there_is(own, peer, amplitude, steepness):
    options = {"amplitude": amplitude, "steepness": steepness}
    one, other = coefficient(own, peer, **options), coefficient(peer, own, **options)
    assert one + other == pytest.approx(1, abs=0.011)  # each is rounded to two decimals
    assert abs(one - 0.5) <= amplitude / 2 + 0.005
    assert own <= peer or one >= 0.5


def test_what_decides():
    one, two = ring_of(2)
    with torch.no_grad():
        two[0].weight.fill_(0.1)  # knows nothing
        one[1].weight.fill_(1.0)  # its batch norm knows nothing
        two[3].weight.copy_(one[3].weight)
    found = {mode: coefficients([one, two], mode).set_index(["network", "layer"]) for mode in MODES}
    shares = {
        mode: tuple(table.loc[(0, "0"), ["own", "own_norm"]]) for mode, table in found.items()
    }
    assert entropy(two[1].weight, 2) > 0
    assert shares["follow"] == (0.7, 0.7)
    assert shares["separate"] == (0.7, 0.3)
    assert shares["conv_only"][0] == 0.7 and math.isnan(shares["conv_only"][1])
    more = entropy(one[0].weight) - entropy(two[1].weight, 2)
    assert shares["joint"] == (coefficient(more, 0),) * 2
    with torch.no_grad():
        two[0].weight.copy_(one[0].weight)
    shares = [tuple(coefficients([one, two], mode)["own"][:1]) for mode in ("follow", "joint")]
    assert shares == [(0.5,), (0.3,)]  # the batch norm alone decides
    # Layers that know the same weigh the same, whatever their batch norms' absence.
    assert found["joint"].loc[(0, "3"), "own"] == 0.5
    assert list(found["joint"].loc[0].index) == ["0", "3", "6"]


def test_each_network_is_compared_with_the_one_before_it():
    models = ring_of(3)
    known = [entropy(model[0].weight) for model in models]
    table = coefficients(models, "follow", steepness=50)
    own = table.loc[table["layer"] == "0", "own"].tolist()
    assert own == [coefficient(known[i], known[i - 1], steepness=50) for i in range(3)]
    assert own != [coefficient(known[i], known[(i + 1) % 3], steepness=50) for i in range(3)]


@pytest.mark.parametrize("mode", MODES)
def test_one_grafting_on_paper(mode):
    models = ring_of(3)
    before, table = states(models), coefficients(models, mode)
    graft(models, table)
    for place, model in enumerate(models):
        own, own_norm = table[(table["network"] == place) & (table["layer"] == "0")].iloc[0, 2:]
        mine, peer, now = before[place], before[place - 1], model.state_dict()
        for name in ("0.weight", "0.bias"):
            torch.testing.assert_close(now[name], own * mine[name] + (1 - own) * peer[name])
        for name in ("1.weight", "1.bias", "1.running_mean", "1.running_var"):
            if mode == "conv_only":
                assert torch.equal(now[name], mine[name])
            else:
                mixed = own_norm * mine[name] + (1 - own_norm) * peer[name]
                torch.testing.assert_close(now[name], mixed)


@pytest.mark.parametrize("mode", MODES)
def test_equal_networks_change_nothing(mode):
    model = ring_of(1)[0]
    models = [model, copy.deepcopy(model), copy.deepcopy(model)]
    before, table = states(models), coefficients(models, mode)
    assert (table["own"] == 0.5).all()
    graft(models, table)
    assert_same(models, before)


@given(st.integers(2, 4), st.sampled_from(MODES))
def test_with_nothing_from_the_peer_nothing_changes(count, mode):
    models = ring_of(count)
    before, table = states(models), coefficients(models, mode)
    graft(models, table.assign(own=1.0, own_norm=1.0))
    assert_same(models, before)


@given(st.sampled_from(MODES))
def test_without_amplitude_two_networks_meet_in_the_middle(mode):
    models = ring_of(2)
    before = states(models)
    graft(models, coefficients(models, mode, amplitude=0))
    for key in ("0.weight", "6.weight", "6.bias"):
        middle = (before[0][key] + before[1][key]) / 2
        for model in models:
            torch.testing.assert_close(model.state_dict()[key], middle)


@pytest.mark.parametrize("mode", ["follow", "separate", "joint"])
def test_two_networks_are_one_after_a_grafting_and_three_are_not(mode):
    for count in (2, 3):
        models = ring_of(count)
        graft(models, coefficients(models, mode))
        now = states(models)
        same = [torch.allclose(t, now[0][key], atol=1e-6) for key, t in now[1].items()]
        assert all(same) == (count == 2)


@pytest.mark.parametrize("make", [TinySqueezeNet, resnet20, vgg16_bn_half, mobilenet_v2])
def test_any_network(make):
    models = ring_of(2, make)
    before, table = states(models), coefficients(models)
    graft(models, table)
    changed = {
        key
        for key, t in models[0].state_dict().items()
        if t.is_floating_point() and not torch.equal(t, before[0][key])
    }
    assert {f"{layer}.weight" for layer in table["layer"]} <= changed
    counters = [key for key in before[0] if "num_batches" in key]
    assert all(torch.equal(models[0].state_dict()[key], before[0][key]) for key in counters)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))

    def forward(self, scores):
        return (scores + self.mask).softmax(-1)


@pytest.mark.parametrize("mode", MODES)
def test_masks_and_tables_stay_as_they_are(mode):
    models = ring_of(2, lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), Masked()))
    models[0][1].running_mean.fill_(1)
    before = states(models)
    graft(models, coefficients(models, mode))
    for model, old in zip(models, before, strict=True):
        assert torch.equal(model[2].mask, old["2.mask"])
        assert torch.equal(model[1].running_mean, old["1.running_mean"]) == (mode == "conv_only")


def twice(model: nn.Module) -> list[nn.Module]:
    return [model, model]


@pytest.mark.parametrize(
    ("models", "options", "error", "message"),
    [
        (small(), {}, TypeError, "models must be a list of one model or more"),
        ([], {}, TypeError, "models must be a list of one model or more"),
        (twice(small()), {}, ValueError, "models has the same network twice"),
        ([small(), TinySqueezeNet()], {}, ValueError, r"models\[1\] has tensors of other names"),
        ([nn.Sequential(nn.ReLU())], {}, ValueError, "no convolution or linear layer to graft"),
        (ring_of(2), {"mode": "all"}, ValueError, "mode must be one of conv_only, follow"),
        (ring_of(2), {"amplitude": 2}, ValueError, "amplitude must be at least 0 and at most 1"),
        (ring_of(2), {"steepness": -1}, ValueError, "steepness must be at least 0"),
    ],
)
def test_rings_that_are_refused(models, options, error, message):
    with pytest.raises(error, match=message):
        coefficients(models, **options)


def test_tables_that_are_refused():
    models = ring_of(2)
    with pytest.raises(TypeError, match="coefficients must be a DataFrame with the columns"):
        graft(models, pd.DataFrame({"own": [1.0]}))
    with pytest.raises(ValueError, match="shares must lie between 0 and 1"):
        graft(models, coefficients(models).assign(own=1.5))
