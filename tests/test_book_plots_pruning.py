"""The figures of chapters 07 to 09 show what they say."""

import heapq
import itertools

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from prunekit.book.plots import heap, pruning, ranking
from prunekit.book.widgets.pruning import stepper
from prunekit.selection import select

TOY = pd.DataFrame(
    {
        "layer": list("aaaabbbcc"),
        "filter": [0, 1, 2, 3, 0, 1, 2, 0, 1],
        "score": [0.62, 0.35, 0.81, 0.27, 0.44, 0.12, 0.93, 0.08, 0.19],
    }
)
LAYERS = ["features.0", "features.3.squeeze", "features.3.expand1x1", "features.3.expand3x3"]


def is_heap(entries):
    return all(entries[(i - 1) // 2] <= entry for i, entry in enumerate(entries) if i)


def taken(state):
    return {(entry.layer, entry.filter) for entry in state.taken}


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 6), min_size=1, max_size=4),
    seed=st.integers(0, 2**16),
    floor=st.integers(1, 3),
)
def test_the_drawn_heap_takes_what_select_takes(sizes, seed, floor):
    table = pd.DataFrame(
        [(f"layer{i}", index) for i, size in enumerate(sizes) for index in range(size)],
        columns=["layer", "filter"],
    )
    table["score"] = np.random.default_rng(seed).permutation(len(table)) / 10
    possible = sum(max(0, size - floor) for size in sizes)
    if not possible:
        return
    count = 1 + seed % possible
    states = heap.heap_states(table, count, floor)
    chosen = select(table, count, min_filters=floor)
    assert taken(states[-1]) == {(layer, i) for layer, filters in chosen.items() for i in filters}


def test_the_drawn_heap_is_that_of_heapq():
    states = heap.heap_states(TOY, count=3)
    built = next(i for i, state in enumerate(states) if state.note.startswith("No parent"))
    expected = list(states[0].heap)
    heapq.heapify(expected)
    assert list(states[built].heap) == expected
    for _ in range(len(TOY) - len(states[-1].heap)):
        heapq.heappop(expected)
    assert list(states[-1].heap) == expected
    assert is_heap(states[-1].heap)


def test_a_floor_keeps_the_lowest_scores_of_a_small_layer():
    last = heap.heap_states(TOY, count=3, min_filters=2)[-1]
    assert [entry.name for entry in last.taken] == ["b1", "a3", "a1"]
    assert [entry.name for entry in last.kept] == ["c0", "c1"]


def test_each_step_changes_only_the_positions_in_focus():
    states = heap.heap_states(TOY, count=1)
    for before, after in itertools.pairwise(states):
        if len(before.heap) == len(after.heap):
            changed = {
                i for i, pair in enumerate(zip(before.heap, after.heap, strict=True))
                if pair[0] != pair[1]
            }  # fmt: skip
            assert changed <= set(after.focus)


def test_blocks_add_up_and_keep_their_order():
    pattern = pd.DataFrame([[1, 2, 3, 4], [5, 0, 0, 1]], columns=LAYERS, index=[1, 2])
    blocks = pruning.by_block(pattern)
    assert list(blocks.columns) == ["conv 0", "Fire 3"]
    assert blocks.to_numpy().tolist() == [[1, 9], [5, 1]]


@pytest.fixture
def history():
    filters = np.array([100, 90, 80])
    return pd.DataFrame(
        {
            "iteration": range(3),
            "filters": filters,
            "parameters": filters**2,
            "macs": filters**2,
            "bytes": 4 * filters**2,
            "accuracy_before": [0.9, 0.8, 0.7],
            "accuracy_after": [0.9, 0.89, 0.85],
        }
    )


def test_the_bars_of_a_layer_add_up_to_its_filters():
    pattern = pd.DataFrame([[1, 2, 3, 4], [5, 0, 0, 1]], columns=LAYERS, index=[1, 2])
    filters = pd.Series([8, 4, 8, 8], index=LAYERS)
    (ax,) = [ax for ax in pruning.filters_left(pattern, filters, [2]).axes if ax.patches]
    heights = np.array([bar.get_height() for bar in ax.patches]).reshape(2, -1)
    assert heights.tolist() == [[2, 2, 5, 3], [6, 2, 3, 5]]
    assert "57%" in ax.get_title(loc="left") + ax.get_title()


def test_history_curves_start_at_the_whole_network(history):
    _, right = pruning.history_curves(history).axes
    assert all(line.get_ydata()[0] == 1 for line in right.lines)


def test_a_stop_is_drawn_at_its_iteration(history):
    stops = pd.DataFrame({"allowed": [0.02], "iteration": [1]})
    (ax,) = pruning.trade_off(history, stops).axes
    assert ax.lines[-1].get_xdata() == pytest.approx([0.1])
    assert ax.lines[-1].get_ydata() == pytest.approx([0.89])


def test_the_two_readings_fill_as_many_filters_as_asked_for():
    table = pd.DataFrame({"x": [0.1, 0.2, 0.9, 0.5], "y": [0.3, 0.1, 0.0, 0.6]})
    for ax in ranking.two_readings(table, count=2).axes:
        filled = [
            line for line in ax.lines if line.get_fillstyle() == "full" and line.get_marker() == "o"
        ]
        assert sum(len(line.get_xdata()) for line in filled) == 2


def test_the_tangent_ends_where_slope_says():
    curves = pd.DataFrame({"filter 0": [1.0, 2.0, 4.0]}, index=[0.0, 0.5, 1.0])
    (ax,) = ranking.cost_and_tangent(curves, pd.Series({"filter 0": 1.5})).axes
    assert ax.lines[1].get_ydata()[0] == pytest.approx(2.5)


def test_a_stepper_needs_no_kernel_and_describes_its_figures():
    figures = [pruning.loop_chart(), pruning.loop_chart()]
    box = stepper(figures, ['first "one"', "second"])
    stack = box.children[1]
    assert isinstance(stack, ipywidgets.Stack)
    assert 'alt="first &quot;one&quot;"' in stack.children[0].value
    with pytest.raises(ValueError, match="2 figures, 1 texts"):
        stepper(figures, ["only one"])


def test_figures_are_closed_so_that_they_show_once():
    before = plt.get_fignums()
    names = ["activation_l2", "taylor"]
    scores = pd.DataFrame(
        {"layer": ["a"] * 4, "activation_l2": [1, 2, 3, 4], "taylor": [1, 3, 2, 4]}
    )
    drawn = [
        heap.heap_figure(heap.heap_states(TOY, 1), [0]),
        pruning.pattern_heatmaps({"one": pd.DataFrame(np.eye(3), index=[1, 2, 3])}),
        ranking.contributions(pd.DataFrame({"busy": [1.0, -1.0]})),
        ranking.scores_against_scores(scores, *names, ["a"]),
        ranking.layer_correlations(pd.Series({"features.0": 0.5})),
        ranking.overlap(pd.DataFrame(np.eye(2), index=names, columns=names)),
        ranking.where_they_fall(pd.DataFrame(np.ones((2, 2)), index=LAYERS[:2], columns=names)),
        ranking.accuracy_after_removal(pd.DataFrame({"taylor": [0.9, 0.5]}, index=[0, 8]), 100),
        ranking.against_truth(
            pd.DataFrame({"change": [0.1, 0.2], "taylor": [0.3, 0.4]}), ["taylor"], {"taylor": 1.0}
        ),
    ]
    assert all(isinstance(figure, Figure) for figure in drawn)
    assert plt.get_fignums() == before
