"""Layer entropy and abnormal information richness: known answers, and laws."""

from __future__ import annotations

import copy
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from prunekit import fold_batch_norm, trace
from prunekit.models import mobilenet_v2, resnet20
from prunekit.widths import (
    abnormal_richness,
    entropy,
    fences,
    layer_entropies,
    mean_magnitudes,
    tamed,
    to_unit_range,
    units,
)

X = torch.zeros(1, 3, 32, 32)
ROWS = st.lists(st.floats(-100, 100).map(lambda value: round(value, 3)), min_size=1, max_size=12)


@pytest.mark.parametrize("bins", [1, 2, 10])
def test_values_on_a_grid_have_the_greatest_entropy(bins):
    assert entropy(torch.linspace(-3, 5, 1000), bins) == pytest.approx(math.log(bins), abs=1e-4)


def test_on_paper():
    # Bins of width 2 from 0 to 4: three values in the first, and the greatest one in the last.
    assert entropy(torch.tensor([0.0, 1, 1, 4]), 2) == pytest.approx(
        -(3 / 4 * math.log(3 / 4) + 1 / 4 * math.log(1 / 4))
    )
    assert entropy(torch.full((3, 3), 7.0)) == 0


@given(ROWS, st.floats(0.01, 100), st.floats(-10, 10))
def test_entropy_lies_in_its_range_and_knows_no_scale(row, scale, shift):
    values = torch.tensor(row, dtype=torch.double)
    found = entropy(values)
    assert 0 <= found <= math.log(10) + 1e-12
    assert entropy(values.flip(0)) == pytest.approx(found, abs=1e-12)
    # A power of two changes no value's place in its bin.
    assert entropy(values * 2 ** round(math.log2(scale))) == pytest.approx(found, abs=1e-12)


def test_one_outlier_lowers_the_entropy():
    weights = torch.linspace(-1, 1, 500)
    assert entropy(torch.cat([weights, torch.tensor([50.0])])) < 0.1 * entropy(weights)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (1.0, math.nextafter(1.0, 2)),
        (-1e300, math.nextafter(-1e300, 0)),
        (0.0, 5e-324),
        (-1.7e308, 1.7e308),
        (-sys.float_info.max, sys.float_info.max),
    ],
)
def test_neighbouring_floats_and_the_greatest_have_an_entropy(low, high):
    values = torch.tensor([low, low, low, high], dtype=torch.double)
    expected = -(3 / 4 * math.log(3 / 4) + 1 / 4 * math.log(1 / 4))
    assert entropy(values) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [torch.empty(0), torch.tensor([1, math.nan])])
def test_no_entropy_without_numbers(wrong):
    with pytest.raises(ValueError, match="an entropy needs values, all of them finite"):
        entropy(wrong)
    with pytest.raises(TypeError, match="values must be a tensor, not"):
        entropy([1.0])


def test_a_unit_is_judged_by_the_layer_that_makes_its_channels():
    model = mobilenet_v2()
    found = layer_entropies(model, graph := trace(model, X))
    assert found["features.4.body.0"] == entropy(model.features[4].body[0].weight)
    assert "features.4.body.3" not in found  # depthwise: it passes channels on
    everywhere = layer_entropies(model, graph, "everywhere")
    makers = next(u for u in units(graph, "everywhere") if u.name == "features.4.body.6").makers
    assert len(makers) == 3
    of_makers = [entropy(model.get_submodule(name).weight) for name in makers]
    assert everywhere["features.4.body.6"] == pytest.approx(np.mean(of_makers))
    pd.testing.assert_series_equal(everywhere[found.index], found)


def test_box_plots_on_paper():
    assert fences([1, 2, 3, 4, 100]) == (-1, 7)
    values = [1, 2, 3, 4, 100]
    assert tamed(values).tolist() == [1, 2, 3, 4, 7]
    assert tamed(values, "normal").tolist() == [1, 2, 3, 4, 4]
    assert tamed(values, "median").tolist() == [1, 2, 3, 4, 3]
    assert tamed(values, "keep").tolist() == values
    with pytest.raises(ValueError, match="no value lies within whiskers of 0"):
        tamed([1, 2], "normal", whisker=0)
    assert tamed(values, whisker=100).tolist() == values


@given(ROWS, st.sampled_from(["whisker", "normal", "median"]))
def test_what_is_normal_stays(row, to):
    (low, high), after = fences(row), tamed(row, to)
    inside = [low <= value <= high for value in row]
    assert (after[inside] == np.array(row)[inside]).all()
    assert ((after >= low) & (after <= high)).all()


@given(ROWS)
def test_the_unit_range_is_filled(row):
    scaled = to_unit_range(row)
    if len(set(row)) > 1:
        assert (scaled.min(), scaled.max()) == (0, 1)
        assert (np.argsort(scaled, kind="stable") == np.argsort(row, kind="stable")).all()
    else:
        assert (scaled == 0.5).all()


def both(row: list[float]) -> tuple[pd.Series, pd.Series]:
    values = pd.Series(row, [str(place) for place in range(len(row))])
    return values, values.iloc[::-1].set_axis(values.index)


