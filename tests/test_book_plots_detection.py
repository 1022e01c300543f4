"""Figures of detectors show the boxes and numbers they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from figures import legend_names, readable, words
from matplotlib.patches import Rectangle

from prunekit.book.plots import detection as plots
from prunekit.book.plots.widths import variant_dots
from prunekit.detection import PrecisionCurve, ssd_anchors

PICTURE = torch.zeros(3, 50, 100, dtype=torch.uint8)
BOX = torch.tensor([[0.1, 0.2, 0.3, 0.8]])
VALUE = "test_average_precision"


def rectangles(ax) -> list[tuple[float, ...]]:
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    return [(*box.get_xy(), box.get_width(), box.get_height()) for box in boxes]


def test_boxes_lie_where_their_shares_say():
    outside = torch.tensor([[-0.1, -0.2, 0.5, 1.3], [0.95, 0.9, 1.2, 1.1]])
    shown = [
        plots.Boxed("one", PICTURE, known=BOX),
        plots.Boxed("two", PICTURE, found=outside, scores=torch.tensor([0.914, 0.5])),
        plots.Boxed("three", PICTURE),
    ]
    figure = readable(plots.pictures_with_boxes(shown, columns=2))
    first, second, third = figure.axes
    assert rectangles(first) == [pytest.approx((10, 10, 20, 30))] * 2  # pale and coloured
    assert rectangles(second)[0] == pytest.approx((-10, -10, 60, 75))
    assert not rectangles(third)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["one", "two", "three"]
    assert {"0.91", "0.50"} <= set(words(figure))
    assert second.get_xlim() == (0, 100) and second.get_ylim() == (50, 0)


def test_every_map_has_its_places_and_the_shapes_of_one():
    maps = (4, 2, 1)
    anchors = ssd_anchors(maps)
    figure = readable(plots.places_and_shapes(PICTURE, anchors, maps))
    for ax, side, count in zip(figure.axes, maps, (3, 6, 6), strict=True):
        x, y = ax.lines[0].get_data()
        assert sorted(set(np.round(x, 3))) == pytest.approx([100 * (i + 0.5) / side
                                                             for i in range(side)])  # fmt: skip
        assert sorted(set(np.round(y, 3))) == pytest.approx([50 * (i + 0.5) / side
                                                             for i in range(side)])  # fmt: skip
        assert len(rectangles(ax)) == count
        assert f"{side} x {side} places, {count} anchors each" in words(figure)
    # Those of the last place, the picture's middle, are all that remain.
    whole = anchors[-6:] * torch.tensor([100, 50, 100, 50])
    drawn = rectangles(figure.axes[-1])
    assert [box[0] for box in drawn] == pytest.approx(whole[:, 0].tolist())


def test_precision_over_recall_has_its_ceiling_and_both_numbers():
    curve = PrecisionCurve(np.array([1, 1, 2]), np.array([0, 1, 1]), objects=2, pictures=1)
    figure = readable(plots.precision_over_recall(curve))
    (ax,) = figure.axes
    raw, ceiling, eleven = ax.lines
    assert raw.get_ydata().tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert ceiling.get_xdata().tolist() == [0, 0.5, 0.5, 1]
    assert ceiling.get_ydata().tolist() == pytest.approx([1, 1, 2 / 3, 2 / 3])
    assert eleven.get_ydata().mean() == pytest.approx(curve.average_precision(points=11))
    assert eleven.get_ydata().tolist() == pytest.approx([1] * 6 + [2 / 3] * 5)
    assert "best from here on: area 0.833" in legend_names(ax)
    assert "11 points: 0.848" in legend_names(ax)


def test_recalls_that_were_never_reached_read_zero():
    curve = PrecisionCurve(np.array([1, 2]), np.array([0, 0]), objects=4, pictures=1)
    eleven = readable(plots.precision_over_recall(curve)).axes[0].lines[2]
    assert eleven.get_ydata().mean() == pytest.approx(curve.average_precision(points=11))
    assert eleven.get_ydata().tolist() == [1] * 6 + [0] * 5


NETWORKS = pd.DataFrame(
    {
        "variant": ["unpruned", "unpruned", "half", "half"],
        "seed": [0, 1, 0, 1],
        "macs": [800, 800, 400, 400],
        VALUE: [0.7, 0.72, 0.68, 0.7],
    }
)


def test_precision_stands_against_the_share_of_macs_left():
    (ax,) = readable(plots.precision_against_macs(NETWORKS, "unpruned")).axes
    seeds, means, whole = ax.lines
    assert seeds.get_xdata().tolist() == [1, 1, 0.5, 0.5]
    assert means.get_xydata().tolist() == [[1, pytest.approx(0.71)], [0.5, pytest.approx(0.69)]]
    assert list(whole.get_ydata()) == pytest.approx([0.71, 0.71])


def test_variants_can_be_judged_by_precision():
    figure = readable(variant_dots(NETWORKS, {"half": "cut", "unpruned": "whole"}, value=VALUE))
    (ax,) = figure.axes
    assert ax.lines[-1].get_xdata().tolist() == pytest.approx([0.69, 0.71])
    assert "test average precision" in words(figure)
