"""Figures of what happens to a network's weights when filters go, and what it costs or saves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter

from prunekit.book.plots.style import NEUTRAL, PALETTE, bare, figure, percent

KEPT, GONE, EMPTY = PALETTE[5], PALETTE[1], "#f4f4f4"
PARTS = (PALETTE[5], PALETTE[4], PALETTE[3])
VERSIONS = {"original": NEUTRAL, "masked": PALETTE[1], "rebuilt": PALETTE[0]}


@figure
def fine_and_coarse(weights: np.ndarray, removed: Collection[int]) -> None:
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
    _, axs = plt.subplots(1, 4, figsize=(9, 2.9))
    for ax, (title, (values, zero)) in zip(axs, panels.items(), strict=True):
        shown = np.ma.masked_array(values, zero)
        cmap = plt.get_cmap("PuOr").with_extremes(bad="white")
        ax.imshow(shown, cmap=cmap, vmin=-limit, vmax=limit, origin="upper")
        for row, column in zip(*np.nonzero(zero), strict=True):
            ax.text(column, row, "0", ha="center", va="center", fontsize=6, color="0.35")
        ax.set_title(title, fontsize=9)
        ax.set(ylim=(len(weights) - 0.5, -0.5), xticks=[], yticks=[])
        ax.set_xlabel(f"stored: {values.size} numbers", fontsize=9)
        bare(ax)
    axs[0].set_ylabel("filters")


@figure
def removed_slices(inputs: int, filters: int, next_filters: int, gone: int) -> None:
    """Draw two convolutions with a batch norm between, and every number of one filter.

    Parameters
    ----------
    inputs, filters, next_filters
        Channels before the first convolution, between the two, and after the second.
    gone
        The filter that is removed from the first.
    """
    _, ax = plt.subplots(figsize=(9, 4))
    ax.set(xlim=(-1.6, inputs + filters + 9.2), ylim=(filters + 1, -1.6), aspect="equal")
    ax.axis("off")
    _grid(ax, 0, 0, filters, inputs, rows={gone})
    _say(ax, inputs / 2, "first convolution", f"{filters} filters × {inputs} inputs")
    _grid(ax, inputs + 0.3, 0, filters, 1, rows={gone})
    ax.text(inputs + 0.8, filters + 0.45, "bias", ha="center", fontsize=8)
    left = inputs + 2
    _grid(ax, left, 0, filters, 4, rows={gone}, texts=("γ", "β", "μ", "σ²"))
    _say(ax, left + 2, "batch norm", "4 numbers a channel")
    left += 5
    for row in range(filters):
        look: dict[str, Any] = {"facecolor": "#dfeef8", "edgecolor": "0.4", "linestyle": "-"}
        if row == gone:
            look |= {"facecolor": "white", "linestyle": (0, (3, 2))}
        ax.add_patch(Rectangle((left + 0.05, row + 0.08), 0.84, 0.84, **look))
    _say(ax, left + 0.5, "maps", "one a filter")
    left += 2
    top = (filters - next_filters) / 2
    _grid(ax, left, top, next_filters, filters, columns={gone})
    _say(ax, left + filters / 2, "next convolution", f"{next_filters} filters × {filters} inputs")
    ax.annotate(
        f"row {gone}",
        (0, gone + 0.5),
        (-0.15, gone + 0.5),
        ha="right",
        va="center",
        color=GONE,
        annotation_clip=False,
    )
    ax.text(
        left + gone + 0.5,
        top + next_filters + 0.5,
        f"column {gone}",
        ha="center",
        color=GONE,
    )


@figure
def costs(table: pd.DataFrame) -> None:
    """Bars of the original, the masked and the rebuilt network, one panel a cost.

    Index: keys of :data:`VERSIONS`. Columns: ``parameters``, ``macs``,
    ``bytes`` and ``ms``.
    """
    titles = {
        "parameters": "parameters",
        "macs": "MACs",
        "bytes": "bytes on disk",
        "ms": "milliseconds",
    }
    _, axs = plt.subplots(1, 4, figsize=(9, 2.5))
    for ax, (column, title) in zip(axs, titles.items(), strict=True):
        bars = ax.bar(table.index, table[column], color=[VERSIONS[name] for name in table.index])
        number = EngFormatter(places=1, sep="") if column != "ms" else "{:.2f}".format
        ax.bar_label(bars, [number(value) for value in table[column]], fontsize=8)
        ax.set_title(title)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="x", labelsize=8, length=0)
        ax.margins(y=0.18)
        ax.grid(visible=False)


@figure
def speed(table: pd.DataFrame) -> None:
    """Measured time by share of filters removed, masked against rebuilt.

    Columns: ``removed`` (share of filters), ``masked`` and ``rebuilt`` (time
    as a share of the original's), ``macs`` (share of the original's).
    """
    _, ax = plt.subplots(figsize=(7.2, 3.4))
    for name, marker in (("masked", "s"), ("rebuilt", "o")):
        ax.plot("removed", name, data=table, marker=marker, color=VERSIONS[name])
        _end(ax, table, name, f"{name}, measured", VERSIONS[name])
    ax.plot("removed", "macs", data=table, color="black", linestyle=":")
    _end(ax, table, "macs", "rebuilt, if time followed MACs", "black")
    ax.set(xlabel="share of filters removed in every layer", ylabel="share of the original")
    ax.set(ylim=(0, None), xlim=(-0.02, table["removed"].max() + 0.42))
    ax.set_xticks(table["removed"])
    percent(ax.xaxis, ax.yaxis)


@figure
def concatenated_inputs(parts: Mapping[str, int], right: int, wrong: int) -> None:
    """Which columns of a reader belong to which maker, and the one cut by mistake.

    Parameters
    ----------
    parts
        Filters of each maker, by name, in the order of the concatenation.
    right, wrong
        The column to remove, and the one a naive cut removes.
    """
    total = sum(parts.values())
    _, ax = plt.subplots(figsize=(9, 1.9))
    start = 0
    for (name, count), colour in zip(parts.items(), cycle(PARTS), strict=False):
        ax.add_patch(Rectangle((start, 0), count, 1, facecolor=colour, alpha=0.45))
        ax.text(start + count / 2, 0.5, f"{name}: {count} columns", ha="center", va="center")
        start += count
    for column, text, colour in ((right, "right", PALETTE[2]), (wrong, "wrong", GONE)):
        ax.add_patch(Rectangle((column, 0), max(1, total / 200), 1, facecolor=colour))
        ax.annotate(
            f"{text}: column {column}",
            (column + 0.5, 1),
            (column + total / 40, 1.45),
            color=colour,
            weight="bold",
            arrowprops={"arrowstyle": "->", "color": colour},
            va="center",
        )
    ax.set(xlim=(-total / 100, total * 1.01), ylim=(-0.05, 1.7), yticks=[])
    ax.set_xlabel("input channel of the reader")
    ax.spines["left"].set_visible(False)
    ax.grid(visible=False)


def _end(ax: Axes, table: pd.DataFrame, column: str, text: str, colour: str) -> None:
    last = table.iloc[-1]
    ax.annotate(
        text,
        (last["removed"], last[column]),
        (6, 0),
        textcoords="offset points",
        color=colour,
        va="center",
        fontsize=9,
    )


def _grid(
    ax: Axes,
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
        ax.add_patch(
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
        ax.text(left + column + 0.46, rows_count + 0.45, text, ha="center", fontsize=8)


def _say(ax: Axes, x: float, title: str, note: str) -> None:
    ax.text(x, -1.1, title, ha="center", weight="bold", fontsize=9)
    ax.text(x, -0.4, note, ha="center", fontsize=8)
