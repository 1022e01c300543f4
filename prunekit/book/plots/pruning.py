"""Figures of the pruning loop: its flow chart, where filters went, what was lost and gained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon
from matplotlib.ticker import PercentFormatter

from prunekit.book.plots.style import PALETTE

LEFT_LABELS = {
    "filters": "filters",
    "parameters": "parameters",
    "macs": "MACs",
    "bytes": "bytes on disk",
}


def by_block(pattern: pd.DataFrame) -> pd.DataFrame:
    """Add up the layers of each Fire module, so that columns read as in the thesis.

    ``pattern`` has a row an iteration and a column a layer, named as in
    ``model.named_modules()``. ``features.3.squeeze`` belongs to ``Fire 3``,
    ``features.0`` is ``conv 0``.

    Examples
    --------
    >>> by_block(pd.DataFrame({"features.0": [1], "features.3.squeeze": [2],
    ...                        "features.3.expand1x1": [3]})).to_dict("list")
    {'conv 0': [1], 'Fire 3': [5]}
    """
    return pattern.T.groupby(block, sort=False).sum().T


def block(layer: str) -> str:
    """The block of SqueezeNet a layer belongs to: ``conv 0``, ``Fire 3``, ..."""
    parts = layer.split(".")
    if len(parts) < 2:
        return layer
    return f"Fire {parts[1]}" if len(parts) > 2 else f"conv {parts[1]}"


def short_name(layer: str) -> str:
    """A layer's name as short as a tick label: ``3 s``, ``3 e1``, ``3 e3``."""
    name = layer.removeprefix("features.")
    for long, short in ((".squeeze", " s"), (".expand1x1", " e1"), (".expand3x3", " e3")):
        name = name.replace(long, short)
    return name


def loop_chart(count: int = 128) -> Figure:
    """The pruning loop as a flow chart, after figures 7.2 and 9.1 of the thesis."""
    fig, ax = plt.subplots(figsize=(8.8, 3.2), layout="constrained")
    boxes = {
        "trained": (0, 1, "Trained\nnetwork", PALETTE[0]),
        "rank": (1, 1, "Rank every filter\n(Taylor, L2, or both)", PALETTE[1]),
        "select": (2, 1, f"Min-heap: {count} lowest\nabove each floor", PALETTE[1]),
        "rebuild": (3, 1, "Rebuild the network\nwithout them", PALETTE[1]),
        "tune": (3, 0, "Fine-tune on\ntraining images", PALETTE[1]),
        "record": (2, 0, "Measure on validation\nimages, record a row", PALETTE[1]),
        "done": (0, 0, "Smaller\nnetwork", PALETTE[0]),
    }
    step_x, step_y = 3.3, 2.2
    for column, row, text, colour in boxes.values():
        x, y = column * step_x, row * step_y
        ax.add_patch(
            FancyBboxPatch(
                (x - 1.15, y - 0.42),
                2.3,
                0.84,
                boxstyle="round,pad=0.08",
                facecolor="white",
                edgecolor=colour,
                linewidth=2,
            )
        )
        ax.text(x, y, text, ha="center", va="center", fontsize=8.5)
    diamond = np.array([(-1.35, 0), (0, 0.8), (1.35, 0), (0, -0.8)]) + np.array([step_x, 0])
    ax.add_patch(Polygon(diamond, facecolor="white", edgecolor=PALETTE[2], linewidth=2))
    ax.text(step_x, 0, "Ratio reached,\nor too much\naccuracy lost?", ha="center", va="center",
            fontsize=8)  # fmt: skip
    arrows = [
        ((1.25, step_y), (step_x - 1.25, step_y), ""),
        ((step_x + 1.25, step_y), (2 * step_x - 1.25, step_y), ""),
        ((2 * step_x + 1.25, step_y), (3 * step_x - 1.25, step_y), ""),
        ((3 * step_x, step_y - 0.52), (3 * step_x, 0.52), ""),
        ((3 * step_x - 1.25, 0), (2 * step_x + 1.25, 0), ""),
        ((2 * step_x - 1.25, 0), (step_x + 1.35, 0), ""),
        ((step_x, 0.8), (step_x, step_y - 0.52), "no"),
        ((step_x - 1.35, 0), (1.25, 0), "yes"),
    ]
    for start, end, text in arrows:
        ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color="0.3"))
        if text:
            middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
            ax.annotate(text, middle, (4, 4), textcoords="offset points", fontsize=9)
    ax.set(xlim=(-1.4, 3 * step_x + 1.4), ylim=(-1, step_y + 0.7), aspect="equal")
    ax.axis("off")
    plt.close(fig)
    return fig


def pattern_heatmaps(patterns: Mapping[str, pd.DataFrame]) -> Figure:
    """Pruning patterns side by side: filters removed by iteration (rows) and block (columns)."""
    tallest = max(len(pattern) for pattern in patterns.values())
    fig, axes = plt.subplots(
        1,
        len(patterns),
        figsize=(4.6 * len(patterns), 1.3 + 0.24 * tallest),
        squeeze=False,
        layout="constrained",
    )
    highest = max(pattern.to_numpy().max() for pattern in patterns.values())
    for ax, (title, pattern) in zip(axes.flat, patterns.items(), strict=True):
        image = ax.imshow(pattern, cmap="cividis", vmin=0, vmax=highest, aspect="auto")
        for (row, column), number in np.ndenumerate(pattern.to_numpy()):
            ax.text(
                column,
                row,
                int(number),
                ha="center",
                va="center",
                fontsize=7,
                color="black" if number > 0.55 * highest else "white",
            )
        ax.xaxis.tick_top()
        ax.set_xticks(range(pattern.shape[1]), pattern.columns, rotation=45, ha="left")
        ax.set_yticks(range(len(pattern)), pattern.index)
        ax.set(title=title, ylabel="iteration", ylim=(tallest - 0.5, -0.5))
        ax.tick_params(length=0, labelsize=8)
        ax.grid(False)
        ax.spines[:].set_visible(False)
    fig.colorbar(image, ax=axes, label="filters removed", shrink=0.8)
    plt.close(fig)
    return fig


