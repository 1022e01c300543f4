"""What figures have in common: one decorator, the panels, the tables of numbers, the look."""

from __future__ import annotations

import inspect

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figures import readable, words

from prunekit.book.plots.style import (
    WIDTH,
    band,
    figure,
    ink_on,
    names_along,
    numbers,
    panels,
    percent,
    side_by_side,
    use_style,
    write_figure,
)


@figure
def drawn(*texts: str, labels: int = 2, rotation: int = 0) -> None:
    """What it draws."""
    _, ax = plt.subplots(figsize=(3, 2))
    for text in texts:
        ax.text(0.5, 0.5, text)
    names_along(ax.xaxis, ["a name"] * labels, rotation=rotation)


def test_a_figure_is_closed_and_others_stay_open():
    other = plt.figure()
    try:
        assert drawn("a").axes[0].texts[0].get_text() == "a"
        assert plt.get_fignums() == [other.number]
    finally:
        plt.close(other)


def test_a_figure_that_fails_is_closed_too():
    @figure
    def failing() -> None:
        plt.subplots()
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        failing()
    assert not plt.get_fignums()


def test_a_figure_has_the_style_of_the_book_and_leaves_the_readers():
    before = dict(mpl.rcParams)
    ax = drawn("a").axes[0]
    assert not ax.spines["top"].get_visible()
    assert dict(mpl.rcParams) == before
    use_style()
    assert mpl.rcParams["axes.spines.top"] is False


def test_a_figure_is_renamed_into_place(tmp_path):
    path, other = tmp_path / "figure.png", tmp_path / "other"
    path.write_bytes(b"as it was")
    other.hardlink_to(path)
    write_figure(drawn("a"), path, dpi=50)
    assert plt.imread(path).ndim == 3 and other.read_bytes() == b"as it was"


def test_a_plot_function_says_that_it_gives_a_figure():
    assert inspect.signature(drawn).return_annotation == "Figure"
    assert drawn.__doc__ == "What it draws."


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"labels": 12}, "one on the other"),
        ({"labels": 40, "rotation": 90}, "one on the other"),
        ({"texts": ["far too long for such a figure"]}, "cut off"),
    ],
)
def test_what_cannot_be_read_is_found(options, problem):
    texts = options.pop("texts", [])
    with pytest.raises(AssertionError, match=problem):
        readable(drawn(*texts, **options))


@pytest.mark.parametrize(
    "count, columns, shape", [(5, 3, (2, 3)), (2, 3, (1, 2)), (4, None, (1, 4))]
)
def test_panels_fill_rows_and_fit_the_page(count, columns, shape):
    fig, axs = panels(count, (4, 2), columns)
    plt.close(fig)
    assert axs.shape == shape and len(fig.axes) == count
    width, height = fig.get_size_inches()
    assert width == min(WIDTH, 4 * shape[1]) and height == 2 * shape[0]


def test_no_panels_are_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        panels(0, (4, 2))


@pytest.mark.parametrize(
    "limits, labels",
    [((0, 1), ["0%", "50%", "100%"]), ((0.92, 0.93), ["92%", "92.5%", "93%"])],
)
def test_per_cent_have_the_decimals_that_they_need(limits, labels):
    fig, ax = plt.subplots()
    plt.close(fig)
    percent(ax.yaxis)
    ax.set_yticks(np.linspace(*limits, 3))
    assert [label.get_text() for label in ax.get_yticklabels()] == labels


@pytest.mark.parametrize("count", [1, 2, 3])
def test_bars_side_by_side_touch_and_stay_centred(count):
    shifts, width = side_by_side(count)
    assert np.allclose(np.diff(shifts), width)
    assert shifts.sum() == pytest.approx(0) and width * count == pytest.approx(0.8)


def test_a_table_says_its_numbers_in_a_colour_that_can_be_read():
    table = pd.DataFrame([[0.0, 1.0], [0.25, 0.5]], ["a", "b"], ["c", "d"])

    @figure
    def cells() -> None:
        _, ax = plt.subplots()
        numbers(ax, table, "{:.0%}", vmin=0, vmax=1)

    fig = readable(cells())
    texts = {text.get_text(): text.get_color() for text in fig.axes[0].texts}
    assert list(texts) == ["0%", "100%", "25%", "50%"]
    assert texts["0%"] == "white" and texts["100%"] == "black"
    assert {"a", "b", "c", "d"} <= set(words(fig))


def test_ink_is_what_stands_out():
    assert ink_on("white") == "black" and ink_on((0, 0, 0.5)) == "white"


def test_a_band_reaches_from_the_lowest_to_the_highest():
    curve = pd.DataFrame({"mean": [2.0, 3.0], "low": [1.0, 2.5], "high": [4.0, 5.0]}, index=[0, 1])
    fig, ax = plt.subplots()
    plt.close(fig)
    band(ax, curve, color="red", label="runs")
    corners = ax.collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in corners} >= {(0, 1), (1, 2.5), (1, 5), (0, 4)}
    assert list(ax.lines[0].get_ydata()) == [2, 3]
