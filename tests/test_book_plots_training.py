"""Figures of training show the histories, the mistakes and what learns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figures import legend_names, readable, recorded, words

from prunekit.book.plots import training as plots

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_three_ways_counts_what_learns():
    facts = {"features_start": "ImageNet", "features_learn": False}
    table = pd.DataFrame([facts | {"learning": 5, "parameters": 100}], index=["frozen"])
    shown = words(readable(plots.three_ways(table)))
    assert any("held fixed" in text for text in shown)
    assert "5 of 100\nparameters learn (5.0%)" in shown


@pytest.fixture
def histories():
    """The recorded runs of chapter 4."""
    history = recorded("transfer_64px", "history").query("seed == 0")
    return {way: history[history["variant"] == way] for way in plots.WAYS}


def test_curves_are_those_recorded(histories):
    loss, accuracy = readable(plots.curves(histories)).axes
    assert legend_names(loss) == [*plots.WAYS.values(), "training", "validation"]
    for ax, column in ((loss, "loss"), (accuracy, "accuracy")):
        for place, history in enumerate(histories.values()):
            validation, training = ax.lines[2 * place : 2 * place + 2]
            assert list(validation.get_ydata()) == list(history[f"val_{column}"])
            assert list(training.get_ydata()) == list(history[column])
            assert training.get_linestyle() == "--"
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", column)


def test_runs_of_any_name_have_colours_of_their_own(histories):
    runs = {f"run {i}": histories["scratch"] for i in range(10)}
    loss, _ = readable(plots.curves(runs)).axes
    assert len({line.get_color() for line in loss.lines[:20]}) == 10


def test_repeats_mark_the_mean_of_each_way():
    table = pd.DataFrame({"way": ["frozen", "frozen", "scratch"], "accuracy": [0.5, 0.7, 0.4]})
    (ax,) = readable(plots.repeats(table)).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "frozen features",
        "from scratch",
    ]
    dots, mean, one, same = (list(line.get_xdata()) for line in ax.lines)
    assert dots == [0.5, 0.7] and mean == pytest.approx([0.6, 0.6]) and one == [0.4]
    assert same == [0.4, 0.4] and ax.get_xlabel() == "validation accuracy"


def test_every_schedule_is_drawn_and_the_recorded_run_as_dots():
    names = ["one_cycle", "cosine", "step", "constant", "linear"]
    rates = pd.DataFrame(np.linspace(0.1, 0.01, 15).reshape(3, 5), columns=names)
    run = pd.Series([0.1, 0.05], index=[0, 2])
    (ax,) = readable(plots.schedules(rates, run)).axes
    assert legend_names(ax)[:5] == [name.replace("_", " ") for name in names]
    for line, name in zip(ax.lines, names, strict=False):
        assert list(line.get_ydata()) == list(rates[name])
    assert ax.lines[-1].get_xydata().tolist() == [[0, 0.1], [2, 0.05]]


def test_smoothing_dots_lie_at_the_lowest_points():
    losses = pd.DataFrame({"plain": [2.0, 1.0, 0.5], "smooth": [2.0, 1.2, 1.4]}, index=[0, 1, 2])
    losses["smoother"] = losses["smooth"] + 0.2
    (ax,) = readable(plots.losses_by_margin(losses)).axes
    assert [line.get_xydata().tolist() for line in ax.lines[1::2]] == [
        [[2, 0.5]],
        [[1, 1.2]],
        [[1, 1.4]],
    ]
    assert legend_names(ax) == ["plain", "smooth", "smoother"]


def test_the_lucky_winner_stands_right_of_the_truth():
    measured = np.random.default_rng(0).normal(0.9, 0.01, 100)
    (ax,) = readable(plots.chosen_by_luck(measured, 0.9, 0.905)).axes
    assert [line.get_xdata()[0] for line in ax.lines] == [0.905, measured.max(), 0.9]
    assert sum(bar.get_height() for bar in ax.patches) == 100


def test_confusion_gives_each_class_its_accuracy():
    figure = readable(plots.confusion(np.array([[3, 1], [0, 2]]), ["cat", "dog"]))
    cells, side = figure.axes
    assert [bar.get_width() for bar in side.patches] == [0.75, 1.0]
    assert [text.get_text() for text in cells.texts] == ["75", "25", "", "100"]
    assert (cells.get_xlabel(), cells.get_ylabel()) == ("predicted", "true")


def test_confusion_of_a_class_without_images_and_of_ten_classes_can_be_read():
    counts = np.random.default_rng(0).integers(0, 90, (10, 10))
    counts[3] = 0
    figure = readable(plots.confusion(counts, CLASSES))
    assert figure.axes[1].patches[3].get_width() == 0
    assert set(CLASSES) <= set(words(figure))


def test_each_mistake_has_its_title():
    pictures = np.zeros((8, 32, 32, 3), dtype=np.uint8)
    titles = [f"automobile\nnot truck {i}" for i in range(8)]
    figure = readable(plots.mistakes(pictures, titles))
    assert words(figure) == titles
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.mistakes(pictures[:0], [])
