"""Figures of convolutions show what PyTorch computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from figures import legend_names, readable, words
from torch import nn

from prunekit.book.plots import convolution as plots


def test_number_grids_write_every_number_and_tint_what_is_marked():
    before, after = np.array([[1.5, -2], [0, 3]]), np.array([[9.0]])
    marked = [before < 0, after > 0]
    figure = readable(plots.number_grids({"before": before, "after": after}, marked=marked))
    left, right = figure.axes
    assert [text.get_text() for text in left.texts] == ["1.5", "−2", "0", "3"]
    tints = [patch.get_facecolor() for patch in left.patches]
    assert tints[0] == tints[2] == tints[3] != tints[1] == right.patches[0].get_facecolor()
    with pytest.raises(ValueError):
        plots.number_grids({"before": before, "after": after}, marked=marked[:1])


@pytest.mark.parametrize("side", [6, 7])
@pytest.mark.parametrize("kernel, stride, padding", [(1, 1, 0), (3, 2, 1), (3, 3, 0), (5, 2, 2)])
def test_window_grid_stops_where_a_convolution_does(side, kernel, stride, padding):
    figure = readable(plots.window_grid(side, [(kernel, stride, padding)]))
    output = F.conv2d(
        torch.zeros(1, 1, side, side), torch.zeros(1, 1, kernel, kernel), None, stride, padding
    )
    assert len(figure.axes[0].collections[0].get_offsets()) == output.numel()
    assert f"output {output.shape[2]} × {output.shape[3]}" in words(figure)[0]


def test_convolution_step_writes_the_sum_of_the_window():
    image, kernel = np.arange(9.0).reshape(3, 3), np.array([[1.0, 0], [0, -2]])
    output = np.array([[image[r, c] - 2 * image[r + 1, c + 1] for c in (0, 1)] for r in (0, 1)])
    figure = readable(
        plots.convolution_step(image, kernel, output, stride=1, padding=0, position=(1, 0))
    )
    framed = [[p for p in ax.patches if p.get_linewidth() == 3] for ax in figure.axes]
    assert [[p.get_bbox().bounds for p in patches] for patches in framed] == [
        [(-0.5, 0.5, 2, 2)],
        [],
        [(-0.5, 0.5, 1, 1)],
    ]
    assert figure.get_supxlabel() == "1·3 + −2·7 = −11".replace("+ −", "− ")


@pytest.mark.parametrize("position", [(-1, 0), (0, 2)])
def test_convolution_step_refuses_a_place_outside_the_output(position):
    square = np.ones((2, 2))
    with pytest.raises(IndexError, match="outside"):
        plots.convolution_step(square, square, square, stride=1, padding=0, position=position)


@pytest.mark.parametrize(
    "layers", [[("a", 3, 1), ("b", 2, 2), ("c", 3, 1)], [("a", 5, 2), ("b", 3, 3)], [("a", 1, 1)]]
)
def test_receptive_field_is_the_one_the_gradient_sees(layers):
    figure = readable(plots.receptive_field(layers))
    drawn = len(figure.axes[0].collections[0].get_offsets())
    network = nn.Sequential(*(nn.Conv1d(1, 1, kernel, stride) for _, kernel, stride in layers))
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    line = torch.zeros(1, 1, 60, requires_grad=True)
    network(line)[0, 0, 1].backward()
    assert drawn == line.grad.count_nonzero()


def test_cells_that_no_window_reaches_are_hatched():
    (ax,) = readable(plots.window_grid(7, [(3, 3, 0)])).axes
    boxes = [patch.get_bbox().bounds for patch in ax.patches if patch.get_hatch()]
    assert boxes == [(5.5, -0.5, 1, 7), (-0.5, 5.5, 6, 1)]


def test_image_strip_shows_maps_with_zero_in_the_middle():
    maps = {f"map {i}": np.array([[-3.0, 1], [0, i]]) for i in range(7)}
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    figure = readable(plots.image_strip({"picture": picture} | maps))
    assert words(figure) == ["picture", *maps]
    limits = [ax.images[0].get_clim() for ax in figure.axes[1:]]
    assert all(low == -high for low, high in limits)


def test_distributions_share_their_bins_within_a_panel():
    rng = np.random.default_rng(0)
    samples = {"a": {"early": rng.normal(size=500), "late": rng.normal(2, 1, 500)}}
    (ax,) = readable(plots.distributions(samples)).axes
    assert legend_names(ax) == ["early", "late"]
    steps = [patch.get_xy()[:, 0] for patch in ax.patches]
    assert np.array_equal(*steps) and ax.get_xlabel() == "value"
