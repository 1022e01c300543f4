"""Figures of what networks cost, and where in them the cost sits.

Every function draws a table. Nothing here measures.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from prunekit.book.plots.style import (
    MARKERS,
    PALETTE,
    WIDTH,
    figure,
    logarithmic,
    names_along,
    panels,
    percent,
)

CONV, LINEAR = PALETTE[0], PALETTE[1]
COSTS = {
    "parameters": ("Parameters", ""),
    "macs": ("MACs per image", ""),
    "bytes": ("Weights in float32", "B"),
    "seconds": ("Measured time per image", "s"),
}


@figure
def costs(table: pd.DataFrame) -> None:
    """One panel a cost, one dot a network, on logarithmic axes.

    Parameters
    ----------
    table
        Index: network names. Columns: any of ``parameters``, ``macs``, ``bytes``, ``seconds``.

    Examples
    --------
    >>> table = pd.DataFrame({"parameters": [1e6, 1e8]}, index=["small", "large"])
    >>> [axes.get_title("left") for axes in costs(table).axes]
    ['Parameters']
    """
    shown = [column for column in COSTS if column in table.columns]
    size = 9 / max(1, min(2, len(shown))), 0.9 + 0.38 * len(table)
    _, axs = panels(len(shown), size, columns=2, sharey=True)
    for ax, column in zip(axs.flat, shown, strict=False):
        title, unit = COSTS[column]
        _dots(ax, table[column], unit)
        ax.set_title(title)


@figure
def conv_shares(shares: pd.DataFrame) -> None:
    """Bars split between convolutions and fully connected layers, one panel a cost.

    Parameters
    ----------
    shares
        Index: network names. Columns: costs. Values: the convolutions' share, from 0 to 1.
    """
    size = WIDTH / max(1, shares.shape[1]), 1.1 + 0.36 * len(shares)
    fig, axs = panels(shares.shape[1], size, sharey=True)
    rows = np.arange(len(shares))
    for ax, cost in zip(axs[0], shares.columns, strict=True):
        conv = shares[cost].to_numpy(dtype=float)
        ax.barh(rows, conv, color=CONV, label="convolutions")
        ax.barh(rows, 1 - conv, left=conv, color=LINEAR, hatch="///", label="fully connected")
        for row, share in zip(rows, conv, strict=True):
            inside = share > 0.3
            ax.text(
                share - 0.03 if inside else share + 0.03,
                row,
                f"{share:.0%}",
                va="center",
                ha="right" if inside else "left",
                color="white" if inside else "black",
                fontsize=9,
                bbox=None if inside else {"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
        ax.set(title=cost, xlim=(0, 1))
        percent(ax.xaxis)
        ax.set_xticks([0, 0.5, 1])
        ax.grid(visible=False)
    _label_rows(axs[0][0], shares.index)
    handles, labels = axs[0][0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2)


@figure
def against_boards(needs: pd.DataFrame, boards: pd.DataFrame) -> None:
    """What networks need to store and to hold, against what boards have.

    Parameters
    ----------
    needs
        Index: network names. Columns ``storage`` and ``memory``, bytes.
    boards
        Index: board names. The same columns, bytes; missing values are not drawn.
    """
    titles = {"storage": "To store: weights", "memory": "To hold while running: activation maps"}
    colours = dict(zip(boards.index, cycle(PALETTE[2:]), strict=False))
    lines = {}
    fig, axs = plt.subplots(1, 2, figsize=(9, 1.7 + 0.36 * len(needs)), sharey=True)
    for ax, column in zip(axs, titles, strict=True):
        _dots(ax, needs[column], "B")
        for board, capacity in boards[column].dropna().items():
            lines[board] = ax.axvline(capacity, color=colours[board], linestyle="--")
        low, high = ax.get_xlim()
        ax.set_xlim(
            np.nanmin([low, boards[column].min() / 2]), np.nanmax([high, boards[column].max() * 2])
        )
        logarithmic(ax.xaxis, "B")
        ax.set_title(titles[column])
    fig.legend(lines.values(), lines, loc="outside lower center", ncols=len(lines))


@figure
def macs_against_time(table: pd.DataFrame) -> None:
    """MACs against measured time; dotted lines join equal speeds.

    Parameters
    ----------
    table
        Index: names. Columns ``macs`` (count) and ``seconds``.
    """
    _, ax = plt.subplots(figsize=(6.5, 4.5))
    ax.set(xscale="log", yscale="log")
    ax.scatter(table["macs"], table["seconds"], color=CONV, zorder=3)
    ax.set_xlim(table["macs"].min() / 2, table["macs"].max() * 4)
    ax.set_ylim(table["seconds"].min() / 2, table["seconds"].max() * 2)
    _label_points(ax, table)
    ends = np.array(ax.get_xlim())
    speeds = table["macs"] / table["seconds"]
    for exponent in range(int(np.log10(speeds.min())), int(np.log10(speeds.max())) + 2):
        ax.plot(ends, ends / 10.0**exponent, color="0.7", linestyle=":", linewidth=1, zorder=0)
        low, high = ax.get_ylim()
        at = np.clip(low * 1.25 * 10.0**exponent, ends[0] * 1.1, ends[1])
        if low < at / 10.0**exponent < high:
            label = EngFormatter(unit="MAC/s")(10.0**exponent)
            ax.text(at, at / 10.0**exponent, label, fontsize=8, color="0.4")
    logarithmic(ax.xaxis)
    logarithmic(ax.yaxis, "s")
    ax.set(xlabel="MACs per image", ylabel="measured time per image")


@figure
def time_by_filters(table: pd.DataFrame) -> None:
    """Measured time of one layer against its filters, and the line MACs alone would predict.

    Parameters
    ----------
    table
        Columns ``filters`` and ``seconds``; the last row is the full layer.
    """
    _, ax = plt.subplots(figsize=(6.5, 3.8))
    full = table.iloc[-1]
    ax.plot(
        [0, full["filters"]],
        [0, full["seconds"]],
        color=LINEAR,
        linestyle="--",
        label="time in proportion to MACs",
    )
    ax.plot(
        table["filters"], table["seconds"], color=CONV, marker="o", markersize=4, label="measured"
    )
    ax.set(xlabel="filters left in the layer", ylabel="time of the layer", xlim=(0, None))
    ax.set_ylim(0, table["seconds"].max() * 1.15)
    ax.yaxis.set_major_formatter(EngFormatter(unit="s"))
    ax.legend(loc="upper left")


@figure
def what_is_left(table: pd.DataFrame) -> None:
    """Shares of parameters, MACs and time left, against the share of filters removed.

    Parameters
    ----------
    table
        Index: share of filters removed, from 0 to 1. Columns: any costs, as shares of the
        unpruned network's.
    """
    _, ax = plt.subplots(figsize=(6.5, 4))
    for column, colour, marker in zip(table, cycle(PALETTE), cycle(MARKERS), strict=False):
        ax.plot(table.index, table[column], color=colour, marker=marker, label=column)
    ax.plot([0, 1], [1, 0], color="0.6", linestyle=":", label="in proportion to filters")
    ax.set(xlabel="filters removed", ylabel="left of the whole network", ylim=(0, None))
    ax.set_xlim(0, 1)
    percent(ax.xaxis, ax.yaxis)
    ax.legend()


@figure
def layer_costs(layers: pd.DataFrame) -> None:
    """Parameters and MACs of each layer, in the order in which an image meets them.

    Parameters
    ----------
    layers
        ``Profile.layers``: columns ``layer``, ``type``, ``parameters``, ``macs``.
    """
    _, axs = plt.subplots(2, 1, figsize=(9, 4.6), sharex=True)
    linear = layers["type"].eq("Linear").to_numpy()
    places = np.arange(len(layers))
    for ax, column in zip(axs, ("parameters", "macs"), strict=True):
        for mask, colour, hatch, label in (
            (~linear, CONV, None, "convolution"),
            (linear, LINEAR, "///", "fully connected"),
        ):
            ax.bar(
                places[mask],
                layers[column].to_numpy()[mask],
                color=colour,
                hatch=hatch,
                label=label,
            )
        ax.yaxis.set_major_formatter(EngFormatter())
        ax.set_ylabel(COSTS[column][0])
        ax.grid(visible=False, axis="x")
    names_along(axs[1].xaxis, layers["layer"], rotation=90, fontsize=8)
    if linear.any():
        axs[0].legend()


def _label_points(ax: Axes, table: pd.DataFrame) -> None:
    """Write each name beside its point, higher or lower where another name is in the way."""
    taken: list[Any] = []
    for name, row in table.iterrows():
        place = (row["macs"], row["seconds"])
        label = ax.annotate(name, place, (6, 0), textcoords="offset points", fontsize=9)
        for height in (-4, 7, -15, 18, -26):
            label.set_position((6, height))
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


def _dots(ax: Axes, values: pd.Series, unit: str) -> None:
    rows = np.arange(len(values))
    ax.set_xscale("log")
    ax.plot(values, rows, linestyle="none", marker="o", color=CONV)
    text = EngFormatter(unit=unit)
    for row, value in zip(rows, values, strict=True):
        ax.annotate(
            text(float(f"{value:.3g}")),
            (value, row),
            xytext=(7, 0),
            va="center",
            textcoords="offset points",
            fontsize=9,
        )
    ax.set_xlim(values.min() / 2, values.max() * 8)
    logarithmic(ax.xaxis, unit)
    ax.grid(visible=False, axis="x")
    _label_rows(ax, values.index)


def _label_rows(ax: Axes, names: pd.Index) -> None:
    names_along(ax.yaxis, names)
    ax.set_ylim(len(names) - 0.5, -0.5)
