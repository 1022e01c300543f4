"""What figures take for granted, against cases computed by hand or by PyTorch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import prunekit
from prunekit.book import BOOK, readings
from prunekit.models import TinySqueezeNet

LAYERS = ["features.0", "features.3.squeeze", "features.3.expand1x1", "features.3.expand3x3"]
X = torch.zeros(1, 3, 32, 32)


def test_blocks_add_up_and_keep_their_order():
    pattern = pd.DataFrame([[1, 2, 3, 4], [5, 0, 0, 1]], columns=LAYERS, index=[1, 2])
    blocks = readings.by_block(pattern)
    assert list(blocks.columns) == ["conv 0", "Fire 3"]
    assert blocks.to_numpy().tolist() == [[1, 9], [5, 1]]


def test_blocks_kept_of_a_recorded_study_are_what_is_left_of_each():
    removed = pd.read_csv(BOOK / "results" / "ratios" / "networks_pattern.csv")
    at = removed[(removed["variant"] == "taylor") & np.isclose(removed["ratio"], 0.67)]
    layers = [name for name in removed if name.startswith("features")]
    filters = at[layers].max() + 8
    kept = readings.blocks_kept(at, filters)
    assert kept["before"].sum() == filters.sum()
    assert kept["mean"].sum() == pytest.approx(filters.sum() - at[layers].sum(axis=1).mean())
    assert (kept["low"] <= kept["mean"]).all() and (kept["mean"] <= kept["high"]).all()


def test_blocks_cut_are_shares_over_seeds():
    removed = pd.DataFrame(
        [["a", 1, 0], ["a", 3, 2], ["b", 4, 4]], columns=["variant", *LAYERS[:2]]
    )
    shares = readings.blocks_cut(removed, pd.Series([8, 4], index=LAYERS[:2]))
    assert shares.to_dict("index") == {
        "a": {"conv 0": 0.25, "Fire 3": 0.25},
        "b": {"conv 0": 0.5, "Fire 3": 1},
    }


def test_nothing_is_removed_before_the_first_iteration():
    pattern = pd.DataFrame([[1, 2, 3, 4]], columns=LAYERS, index=[1])
    filters = pd.Series(8, index=LAYERS)
    assert readings.kept_and_removed(pattern, filters, 0)["kept"].tolist() == [8] * 4


def test_points_of_a_curve_are_means_of_both_axes_in_rising_order():
    rows = [
        ("a", 0, 2, 0.4, 0.8),
        ("a", 1, 2, 0.6, 0.6),
        ("a", 0, 1, 0.1, 0.9),
        ("b", 0, 1, 0.2, 1.0),
    ]
    table = pd.DataFrame(rows, columns=["variant", "seed", "iteration", "gone", "accuracy"])
    curves = readings.mean_curves(table, "gone", "accuracy", "iteration")
    assert list(curves) == ["a", "b"]
    assert curves["a"].index.tolist() == [0.1, 0.5]
    assert curves["a"]["mean"].tolist() == pytest.approx([0.9, 0.7])
    assert curves["a"][["low", "high"]].to_numpy().tolist() == [[0.9, 0.9], [0.6, 0.8]]


def test_macs_removed_are_counted_from_each_runs_own_start():
    table = pd.DataFrame({"variant": "a", "seed": [0, 0, 1, 1], "macs": [100, 40, 200, 50]})
    assert readings.with_macs_removed(table)["macs_removed"].tolist() == [0, 0.6, 0, 0.75]


def test_rank_correlations_are_of_each_layer_alone():
    scores = pd.DataFrame(
        {"layer": list("aaabbb"), "x": [1, 2, 3, 10, 20, 30], "y": [1, 8, 27, 3, 2, 1]}
    )
    assert readings.rank_correlations(scores, "x", "y").to_dict() == {
        "a": 1,
        "b": pytest.approx(-1),
    }


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20), st.data()
)
def test_lowest_sums_leave_nothing_lower(points, data):
    plane = pd.DataFrame(points, columns=["x", "y"])
    count = data.draw(st.integers(1, len(points)))
    chosen, cut = readings.lowest_sums(plane, count)
    total = plane.sum(axis=1)
    assert len(chosen) == count and total[chosen].max() == cut
    assert (total.drop(chosen) >= cut).all()


def test_standard_error_is_that_of_repeated_counting():
    counted = np.random.default_rng(0).binomial(200, 0.3, 20_000) / 200
    error = readings.standard_error(pd.Series([0.3]), 200)[0]
    assert error == pytest.approx(counted.std(), rel=0.03)


@pytest.mark.parametrize("layers", [[("a", 3, 1), ("b", 2, 2)], [("a", 5, 2), ("b", 3, 3)], []])
def test_receptive_widths_are_those_the_gradient_sees(layers):
    widths = readings.receptive_widths(layers)
    assert widths[-1] == 1 and len(widths) == len(layers) + 1
    network = nn.Sequential(*(nn.Conv1d(1, 1, kernel, stride) for _, kernel, stride in layers))
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    line = torch.zeros(1, 1, widths[0], requires_grad=True)
    network(line)[0, 0, 0].backward()
    assert network(line).shape[2] == 1 and line.grad.count_nonzero() == widths[0]


@pytest.mark.parametrize("bits", [4, 8])
def test_stored_numbers_are_those_that_pytorch_stores(bits):
    x = torch.linspace(-3, 9, 101)
    kept = torch.fake_quantize_per_tensor_affine(x, 0.03, 10, 0, 2**bits - 1)
    assert readings.stored(x.numpy(), 0.03, 10, bits) == pytest.approx(kept.numpy(), abs=1e-5)


def test_slices_of_a_group_are_the_numbers_that_rebuilding_removes():
    model = TinySqueezeNet()
    graph = prunekit.trace(model, X)
    group = int(next(iter(graph.layers.values())).groups.max())
    slices = readings.group_slices(model, X, group)
    small = prunekit.rebuild(model, X, graph.members(group))
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, small))
    assert (slices.taken, slices.total) == (before - after, before)
    assert any(cells.any() for tensors in slices.cells.values() for cells in tensors)
    with pytest.raises(ValueError, match="no dependency group 9999, only 0 to"):
        readings.group_slices(model, X, 9999)


def test_a_schedule_that_does_not_start_at_nothing_is_refused():
    with pytest.raises(ValueError, match="rise from 0"):
        readings.spans([(0.2, "taylor")], end=0.8)
