"""Figures of activation maps and of scores made from them show what they are given."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from figures import heights, legend_names, readable, words

from prunekit.book import BOOK
from prunekit.book.plots import activations as plots


def test_map_grid_uses_one_grey_scale():
    images = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    maps = {"weak": np.full((2, 1, 4, 4), 0.1), "strong": np.full((2, 3, 4, 4), 5.0)}
    titles = {"weak": ["a"], "strong": ["b", "c", "d"]}
    figure = readable(plots.map_grid(images, maps, titles))
    shown = [ax.images[0] for ax in figure.axes if ax.images]
    assert len(shown) == 2 * (1 + 1 + 3)
    assert {image.get_clim() for image in shown if image.get_array().ndim == 2} == {(0, 5.0)}
    assert [text for text in words(figure) if text[0] in "ws\n"] == [
        "weak\na",
        "strong\nb",
        "\nc",
        "\nd",
    ]


def test_one_image_is_a_row_of_maps():
    image = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    figure = plots.map_grid(image, {"all": np.ones((1, 4, 3, 3))}, {"all": list("abcd")})
    assert sum(bool(ax.images) for ax in readable(figure).axes) == 5


def test_score_strips_keeps_the_order_of_layers():
    ranking = pd.DataFrame({"layer": ["b", "b", "a"], "filter": [0, 1, 0], "score": [1, 3, 2.0]})
    (ax,) = readable(plots.score_strips({"raw": ranking})).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "a"]
    assert [line.get_xdata()[0] for line in ax.lines] == [2.0, 2.0]
    dots = [collection.get_offsets()[:, 0].tolist() for collection in ax.collections]
    assert dots == [[1, 3], [2]] and ax.get_xlabel() == "score"


def test_score_strips_of_no_ranking_are_refused():
    with pytest.raises(ValueError):
        plots.score_strips({})


def test_every_column_of_choices_is_drawn():
    layers = ["features.0", "features.3.squeeze"]
    counts = pd.DataFrame(
        {"filters": [64, 16], "raw": [9, 1], "l2": [4, 4], "mean": [5, 3]}, layers
    )
    (ax,) = readable(plots.chosen_by_layer(counts)).axes
    assert legend_names(ax) == ["raw", "l2", "mean"]
    assert [heights(bars) for bars in ax.containers] == [[9, 1], [4, 4], [5, 3]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0 (64)", "3 s (16)"]
    edges = [(bar.get_x(), bar.get_x() + bar.get_width()) for bars in ax.containers for bar in bars]
    edges.sort()
    assert all(left[1] <= right[0] + 1e-9 for left, right in pairwise(edges))


def test_agreement_shows_median_and_worst_layer():
    table = pd.DataFrame({"a": [0.5, 0.9], "b": [0.7, 1.0], "c": [0.6, 0.95]}, index=[1, 2])
    (ax,) = readable(plots.agreement(table)).axes
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines["median layer"].get_ydata()) == [0.6, 0.95]
    assert list(lines["worst layer"].get_ydata()) == [0.5, 0.9]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("images", "rank correlation")


def test_removal_orders_averages_repeats_and_leaves_out_what_is_not_there():
    rows = [("x", "random", 0, 0.9), ("x", "random", 4, 0.2), ("x", "random", 4, 0.6)]
    table = pd.DataFrame(rows, columns=["layer", "order", "removed", "accuracy"])
    (ax,) = readable(plots.removal_orders(table)).axes
    assert legend_names(ax) == ["random"]
    assert list(ax.lines[0].get_xdata()) == [0, 4]
    assert list(ax.lines[0].get_ydata()) == pytest.approx([0.9, 0.4])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("filters removed", "validation accuracy")


def test_sensitivity_circles_the_odd_entries_of_the_thesis():
    accuracy = pd.read_csv(BOOK / "thesis_accuracy.csv", index_col=0).iloc[:, 0]
    (ax,) = readable(plots.sensitivity(accuracy, {70: "lower than at 75", 85: "higher"})).axes
    curve, *circles = ax.lines
    assert curve.get_xydata().tolist() == [list(pair) for pair in accuracy.items()]
    assert [line.get_xydata().tolist() for line in circles] == [
        [[70, accuracy[70]]],
        [[85, accuracy[85]]],
    ]
    assert ax.get_ylabel() == "accuracy (%)"
