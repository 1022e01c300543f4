"""Figures of what happens to a network's weights when filters go, and what it costs or saves."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, PercentFormatter

from prunekit.book.plots.style import NEUTRAL, PALETTE

KEPT, GONE, EMPTY = PALETTE[5], PALETTE[1], "#f4f4f4"
VERSIONS = {"original": NEUTRAL, "masked": PALETTE[1], "rebuilt": PALETTE[0]}


def fine_and_coarse(weights: np.ndarray, removed: Collection[int]) -> Figure:
    """The weights of one layer whole, with zeros in them, and with rows taken out.

    Parameters
    ----------
    weights
        Array of shape (filters, weights a filter).
    removed
        Filters that go.
    """
    gone = np.isin(np.arange(len(weights)), list(removed))
    zeros = np.zeros_like(weights, dtype=bool)
    scattered = np.abs(weights) <= np.quantile(np.abs(weights), gone.mean())
    panels = {
        "the layer": (weights, zeros),
        "fine: scattered zeros": (weights, scattered),
        "fine: whole filters zeroed": (weights, zeros | gone[:, None]),
        "coarse: filters gone": (weights[~gone], zeros[~gone]),
    }
    limit = np.abs(weights).max()
    figure, grid = plt.subplots(1, 4, figsize=(9, 2.9))
    for axes, (title, (values, zero)) in zip(grid, panels.items(), strict=True):
        shown = np.ma.masked_array(values, zero)
        cmap = plt.get_cmap("PuOr").with_extremes(bad="white")
        axes.imshow(shown, cmap=cmap, vmin=-limit, vmax=limit, origin="upper")
        for row, column in zip(*np.nonzero(zero), strict=True):
            axes.text(column, row, "0", ha="center", va="center", fontsize=6, color="0.35")
        axes.set_title(title, fontsize=9)
        axes.set(ylim=(len(weights) - 0.5, -0.5), xticks=[], yticks=[])
        axes.set_xlabel(f"stored: {values.size} numbers", fontsize=9)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    grid[0].set_ylabel("filters")
    plt.close(figure)
    return figure


def removed_slices(inputs: int, filters: int, next_filters: int, gone: int) -> Figure:
    """Draw two convolutions with a batch norm between, and every number of one filter.

    Parameters
    ----------
    inputs, filters, next_filters
        Channels before the first convolution, between the two, and after the second.
    gone
        The filter that is removed from the first.
    """
    figure, axes = plt.subplots(figsize=(9, 4))
    axes.set(xlim=(-1.6, inputs + filters + 9.2), ylim=(filters + 1, -1.6), aspect="equal")
    axes.axis("off")
    _grid(axes, 0, 0, filters, inputs, rows={gone})
    _say(axes, inputs / 2, "first convolution", f"{filters} filters × {inputs} inputs")
    _grid(axes, inputs + 0.3, 0, filters, 1, rows={gone})
    axes.text(inputs + 0.8, filters + 0.45, "bias", ha="center", fontsize=8)
    left = inputs + 2
    _grid(axes, left, 0, filters, 4, rows={gone}, texts=("γ", "β", "μ", "σ²"))
    _say(axes, left + 2, "batch norm", "4 numbers a channel")
    left += 5
    for row in range(filters):
        style = {"facecolor": "white" if row == gone else "#dfeef8", "edgecolor": "0.4"}
        dashed = (0, (3, 2)) if row == gone else "-"
        axes.add_patch(Rectangle((left + 0.05, row + 0.08), 0.84, 0.84, linestyle=dashed, **style))
    _say(axes, left + 0.5, "maps", "one a filter")
    left += 2
    top = (filters - next_filters) / 2
    _grid(axes, left, top, next_filters, filters, columns={gone})
    _say(axes, left + filters / 2, "next convolution", f"{next_filters} filters × {filters} inputs")
    axes.annotate(
        f"row {gone}",
        (0, gone + 0.5),
        (-0.15, gone + 0.5),
        ha="right",
        va="center",
        color=GONE,
        annotation_clip=False,
    )
    axes.text(
        left + gone + 0.5,
        top + next_filters + 0.5,
        f"column {gone}",
        ha="center",
        color=GONE,
    )
    plt.close(figure)
    return figure


def costs(table: pd.DataFrame) -> Figure:
    """Bars of the original, the masked and the rebuilt network, one panel a cost.

    Index: keys of :data:`VERSIONS`. Columns: ``parameters``, ``macs``,
    ``bytes`` and ``milliseconds``.
    """
    titles = {
        "parameters": "parameters",
        "macs": "MACs",
        "bytes": "bytes on disk",
        "milliseconds": "milliseconds",
    }
    figure, grid = plt.subplots(1, 4, figsize=(9, 2.5))
    for axes, (column, title) in zip(grid, titles.items(), strict=True):
        bars = axes.bar(table.index, table[column], color=[VERSIONS[name] for name in table.index])
        number = EngFormatter(places=1, sep="") if column != "milliseconds" else "{:.2f}".format
        axes.bar_label(bars, [number(value) for value in table[column]], fontsize=8)
        axes.set_title(title)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="x", labelsize=8, length=0)
        axes.margins(y=0.18)
        axes.grid(visible=False)
    plt.close(figure)
    return figure


def speed(table: pd.DataFrame) -> Figure:
    """Measured time by share of filters removed, masked against rebuilt.

    Columns: ``removed`` (share of filters), ``masked`` and ``rebuilt`` (time
    as a share of the original's), ``macs`` (share of the original's).
    """
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    for name, marker in (("masked", "s"), ("rebuilt", "o")):
        axes.plot("removed", name, data=table, marker=marker, color=VERSIONS[name])
        _end(axes, table, name, f"{name}, measured", VERSIONS[name])
    axes.plot("removed", "macs", data=table, color="black", linestyle=":")
    _end(axes, table, "macs", "rebuilt, if time followed MACs", "black")
    axes.set(xlabel="share of filters removed in every layer", ylabel="share of the original")
    axes.set(ylim=(0, None), xlim=(-0.02, table["removed"].max() + 0.42))
    axes.set_xticks(table["removed"])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    plt.close(figure)
    return figure


def concatenated_inputs(parts: Mapping[str, int], right: int, wrong: int) -> Figure:
    """Which columns of a reader belong to which maker, and the one cut by mistake.

    Parameters
    ----------
    parts
        Filters of each maker, by name, in the order of the concatenation.
    right, wrong
        The column to remove, and the one a naive cut removes.
    """
    total = sum(parts.values())
    figure, axes = plt.subplots(figsize=(9, 1.9))
    start = 0
    for (name, count), colour in zip(parts.items(), (PALETTE[5], PALETTE[4]), strict=False):
        axes.add_patch(Rectangle((start, 0), count, 1, facecolor=colour, alpha=0.45))
        axes.text(start + count / 2, 0.5, f"{name}: {count} columns", ha="center", va="center")
        start += count
    for column, text, colour in ((right, "right", PALETTE[2]), (wrong, "wrong", GONE)):
        axes.add_patch(Rectangle((column, 0), max(1, total / 200), 1, facecolor=colour))
        axes.annotate(
            f"{text}: column {column}",
            (column + 0.5, 1),
            (column + total / 40, 1.45),
            color=colour,
            weight="bold",
            arrowprops={"arrowstyle": "->", "color": colour},
            va="center",
        )
    axes.set(xlim=(-total / 100, total * 1.01), ylim=(-0.05, 1.7), yticks=[])
    axes.set_xlabel("input channel of the reader")
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    plt.close(figure)
    return figure


def _end(axes: Axes, table: pd.DataFrame, column: str, text: str, colour: str) -> None:
    last = table.iloc[-1]
    axes.annotate(
        text,
        (last["removed"], last[column]),
        (6, 0),
        textcoords="offset points",
        color=colour,
        va="center",
        fontsize=9,
    )


def _grid(
    axes: Axes,
    left: float,
    top: float,
    rows_count: int,
    columns_count: int,
    *,
    rows: Collection[int] = (),
    columns: Collection[int] = (),
    texts: Collection[str] = (),
) -> None:
    """Cells of size one, those of the given rows and columns marked as gone."""
    for row, column in np.ndindex(rows_count, columns_count):
        gone = row in rows or column in columns
        axes.add_patch(
            Rectangle(
                (left + column, top + row),
                0.92,
                0.92,
                facecolor=GONE if gone else KEPT,
                alpha=0.95 if gone else 0.55,
                hatch="///" if gone else None,
                edgecolor="white",
            )
        )
    for column, text in enumerate(texts):
        axes.text(left + column + 0.46, rows_count + 0.45, text, ha="center", fontsize=8)


def _say(axes: Axes, x: float, title: str, note: str) -> None:
    axes.text(x, -1.1, title, ha="center", weight="bold", fontsize=9)
    axes.text(x, -0.4, note, ha="center", fontsize=8)
