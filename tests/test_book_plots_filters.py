"""Figures of what happens to weights when filters go show every number that does."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figures import readable, words
from matplotlib.colors import to_rgba

from prunekit.book.plots import filters as plots


def test_only_coarse_pruning_stores_fewer_numbers():
    figure = readable(plots.fine_and_coarse(np.arange(1.0, 41).reshape(4, 10), removed=[1, 3]))
    stored = [ax.get_xlabel() for ax in figure.axes]
    assert stored == ["stored: 40 numbers"] * 3 + ["stored: 20 numbers"]
    assert [len(ax.texts) for ax in figure.axes] == [0, 20, 20, 0]


def test_removed_slices_marks_row_bias_norm_and_column():
    figure = readable(plots.removed_slices(inputs=3, filters=6, next_filters=4, gone=2))
    marked = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert len(marked) == 3 + 1 + 4 + 4
    colour = to_rgba(plots.GONE)[:3]
    assert all(patch.get_facecolor()[:3] == colour for patch in marked)
    assert {"row 2", "column 2", "6 filters × 3 inputs", "4 filters × 6 inputs"} <= set(
        words(figure)
    )


def test_costs_labels_every_bar_with_its_value():
    table = pd.DataFrame(
        {
            "parameters": [2e6, 2e6, 1e6],
            "macs": [4e8, 4e8, 1e8],
            "bytes": [8e6, 8e6, 4e6],
            "ms": [10.0, 10.0, 5.0],
        },
        index=["original", "masked", "rebuilt"],
    )
    figure = readable(plots.costs(table))
    assert [text.get_text() for text in figure.axes[0].texts] == ["2.0M", "2.0M", "1.0M"]
    assert [text.get_text() for text in figure.axes[3].texts] == ["10.00", "10.00", "5.00"]
    for ax, column in zip(figure.axes, table, strict=True):
        assert [bar.get_height() for bar in ax.patches] == list(table[column])


def test_speed_draws_masked_rebuilt_and_macs():
    table = pd.DataFrame(
        {"removed": [0, 0.5], "masked": [1, 1.01], "rebuilt": [1, 0.6], "macs": [1, 0.3]}
    )
    figure = readable(plots.speed(table))
    lines = figure.axes[0].lines
    assert [list(line.get_ydata()) for line in lines] == [[1, 1.01], [1, 0.6], [1, 0.3]]
    names = ["masked, measured", "rebuilt, measured", "rebuilt, if time followed MACs"]
    assert [note.get_text() for note in figure.axes[0].texts] == names
    assert {"0%", "50%"} <= set(words(figure))


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_concatenated_inputs_draws_every_part_and_points_at_both_columns(parts):
    sizes = {f"part {i}": 16 for i in range(parts)}
    figure = readable(plots.concatenated_inputs(sizes, right=11, wrong=3))
    assert {"right: column 11", "wrong: column 3"} <= set(words(figure))
    assert {f"part {i}: 16 columns" for i in range(parts)} <= set(words(figure))
    assert [patch.get_x() for patch in figure.axes[0].patches[:parts]] == [
        16 * i for i in range(parts)
    ]
