"""Figures of chapters 1 to 3 show the numbers they were given, and the layers as they are."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from matplotlib.patches import Rectangle
from torch import nn

from prunekit.book.plots import convolution, images, networks
from prunekit.book.plots import squeezenet as drawings
from prunekit.models import squeezenet


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(plt.Text))


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
    figure = networks.costs(table[columns])
    assert len(figure.axes) == len(columns)
    for axes, column in zip(figure.axes, columns, strict=True):
        assert list(axes.lines[0].get_xdata()) == list(table[column])


def test_figures_are_closed_so_that_a_notebook_shows_them_once(table):
    networks.costs(table)
    assert not plt.get_fignums()


def test_shares_fill_the_bar_and_are_written_on_it():
    shares = pd.DataFrame({"parameters": [0.04, 1.0]}, index=["AlexNet", "SqueezeNet"])
    figure = networks.conv_shares(shares)
    conv, linear = (
        [bar.get_width() for bar in container] for container in figure.axes[0].containers
    )
    assert conv == [0.04, 1.0]
    assert np.add(conv, linear) == pytest.approx([1, 1])
    assert "4%" in texts(figure) and "100%" in texts(figure)


def test_a_board_without_a_limit_has_no_line():
    needs = pd.DataFrame({"storage": [5e6], "memory": [6e6]}, index=["SqueezeNet"])
    boards = pd.DataFrame(
        {"storage": [1e6, None], "memory": [3e5, 5e8]}, index=["controller", "computer"]
    )
    storage, memory = networks.against_boards(needs, boards).axes
    limits = [[line.get_xdata()[0] for line in axes.lines[1:]] for axes in (storage, memory)]
    assert limits == [[1e6], [3e5, 5e8]]
    for axes, column in ((storage, "storage"), (memory, "memory")):
        low, high = axes.get_xlim()
        assert low < boards[column].min() and boards[column].max() < high


def test_equal_speeds_share_a_dotted_line(table):
    axes = networks.macs_against_time(table).axes[0]
    for line in axes.lines:
        speeds = np.divide(*map(np.asarray, line.get_data()))
        assert speeds[0] == pytest.approx(speeds[1])
        assert np.log10(speeds[0]) == pytest.approx(round(np.log10(speeds[0])))


def test_the_line_of_proportion_ends_at_the_full_layer():
    timing = pd.DataFrame({"filters": [4, 32, 64], "seconds": [3e-4, 4e-4, 8e-4]})
    expected, measured = networks.time_by_filters(timing).axes[0].lines
    assert list(expected.get_xdata()) == [0, 64] and list(expected.get_ydata()) == [0, 8e-4]
    assert list(measured.get_ydata()) == list(timing["seconds"])


def test_layer_costs_tells_convolutions_from_fully_connected_layers():
    layers = pd.DataFrame(
        {"layer": ["a", "b"], "type": ["Conv2d", "Linear"], "parameters": [10, 90], "macs": [70, 9]}
    )
    figure = networks.layer_costs(layers)
    for axes, column in zip(figure.axes, ("parameters", "macs"), strict=True):
        assert [bar.get_height() for bar in axes.patches] == list(layers[column])
    assert figure.axes[0].get_legend() is not None
    assert networks.layer_costs(layers[:1]).axes[0].get_legend() is None


def test_fire_module_is_drawn_with_its_own_counts():
    fire = squeezenet().features[3]
    drawn = texts(drawings.fire_module(fire, inputs=64))
    for conv in (fire.squeeze, fire.expand1x1, fire.expand3x3):
        assert f"{sum(p.numel() for p in conv.parameters()):,} parameters" in drawn
    assert "128 channels" in drawn


def test_network_map_grows_with_sides_and_channels():
    stages = pd.DataFrame({"stage": ["image", "conv"], "channels": [3, 64], "side": [96, 47]})
    first, second = (
        drawings.network_map(stages)
        .axes[0]
        .findobj(lambda artist: type(artist) is Rectangle and artist.get_alpha() is not None)
    )
    assert first.get_height() > second.get_height() and first.get_width() < second.get_width()


@pytest.mark.parametrize("side", [6, 7])
@pytest.mark.parametrize("kernel, stride, padding", [(1, 1, 0), (3, 2, 1), (3, 3, 0), (5, 2, 2)])
def test_window_grid_stops_where_a_convolution_does(side, kernel, stride, padding):
    figure = convolution.window_grid(side, [(kernel, stride, padding)])
    output = F.conv2d(
        torch.zeros(1, 1, side, side), torch.zeros(1, 1, kernel, kernel), None, stride, padding
    )
    assert len(figure.axes[0].collections[0].get_offsets()) == output.numel()
    assert f"output {output.shape[2]} × {output.shape[3]}" in texts(figure)


def test_convolution_step_writes_the_sum_of_the_window():
    image, kernel = np.arange(9.0).reshape(3, 3), np.array([[1.0, 0], [0, -2]])
    output = np.array([[image[r, c] - 2 * image[r + 1, c + 1] for c in (0, 1)] for r in (0, 1)])
    figure = convolution.convolution_step(
        image, kernel, output, stride=1, padding=0, position=(1, 0)
    )
    assert figure.get_supxlabel() == "1·3 + −2·7 = −11".replace("+ −", "− ")


@pytest.mark.parametrize("position", [(-1, 0), (0, 2)])
def test_convolution_step_refuses_a_place_outside_the_output(position):
    square = np.ones((2, 2))
    with pytest.raises(IndexError, match="outside"):
        convolution.convolution_step(square, square, square, stride=1, padding=0, position=position)


@pytest.mark.parametrize(
    "layers", [[("a", 3, 1), ("b", 2, 2), ("c", 3, 1)], [("a", 5, 2), ("b", 3, 3)], [("a", 1, 1)]]
)
def test_receptive_field_is_the_one_the_gradient_sees(layers):
    figure = convolution.receptive_field(layers)
    drawn = len(figure.axes[0].collections[0].get_offsets())
    network = nn.Sequential(*(nn.Conv1d(1, 1, kernel, stride) for _, kernel, stride in layers))
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    line = torch.zeros(1, 1, 60, requires_grad=True)
    network(line)[0, 0, 1].backward()
    assert drawn == line.grad.count_nonzero()


def test_class_grid_names_a_class_with_too_few_images():
    pictures = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="class b has 1 images, 2"):
        images.class_grid(pictures, np.array([0, 0, 1]), ("a", "b"), each=2)
    assert not plt.get_fignums()


def test_class_grid_puts_each_picture_in_the_row_of_its_class():
    pictures = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    figure = images.class_grid(pictures, np.array([1, 0, 1, 0]), ("a", "b"), each=2)
    sheet = figure.axes[0].images[0].get_array()
    assert [int(sheet[10 * r + 4, 10 * c + 4, 0]) for r in (0, 1) for c in (0, 1)] == [1, 3, 0, 2]


def test_class_counts_stack_up_to_all_images():
    counts = pd.DataFrame({"training": [8, 9], "test": [2, 1]}, index=["a", "b"])
    axes = images.class_counts(counts).axes[0]
    tops = [bar.get_y() + bar.get_height() for bar in axes.containers[-1]]
    assert tops == [10, 10]
