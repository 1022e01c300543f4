"""The figures of chapters 04 to 06 show what the tables hold."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from prunekit.book.plots import activations, filters, training


@pytest.fixture(autouse=True)
def _no_figure_is_left_open():
    yield
    assert not plt.get_fignums()


def test_only_coarse_pruning_stores_fewer_numbers():
    figure = filters.fine_and_coarse(np.arange(1.0, 41).reshape(4, 10), removed=[1, 3])
    stored = [axes.get_xlabel() for axes in figure.axes]
    assert stored == ["stored: 40 numbers"] * 3 + ["stored: 20 numbers"]
    zeros = [len(axes.texts) for axes in figure.axes]
    assert zeros == [0, 20, 20, 0]


def test_removed_slices_marks_row_bias_norm_and_column():
    figure = filters.removed_slices(inputs=3, filters=6, next_filters=4, gone=2)
    marked = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert len(marked) == 3 + 1 + 4 + 4
    colour = to_rgba(filters.GONE)[:3]
    assert all(patch.get_facecolor()[:3] == colour for patch in marked)


def test_costs_labels_every_bar_with_its_value():
    table = pd.DataFrame(
        {
            "parameters": [2e6, 2e6, 1e6],
            "macs": [4e8, 4e8, 1e8],
            "bytes": [8e6, 8e6, 4e6],
            "milliseconds": [10.0, 10.0, 5.0],
        },
        index=["original", "masked", "rebuilt"],
    )
    figure = filters.costs(table)
    assert [text.get_text() for text in figure.axes[0].texts] == ["2.0M", "2.0M", "1.0M"]
    assert [text.get_text() for text in figure.axes[3].texts] == ["10.00", "10.00", "5.00"]


def test_speed_draws_masked_rebuilt_and_macs():
    table = pd.DataFrame(
        {"removed": [0, 0.5], "masked": [1, 1.01], "rebuilt": [1, 0.6], "macs": [1, 0.3]}
    )
    lines = filters.speed(table).axes[0].lines
    assert [list(line.get_ydata()) for line in lines] == [[1, 1.01], [1, 0.6], [1, 0.3]]


def test_concatenated_inputs_points_at_both_columns():
    figure = filters.concatenated_inputs({"expand1x1": 16, "expand3x3": 16}, right=19, wrong=3)
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"right: column 19", "wrong: column 3"} <= texts


def test_map_grid_uses_one_grey_scale():
    images = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    maps = {"weak": np.full((2, 1, 4, 4), 0.1), "strong": np.full((2, 3, 4, 4), 5.0)}
    figure = activations.map_grid(images, maps, {"weak": ["a"], "strong": ["b", "c", "d"]})
    limits = {image.get_clim() for axes in figure.axes for image in axes.images[:1]}
    assert (0, 5.0) in limits
    assert len([axes for axes in figure.axes if axes.images]) == 2 * (1 + 1 + 3)


def test_score_strips_keeps_the_order_of_layers():
    ranking = pd.DataFrame({"layer": ["b", "b", "a"], "filter": [0, 1, 0], "score": [1, 3, 2.0]})
    figure = activations.score_strips({"raw": ranking})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "a"]
    medians = [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert medians == [2.0, 2.0]


def test_agreement_shows_median_and_worst_layer():
    table = pd.DataFrame({"a": [0.5, 0.9], "b": [0.7, 1.0], "c": [0.6, 0.95]}, index=[1, 2])
    lines = {line.get_label(): line for line in activations.agreement(table).axes[0].lines}
    assert list(lines["median layer"].get_ydata()) == [0.6, 0.95]
    assert list(lines["worst layer"].get_ydata()) == [0.5, 0.9]


def test_removal_orders_averages_repeats():
    rows = [("x", "random", 0, 0.9), ("x", "random", 4, 0.2), ("x", "random", 4, 0.6)]
    table = pd.DataFrame(rows, columns=["layer", "order", "removed", "accuracy"])
    line = next(
        line
        for line in activations.removal_orders(table).axes[0].lines
        if line.get_label() == "random"
    )
    assert list(line.get_ydata()) == pytest.approx([0.9, 0.4])


def test_sensitivity_circles_the_odd_entries():
    accuracy = pd.Series([74, 70, 72], index=[65, 70, 75])
    figure = activations.sensitivity(accuracy, {70: "lower", 75: "higher"})
    circles = [line.get_xydata().tolist() for line in figure.axes[0].lines[1:]]
    assert circles == [[[70, 70]], [[75, 72]]]


def test_confusion_gives_each_class_its_accuracy():
    figure = training.confusion(np.array([[3, 1], [0, 2]]), ["cat", "dog"])
    assert [bar.get_width() for bar in figure.axes[1].patches] == [0.75, 1.0]


def test_three_ways_counts_what_learns():
    facts = {"features_start": "ImageNet", "features_learn": False}
    table = pd.DataFrame([facts | {"learning": 5, "parameters": 100}], index=["frozen"])
    texts = [text.get_text() for text in training.three_ways(table).axes[0].texts]
    assert any("held fixed" in text for text in texts)
    assert "5 of 100\nparameters learn (5.0%)" in texts


def test_smoothing_dots_lie_at_the_lowest_points():
    losses = pd.DataFrame({"plain": [2.0, 1.0, 0.5], "smooth": [2.0, 1.2, 1.4]}, index=[0, 1, 2])
    lines = training.losses_by_margin(losses).axes[0].lines
    assert lines[1].get_xydata().tolist() == [[2, 0.5]]
    assert lines[3].get_xydata().tolist() == [[1, 1.2]]
