"""The heap is drawn as it is: tree, array, and what came out of it."""

from __future__ import annotations

import pandas as pd
import pytest
from figures import readable, words
from matplotlib.patches import Circle, Rectangle

from prunekit.book.heap import heap_states
from prunekit.book.plots.heap import heap_figure

RANKING = pd.DataFrame(
    {"layer": list("aaabb"), "filter": [0, 1, 2, 0, 1], "score": [5.0, 3.0, 4.0, 1.0, 2.0]}
)
STATES = heap_states(RANKING, count=2, min_filters=1)


@pytest.mark.parametrize("step", range(len(STATES)))
def test_every_state_is_drawn_as_tree_and_array(step):
    state, figure = STATES[step], readable(heap_figure(STATES, [step]))
    (ax,) = figure.axes
    assert not ax.axison
    circles = [patch for patch in ax.patches if isinstance(patch, Circle)]
    cells = [p for p in ax.patches if isinstance(p, Rectangle) and p.get_fill()]
    assert len(circles) == len(cells) == len(state.heap)
    bold = [i for i, circle in enumerate(circles) if circle.get_linewidth() > 2]
    assert bold == sorted(i for i in state.focus if i < len(circles))
    assert {entry.name for entry in state.heap} <= set(words(figure))
    taken = ", ".join(entry.name for entry in state.taken) or "none yet"
    assert f"taken: {taken}" in words(figure)
    edges = [line.get_xydata().tolist() for line in ax.lines]
    centres = [list(circle.center) for circle in circles]
    assert edges == [[centres[(i - 1) // 2], centres[i]] for i in range(1, len(centres))]


def test_filters_of_one_layer_have_one_colour():
    patches = heap_figure(STATES, [0]).axes[0].patches
    colours = [patch.get_facecolor() for patch in patches if isinstance(patch, Circle)]
    assert colours[0] == colours[1] == colours[2] != colours[3] == colours[4]


def test_states_are_numbered_and_laid_out_in_rows():
    figure = readable(heap_figure(STATES, [0, 1, 2]))
    titles = [ax.get_title("left") for ax in figure.axes]
    assert [title[:2] for title in titles] == ["0.", "1.", "2."]


def test_what_a_floor_keeps_is_said():
    last = heap_states(RANKING, count=4, min_filters=1)
    assert any(text.startswith("kept by the floor") for text in words(heap_figure(last, [-1])))
