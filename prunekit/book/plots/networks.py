"""Figures of what networks cost, and where in them the cost sits.

Every function takes a table and returns a Figure. Nothing here measures.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from prunekit.book.plots.style import PALETTE

CONV, LINEAR = PALETTE[0], PALETTE[1]
COSTS = {
    "parameters": ("Parameters", ""),
    "macs": ("MACs per image", ""),
    "bytes": ("Weights in float32", "B"),
    "seconds": ("Measured time per image", "s"),
}


def costs(table: pd.DataFrame) -> Figure:
    """One panel a cost, one dot a network, on logarithmic axes.

    Parameters
    ----------
    table
        Index: network names. Columns: any of ``parameters``, ``macs``, ``bytes``, ``seconds``.

    Examples
    --------
    >>> table = pd.DataFrame({"parameters": [1e6, 1e8]}, index=["small", "large"])
    >>> [axes.get_title() for axes in costs(table).axes]
    ['Parameters']
    """
    shown = [column for column in COSTS if column in table.columns]
    height = 0.9 + 0.38 * len(table)
    rows = -(-len(shown) // 2)
    figure, grid = plt.subplots(
        rows, min(2, len(shown)), figsize=(9, rows * height), sharey=True, squeeze=False
    )
    for axes, column in zip(grid.flat, shown, strict=False):
        title, unit = COSTS[column]
        _dots(axes, table[column], unit)
        axes.set_title(title)
    for axes in list(grid.flat)[len(shown) :]:
        axes.remove()
    plt.close(figure)
    return figure


def conv_shares(shares: pd.DataFrame) -> Figure:
    """Bars split between convolutions and fully connected layers, one panel a cost.

    Parameters
    ----------
    shares
        Index: network names. Columns: costs. Values: the convolutions' share, from 0 to 1.
    """
    figure, panels = plt.subplots(
        1, shares.shape[1], figsize=(9, 1.1 + 0.36 * len(shares)), sharey=True, squeeze=False
    )
    rows = np.arange(len(shares))
    for axes, cost in zip(panels[0], shares.columns, strict=True):
        conv = shares[cost].to_numpy(dtype=float)
        axes.barh(rows, conv, color=CONV, label="convolutions")
        axes.barh(rows, 1 - conv, left=conv, color=LINEAR, hatch="///", label="fully connected")
        for row, share in zip(rows, conv, strict=True):
            inside = share > 0.3
            axes.text(
                share - 0.03 if inside else share + 0.03,
                row,
                f"{share:.0%}",
                va="center",
                ha="right" if inside else "left",
                color="white" if inside else "black",
                fontsize=9,
                bbox=None if inside else {"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
        axes.set(title=cost, xlim=(0, 1))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xticks([0, 0.5, 1])
        axes.grid(visible=False)
    _label_rows(panels[0][0], shares.index)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    plt.close(figure)
    return figure


def against_boards(needs: pd.DataFrame, boards: pd.DataFrame) -> Figure:
    """What networks need to store and to hold, against what boards have.

    Parameters
    ----------
    needs
        Index: network names. Columns ``storage`` and ``memory``, bytes.
    boards
        Index: board names. The same columns, bytes; missing values are not drawn.
    """
    titles = {"storage": "To store: weights", "memory": "To hold while running: feature maps"}
    figure, panels = plt.subplots(1, 2, figsize=(9, 1.7 + 0.36 * len(needs)), sharey=True)
    for axes, column in zip(panels, titles, strict=True):
        _dots(axes, needs[column], "B")
        for colour, (board, capacity) in zip(
            PALETTE[2:], boards[column].dropna().items(), strict=False
        ):
            axes.axvline(capacity, color=colour, linestyle="--", label=board)
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, boards[column].min() / 2), max(high, boards[column].max() * 2))
        axes.set_title(titles[column])
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    plt.close(figure)
    return figure


def macs_against_time(table: pd.DataFrame) -> Figure:
    """MACs against measured time; dotted lines join equal speeds.

    Parameters
    ----------
    table
        Index: names. Columns ``macs`` (count) and ``seconds``.
    """
    figure, axes = plt.subplots(figsize=(6.5, 4.5))
    axes.set(xscale="log", yscale="log")
    axes.scatter(table["macs"], table["seconds"], color=CONV, zorder=3)
    for name, row in table.iterrows():
        axes.annotate(
            name,
            (row["macs"], row["seconds"]),
            xytext=(6, -4),
            textcoords="offset points",
            fontsize=9,
        )
    axes.set_xlim(table["macs"].min() / 2, table["macs"].max() * 4)
    axes.set_ylim(table["seconds"].min() / 2, table["seconds"].max() * 2)
    ends = np.array(axes.get_xlim())
    speeds = table["macs"] / table["seconds"]
    for exponent in range(int(np.log10(speeds.min())), int(np.log10(speeds.max())) + 2):
        axes.plot(ends, ends / 10.0**exponent, color="0.7", linestyle=":", linewidth=1, zorder=0)
        low, high = axes.get_ylim()
        at = np.clip(low * 1.25 * 10.0**exponent, ends[0] * 1.1, ends[1])
        if low < at / 10.0**exponent < high:
            label = EngFormatter(unit="MAC/s")(10.0**exponent)
            axes.text(at, at / 10.0**exponent, label, fontsize=8, color="0.4")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.yaxis.set_major_formatter(EngFormatter(unit="s"))
    axes.set(xlabel="MACs per image", ylabel="measured time per image")
    plt.close(figure)
    return figure


def time_by_filters(table: pd.DataFrame) -> Figure:
    """Measured time of one layer against its filters, and the line MACs alone would predict.

    Parameters
    ----------
    table
        Columns ``filters`` and ``seconds``; the last row is the full layer.
    """
    figure, axes = plt.subplots(figsize=(6.5, 3.8))
    full = table.iloc[-1]
    axes.plot(
        [0, full["filters"]],
        [0, full["seconds"]],
        color=LINEAR,
        linestyle="--",
        label="time in proportion to MACs",
    )
    axes.plot(
        table["filters"], table["seconds"], color=CONV, marker="o", markersize=4, label="measured"
    )
    axes.set(xlabel="filters left in the layer", ylabel="time of the layer", xlim=(0, None))
    axes.set_ylim(0, table["seconds"].max() * 1.15)
    axes.yaxis.set_major_formatter(EngFormatter(unit="s"))
    axes.legend(loc="upper left")
    plt.close(figure)
    return figure


def what_is_left(table: pd.DataFrame) -> Figure:
    """Shares of parameters, MACs and time left, against the share of filters removed.

    Parameters
    ----------
    table
        Index: share of filters removed, from 0 to 1. Columns: any costs, as shares of the
        unpruned network's.
    """
    figure, axes = plt.subplots(figsize=(6.5, 4))
    for column, colour, marker in zip(table.columns, PALETTE, "osD^v", strict=False):
        axes.plot(table.index, table[column], color=colour, marker=marker, label=column)
    axes.plot([0, 1], [1, 0], color="0.6", linestyle=":", label="in proportion to filters")
    axes.set(xlabel="filters removed", ylabel="left of the whole network", ylim=(0, None))
    axes.set_xlim(0, 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.legend()
    plt.close(figure)
    return figure


def layer_costs(layers: pd.DataFrame) -> Figure:
    """Parameters and MACs of each layer, in the order in which an image meets them.

    Parameters
    ----------
    layers
        ``Profile.layers``: columns ``layer``, ``type``, ``parameters``, ``macs``.
    """
    figure, panels = plt.subplots(2, 1, figsize=(9, 4.6), sharex=True)
    linear = layers["type"].eq("Linear").to_numpy()
    places = np.arange(len(layers))
    for axes, column in zip(panels, ("parameters", "macs"), strict=True):
        for mask, colour, hatch, label in (
            (~linear, CONV, None, "convolution"),
            (linear, LINEAR, "///", "fully connected"),
        ):
            axes.bar(
                places[mask],
                layers[column].to_numpy()[mask],
                color=colour,
                hatch=hatch,
                label=label,
            )
        axes.yaxis.set_major_formatter(EngFormatter())
        axes.set_ylabel(COSTS[column][0])
        axes.grid(visible=False, axis="x")
    panels[1].set_xticks(places, layers["layer"], rotation=90, fontsize=8)
    if linear.any():
        panels[0].legend()
    plt.close(figure)
    return figure


def _dots(axes: Axes, values: pd.Series, unit: str) -> None:
    rows = np.arange(len(values))
    axes.set_xscale("log")
    axes.plot(values, rows, linestyle="none", marker="o", color=CONV)
    text = EngFormatter(unit=unit)
    for row, value in zip(rows, values, strict=True):
        axes.annotate(
            text(float(f"{value:.3g}")),
            (value, row),
            xytext=(7, 0),
            va="center",
            textcoords="offset points",
            fontsize=9,
        )
    axes.set_xlim(values.min() / 2, values.max() * 8)
    axes.xaxis.set_major_formatter(EngFormatter(unit=unit))
    axes.grid(visible=False, axis="x")
    _label_rows(axes, values.index)


def _label_rows(axes: Axes, names: pd.Index) -> None:
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
