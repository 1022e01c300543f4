"""Figures of what networks cost show the numbers they were given."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from figures import legend_names, readable, tick_labels, words

import prunekit
from prunekit.book.plots import networks as plots
from prunekit.models import TinySqueezeNet


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "parameters": [61e6, 1.2e6],
            "macs": [7e8, 3.5e8],
            "bytes": [244e6, 4.8e6],
            "seconds": [0.03, 0.02],
        },
        index=["AlexNet", "SqueezeNet"],
    )


@pytest.mark.parametrize("columns", [["macs"], ["parameters", "macs", "bytes", "seconds"]])
def test_costs_has_a_dot_for_every_number(table, columns):
    figure = readable(plots.costs(table[columns]))
    assert len(figure.axes) == len(columns)
    for ax, column in zip(figure.axes, columns, strict=True):
        assert list(ax.lines[0].get_xdata()) == list(table[column])
        assert ax.get_title("left") == plots.COSTS[column][0]
    assert {"AlexNet", "SqueezeNet", "700 M"} <= set(words(figure))


def test_costs_of_no_known_column_are_refused(table):
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.costs(table[[]])


def test_shares_fill_the_bar_and_are_written_on_it():
    shares = pd.DataFrame({"parameters": [0.04, 1.0]}, index=["AlexNet", "SqueezeNet"])
    figure = readable(plots.conv_shares(shares))
    conv, linear = (
        [bar.get_width() for bar in container] for container in figure.axes[0].containers
    )
    assert conv == [0.04, 1.0]
    assert np.add(conv, linear) == pytest.approx([1, 1])
    assert {"4%", "100%", "convolutions", "fully connected"} <= set(words(figure))


def test_a_board_without_a_limit_has_no_line_and_every_board_one_colour():
    needs = pd.DataFrame({"storage": [5e6], "memory": [6e6]}, index=["SqueezeNet"])
    boards = pd.DataFrame(
        {"storage": [1e6, None, 8e6], "memory": [None, 5e8, 3e5]},
        index=["controller", "computer", "phone"],
    )
    figure = readable(plots.against_boards(needs, boards))
    storage, memory = figure.axes
    limits = [[line.get_xdata()[0] for line in ax.lines[1:]] for ax in (storage, memory)]
    assert limits == [[1e6, 8e6], [5e8, 3e5]]
    phone, same = storage.lines[2], memory.lines[2]
    assert phone.get_color() == same.get_color() != memory.lines[1].get_color()
    (legend,) = figure.legends
    named = {
        text.get_text(): line.get_color()
        for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    assert sorted(named) == ["computer", "controller", "phone"]
    assert named["phone"] == phone.get_color()
    assert named["controller"] == storage.lines[1].get_color()
    for ax, column in ((storage, "storage"), (memory, "memory")):
        low, high = ax.get_xlim()
        assert low < boards[column].min() and boards[column].max() < high


def test_equal_speeds_share_a_dotted_line(table):
    (ax,) = readable(plots.macs_against_time(table)).axes
    for line in ax.lines:
        speeds = np.divide(*map(np.asarray, line.get_data()))
        assert speeds[0] == pytest.approx(speeds[1])
        assert np.log10(speeds[0]) == pytest.approx(round(np.log10(speeds[0])))
    assert (
        ax.collections[0].get_offsets().tolist() == table[["macs", "seconds"]].to_numpy().tolist()
    )
    ax.figure.draw_without_rendering()
    times = [label.get_text() for label in tick_labels(ax.yaxis)]
    assert {"20 ms", "50 ms"} <= set(times)


def test_names_of_networks_that_are_alike_do_not_cover_one_another():
    alike = {"macs": [9.0e7, 9.1e7, 9.2e7, 4e7], "seconds": [0.05, 0.0502, 0.0499, 0.02]}
    table = pd.DataFrame(alike, index=["mobilenet_v2", "resnet56", "vgg16", "resnet20"])
    (ax,) = readable(plots.macs_against_time(table)).axes
    boxes = [t.get_window_extent() for t in ax.texts if t.get_text() in table.index]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_the_line_of_proportion_ends_at_the_full_layer():
    timing = pd.DataFrame({"filters": [4, 32, 64], "seconds": [3e-4, 4e-4, 8e-4]})
    (ax,) = readable(plots.time_by_filters(timing)).axes
    expected, measured = ax.lines
    assert list(expected.get_xdata()) == [0, 64] and list(expected.get_ydata()) == [0, 8e-4]
    assert list(measured.get_ydata()) == list(timing["seconds"])
    assert legend_names(ax) == ["time in proportion to MACs", "measured"]


def test_what_is_left_draws_every_cost():
    costs = [f"cost {i}" for i in range(10)]
    left = pd.DataFrame(np.linspace(1, 0.1, 30).reshape(3, 10), [0, 0.5, 0.9], costs)
    (ax,) = readable(plots.what_is_left(left)).axes
    assert legend_names(ax) == [*costs, "in proportion to filters"]
    for line, name in zip(ax.lines, costs, strict=False):
        assert list(line.get_ydata()) == list(left[name])
    looks = {(line.get_color(), line.get_marker()) for line in ax.lines[:8]}
    assert len(looks) == 8


def test_layer_costs_tells_convolutions_from_fully_connected_layers():
    layers = pd.DataFrame(
        {"layer": ["a", "b"], "type": ["Conv2d", "Linear"], "parameters": [10, 90], "macs": [70, 9]}
    )
    figure = readable(plots.layer_costs(layers))
    for ax, column in zip(figure.axes, ("parameters", "macs"), strict=True):
        assert [bar.get_height() for bar in ax.patches] == list(layers[column])
    assert legend_names(figure.axes[0]) == ["convolution", "fully connected"]
    assert plots.layer_costs(layers[:1]).axes[0].get_legend() is None


def test_layers_of_a_network_are_named_in_order():
    layers = prunekit.profile(TinySqueezeNet(), torch.zeros(1, 3, 32, 32)).layers
    _, macs = readable(plots.layer_costs(layers)).axes
    assert [label.get_text() for label in macs.get_xticklabels()] == layers["layer"].tolist()