def test_fusions_on_paper():
    entropies, magnitudes = pd.Series([0.0, 1, 4]), pd.Series([2.0, 4, 4])
    # On the unit range: 0, 0.25, 1 and 0, 1, 1.
    for options, expected in [
        ({}, [0, 0.625, 1]),
        ({"weight": 1}, [0, 0.25, 1]),
        ({"weight": 0}, [0, 1, 1]),
        ({"fusion": "product"}, [0, 0.25, 1]),
        ({"fusion": "maximum"}, [0, 1, 1]),
    ]:
        table = abnormal_richness(entropies, magnitudes, abnormal="keep", **options)
        assert table["richness"].tolist() == expected


@given(ROWS, st.randoms(use_true_random=False))
def test_permuting_the_layers_permutes_their_richness(row, random):
    entropies, magnitudes = both(row)
    order = list(range(len(row)))
    random.shuffle(order)
    plain = abnormal_richness(entropies, magnitudes)
    permuted = abnormal_richness(entropies.iloc[order], magnitudes.iloc[order])
    pd.testing.assert_frame_equal(permuted, plain.iloc[order], rtol=1e-9)


@given(ROWS, st.floats(-5, 5))
def test_a_constant_added_to_all_entropies_changes_nothing(row, constant):
    entropies, magnitudes = both(row)
    plain, shifted = (
        abnormal_richness(values, magnitudes, abnormal="keep")["richness"]
        for values in (entropies, entropies + constant)
    )
    assert shifted.to_numpy() == pytest.approx(plain.to_numpy(), abs=1e-6)


def test_abnormal_layers_are_told():
    entropies, magnitudes = pd.Series([1.0, 2, 3, 4, 100]), pd.Series([1.0, 2, 3, 4, -50])
    table = abnormal_richness(entropies, magnitudes)
    assert table["entropy_abnormal"].tolist() == [False] * 4 + [True]
    assert table["magnitude_abnormal"].tolist() == [False] * 4 + [True]
    assert table["richness"].iloc[4] == 0.5  # greatest of one, least of the other


@pytest.mark.parametrize("scale", [0.125, 3.0])
def test_before_a_batch_norm_weights_have_no_size(scale):
    """The network is the same; its norm is not, unless it is taken of folded weights."""
    torch.manual_seed(0)
    model = resnet20().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_()
            nn.init.uniform_(module.weight, 0.5, 2)
    scaled, x = copy.deepcopy(model), torch.randn(2, 3, 32, 32)
    block = scaled.layer2[0]
    with torch.no_grad():
        block.conv1.weight.mul_(scale)
        block.bn1.running_mean.mul_(scale)
        block.bn1.running_var.mul_(scale**2)
        torch.testing.assert_close(scaled(x), model(x), rtol=1e-3, atol=1e-3)
    graph, name = trace(model, x), "layer2.0.conv1"
    ratio = mean_magnitudes(scaled, graph) / mean_magnitudes(model, graph)
    assert ratio[name] == pytest.approx(scale)
    assert (ratio.drop(name) == 1).all()
    folded = [mean_magnitudes(one, graph, folded=True) for one in (model, scaled)]
    assert folded[1][name] == pytest.approx(folded[0][name], rel=1e-3)
    expected = fold_batch_norm(model).layer2[0].conv1.weight.abs().mean().item()
    assert folded[0][name] == pytest.approx(expected)


def test_per_filter_grows_with_fan_in():
    model = resnet20()
    graph = trace(model, X)
    per_filter, per_weight = (
        mean_magnitudes(model, graph, per=per) for per in ("filter", "weight")
    )
    assert (per_filter / per_weight)["layer2.1.conv1"] == pytest.approx(32 * 9)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fences([]), ValueError, "values must be one number or more"),
        (lambda: fences("ab"), TypeError, "values must be a row of numbers, not 'ab'"),
        (lambda: fences([1, math.inf]), ValueError, "values must be one number or more"),
        (lambda: tamed([1], whisker=-1), ValueError, "whisker must be at least 0"),
        (lambda: tamed([1], "fence"), ValueError, "to must be one of whisker, normal"),
        (lambda: entropy(torch.ones(2), 0), ValueError, "bins must be at least 1"),
        (
            lambda: abnormal_richness(pd.Series([1.0]), pd.Series([1.0], ["a"])),
            ValueError,
            "are of different units",
        ),
        (lambda: abnormal_richness([1.0], [1.0]), TypeError, "entropy: pass a Series by units"),
        (
            lambda: abnormal_richness(*both([1.0, 2]), weight=2),
            ValueError,
            "weight must be at least 0 and at most 1",
        ),
        (lambda: units(resnet20()), TypeError, "graph must be what prunekit.trace gives"),
        (lambda: units(trace(resnet20(), X), "all"), ValueError, "scope must be one of blocks"),
        (
            lambda: layer_entropies(mobilenet_v2(), trace(resnet20(), X)),
            ValueError,
            "the graph is of another network",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
