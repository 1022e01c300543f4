"""Figures of soft masks show the numbers they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
from figures import legend_names, readable, words

from prunekit.book.plots import adversarial as plots

TABLE = pd.DataFrame(
    {
        "pruned": [0.0, 0.4, 0.39, 0.45, 0.3],
        "accuracy": [0.9, 0.9, 0.88, 0.86, 0.2],
        "penalty": [1, 1, 2, 2, 2],
    }
)


def test_the_game_names_who_takes_part():
    said = " ".join(words(readable(plots.the_game())))
    for one in ("teacher", "student", "discriminator", "difference", "masks"):
        assert one in said


def test_steps_of_one_kind_share_a_colour():
    paths = {"0.8": [1, 0.7], "0.8, plain": [1, 0.9], "0.1": [1, 0]}
    figure = readable(plots.steps_to_rest(paths, [0.6]))
    one, plain, other, rest = figure.axes[0].lines
    assert one.get_color() == plain.get_color() != other.get_color()
    assert one.get_linestyle() != plain.get_linestyle()
    assert rest.get_ydata() == [0.6, 0.6]
    assert legend_names(figure.axes[0]) == list(paths)


def test_masks_are_counted_unit_by_unit():
    paths = np.array([[1, 1, 1], [0.5, 0, 1], [0, 0, 1]])
    figure = readable(plots.mask_paths(paths, {"a": 2, "b": 1}))
    left, right = figure.axes
    assert [line.get_ydata().tolist() for line in left.lines] == paths.T.tolist()
    assert [line.get_ydata().tolist() for line in right.lines] == [[0, 0.5, 1], [0, 0, 0]]
    assert legend_names(right) == ["a", "b"]


def test_the_front_and_what_each_rule_chose():
    choices = {"harmonic": 1, "knee": 1, "accuracy": 0, "last": 3}
    figure = readable(plots.candidates_and_choices(TABLE, choices, "penalty"))
    (ax,) = figure.axes
    front = ax.lines[0]
    assert (front.get_xdata().tolist(), front.get_ydata().tolist()) == ([0.4, 0.45], [0.9, 0.86])
    names = [
        "front",
        "penalty 1",
        "penalty 2",
        "further down",
        "harmonic, knee",
        "accuracy",
        "last",
    ]
    assert legend_names(ax) == names
    rings = [line for line in ax.lines if line.get_markersize() == 10]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in rings] == [
        *((0.4, 0.9), (0.0, 0.9), (0.45, 0.86)),
    ]
    (below,) = [line for line in ax.lines if line.get_label() == "further down"]
    assert 0.2 < below.get_ydata()[0] == ax.get_ylim()[0] < 0.86
    assert below.get_xdata().tolist() == [0.3]


def test_losses_lie_between_what_can_be_told_and_what_cannot():
    figure = readable(plots.discriminator_losses({"a": [2, 1.9], "b": [1.8, 1.5]}, 1.91, 1.39))
    lines = figure.axes[0].lines
    assert [line.get_ydata()[0] for line in lines] == [2, 1.8, 1.91, 1.39]
    assert {"cannot tell: 1.91", "tells with certainty: 1.39"} <= set(words(figure))