def filters_left(
    pattern: pd.DataFrame, filters: pd.Series, iterations: Sequence[int], columns: int = 2
) -> Figure:
    """Filters kept and removed in each layer after the given iterations.

    Parameters
    ----------
    pattern
        Filters removed; a row an iteration (its number is the index), a column a layer.
    filters
        Filters of each layer before pruning, by the same names.
    """
    columns = min(columns, len(iterations))
    rows = math.ceil(len(iterations) / columns)
    fig, axes = plt.subplots(
        rows,
        columns,
        figsize=(max(5.0 * columns, 7), 0.9 + 1.7 * rows),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for ax in axes.flat[len(iterations) :]:
        ax.axis("off")
    for ax, iteration in zip(axes.flat, iterations, strict=False):
        _draw_filters_left(ax, pattern, filters, iteration)
    for ax in axes[:, 0]:
        ax.set_ylabel("filters")
    axes.flat[0].legend(loc="upper left", fontsize=8, frameon=False)
    plt.close(fig)
    return fig


def _draw_filters_left(ax: Axes, pattern: pd.DataFrame, filters: pd.Series, iteration: int) -> None:
    removed = pattern.loc[:iteration].sum().reindex(filters.index, fill_value=0)
    kept = filters - removed
    places = np.arange(len(filters))
    ax.bar(places, kept, color=PALETTE[0], label="kept")
    ax.bar(places, removed, bottom=kept, color="0.85", edgecolor="0.6", linewidth=0.4,
           label="removed")  # fmt: skip
    ax.set_xticks(places, [short_name(layer) for layer in filters.index], rotation=90, fontsize=7)
    ax.tick_params(labelbottom=True)
    ax.grid(False, axis="x")
    share = removed.sum() / filters.sum()
    ax.set_title(f"iteration {iteration}: {share:.0%} of filters removed", fontsize=9)


def history_curves(table: pd.DataFrame) -> Figure:
    """Accuracy before and after fine-tuning, and what is left, against the iteration.

    ``table`` is that of a :class:`prunekit.PruningHistory`: row 0 is the
    unpruned network.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.6), layout="constrained")
    pruned = table[table["iteration"] > 0]
    left.axhline(table["accuracy_after"].iloc[0], color="0.5", linestyle="--", linewidth=1,
                 label="unpruned")  # fmt: skip
    left.plot(pruned["iteration"], pruned["accuracy_before"], "o:", markersize=4,
              color=PALETTE[1], label="just after removal")  # fmt: skip
    left.plot(table["iteration"], table["accuracy_after"], "o-", markersize=4,
              color=PALETTE[0], label="after fine-tuning")  # fmt: skip
    left.set(xlabel="iteration", ylabel="validation accuracy")
    left.legend(loc="lower left", fontsize=8)
    # Bytes lie on top of parameters, four to each: hollow markers leave both visible.
    hollow = {"marker": "^", "markersize": 9, "fillstyle": "none", "linestyle": "none"}
    styles = ({"marker": "o"}, {"marker": "s"}, {"marker": "D"}, hollow)
    for colour, style, (column, label) in zip(PALETTE, styles, LEFT_LABELS.items(), strict=False):
        share = table[column] / table[column].iloc[0]
        right.plot(
            table["iteration"], share, **{"markersize": 4} | style, color=colour, label=label
        )
    right.set(xlabel="iteration", ylabel="share left", ylim=(0, 1.03))
    right.legend(fontsize=8)
    for ax in (left, right):
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    plt.close(fig)
    return fig


def trade_off(table: pd.DataFrame, stops: pd.DataFrame) -> Figure:
    """Accuracy against the share of filters removed, and where each allowed drop would stop.

    ``stops`` has a row an allowed drop, with the columns ``allowed`` (a
    fraction) and ``iteration``, the last one kept.
    """
    fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
    ratio = 1 - table["filters"] / table["filters"].iloc[0]
    ax.plot(ratio, table["accuracy_after"], "o-", markersize=4, color=PALETTE[0])
    unpruned = table["accuracy_after"].iloc[0]
    rows = table.set_index("iteration")
    for colour, stop in zip(PALETTE[1:], stops.itertuples(), strict=False):
        place = 1 - rows.loc[stop.iteration, "filters"] / rows["filters"].iloc[0]
        ax.axhline(unpruned - stop.allowed, color=colour, linestyle="--", linewidth=1)
        ax.plot(place, rows.loc[stop.iteration, "accuracy_after"], "s", markersize=9,
                fillstyle="none", markeredgewidth=2, color=colour,
                label=f"allowed {100 * stop.allowed:g} points: stops at {place:.0%}")  # fmt: skip
    ax.set(xlabel="filters removed", ylabel="validation accuracy after fine-tuning")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(loc="lower left", fontsize=8)
    plt.close(fig)
    return fig
