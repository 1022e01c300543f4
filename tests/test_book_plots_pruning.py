"""Figures of the pruning loop show the tables of a run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from figures import heights, legend_names, readable, recorded, words

from prunekit.book.plots import pruning as plots
from prunekit.book.readings import by_block

LAYERS = ["features.0", "features.3.squeeze", "features.3.expand1x1", "features.3.expand3x3"]
PATTERN = pd.DataFrame([[1, 2, 3, 4], [5, 0, 0, 1]], columns=LAYERS, index=[1, 2])


@pytest.fixture
def history():
    """The recorded run of chapter 9."""
    return recorded("squeezenet_cifar10/combined_90", "table")


@pytest.mark.parametrize(
    "layer, name",
    [("features.3.squeeze", "3 s"), ("features.0", "0"), ("layer1.0.conv1", "layer1.0.conv1")],
)
def test_short_names_fit_a_tick(layer, name):
    assert plots.short_name(layer) == name


def test_the_loop_says_how_many_filters_go():
    shown = words(readable(plots.loop_chart(count=64)))
    assert any("64 lowest" in text for text in shown) and {"yes", "no"} <= set(shown)


def test_outlines_of_outputs_share_their_bins_and_show_every_value():
    outputs = {"before": torch.tensor([[0.0, 1.0], [1.0, 2.0]]), "after": torch.tensor([1.0, 1.5])}
    (ax,) = readable(plots.output_histograms(outputs, bins=4)).axes
    before, after = ax.patches
    assert before.get_data()[0].tolist() == [0.25, 0, 0.5, 0.25]
    assert after.get_data()[0].tolist() == [0, 0, 0.5, 0.5]
    assert before.get_data()[1].tolist() == after.get_data()[1].tolist()
    assert [line.get_xdata()[0] for line in ax.lines] == [1.0, 1.25]
    assert legend_names(ax) == ["before", "after"]


def test_heatmaps_share_a_scale_and_write_every_number(history):
    pattern = recorded("squeezenet_cifar10/combined_90", "pattern").set_index("iteration")
    blocks = by_block(pattern)
    figure = readable(plots.pattern_heatmaps({"all": blocks, "first": blocks[:1]}))
    whole, first, _bar = figure.axes
    assert [int(text.get_text()) for text in whole.texts] == blocks.to_numpy().ravel().tolist()
    assert whole.images[0].get_clim() == first.images[0].get_clim() == (0, blocks.to_numpy().max())
    assert whole.get_ylim() == first.get_ylim() and whole.get_ylabel() == "iteration"
    assert {"conv 0", "Fire 12", "filters removed"} <= set(words(figure))


def test_no_pattern_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.pattern_heatmaps({})


def test_the_bars_of_a_layer_add_up_to_its_filters():
    filters = pd.Series([8, 4, 8, 8], index=LAYERS)
    (ax,) = readable(plots.filters_left(PATTERN, filters, [2])).axes
    kept, removed = (heights(bars) for bars in ax.containers)
    assert kept == [2, 2, 5, 3] and np.add(kept, removed).tolist() == filters.tolist()
    assert legend_names(ax) == ["kept", "removed"] and ax.get_ylabel() == "filters"
    assert "57%" in ax.get_title("left")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "3 s", "3 e1", "3 e3"]


@pytest.mark.parametrize("iterations, columns", [([1], 1), ([1, 2, 1], 2), ([0], 2)])
def test_every_iteration_has_its_panel(iterations, columns):
    filters = pd.Series([8, 4, 8, 8], index=LAYERS)
    figure = readable(plots.filters_left(PATTERN, filters, iterations, columns))
    assert len(figure.axes) == len(iterations)
    for ax, iteration in zip(figure.axes, iterations, strict=True):
        assert ax.get_title("left").startswith(f"iteration {iteration}:")


def test_history_curves_are_those_of_the_table(history):
    left, right = readable(plots.history_curves(history)).axes
    unpruned, before, after = left.lines
    assert set(unpruned.get_ydata()) == {history["accuracy_after"][0]}
    assert list(before.get_ydata()) == history["accuracy_before"][1:].tolist()
    assert list(after.get_ydata()) == history["accuracy_after"].tolist()
    assert legend_names(right) == list(plots.LEFT_LABELS.values())
    for line, column in zip(right.lines, plots.LEFT_LABELS, strict=True):
        assert line.get_ydata()[0] == 1
        assert line.get_ydata() == pytest.approx(history[column] / history[column][0])
    assert (left.get_xlabel(), left.get_ylabel()) == ("iteration", "validation accuracy")


def test_an_unpruned_network_has_a_history_too(history):
    left, _ = readable(plots.history_curves(history[:1])).axes
    assert len(left.lines[1].get_ydata()) == 0


def test_every_stop_is_drawn_at_its_iteration(history):
    stops = pd.DataFrame({"allowed": np.arange(1, 10) / 100, "iteration": np.arange(1, 10)})
    (ax,) = readable(plots.trade_off(history, stops)).axes
    rings = [line for line in ax.lines if line.get_markersize() == 10]
    assert len(rings) == len(legend_names(ax)) == 9
    at = history.set_index("iteration").loc[1:9]
    removed = 1 - at["filters"] / history["filters"][0]
    assert [line.get_xdata()[0] for line in rings] == pytest.approx(removed.tolist())
    assert [line.get_ydata()[0] for line in rings] == at["accuracy_after"].tolist()
    assert legend_names(ax)[0].startswith("allowed 1 points: stops at")
