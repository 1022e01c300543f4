"""Figures of the pruning loop: its flow chart, where filters went, what was lost and gained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Polygon
from torch import Tensor

from prunekit.book.plots.style import (
    PALETTE,
    box,
    figure,
    names_along,
    numbers,
    panels,
    percent,
    ring,
)
from prunekit.book.readings import kept_and_removed

LEFT_LABELS = {
    "filters": "filters",
    "parameters": "parameters",
    "macs": "MACs",
    "bytes": "bytes on disk",
}


def short_name(layer: str) -> str:
    """A layer's name as short as a tick label: ``3 s``, ``3 e1``, ``3 e3``."""
    name = layer.removeprefix("features.")
    for long, short in ((".squeeze", " s"), (".expand1x1", " e1"), (".expand3x3", " e3")):
        name = name.replace(long, short)
    return name


@figure
def loop_chart(count: int = 128) -> None:
    """The pruning loop as a flow chart, after figures 7.2 and 9.1 of the thesis."""
    _, ax = plt.subplots(figsize=(8.8, 3.2))
    boxes = [
        (0, 1, "Trained\nnetwork", PALETTE[0]),
        (1, 1, "Rank every filter\n(Taylor, L2, or both)", PALETTE[1]),
        (2, 1, f"Min-heap: {count} lowest\nabove each floor", PALETTE[1]),
        (3, 1, "Rebuild the network\nwithout them", PALETTE[1]),
        (3, 0, "Fine-tune on\ntraining images", PALETTE[1]),
        (2, 0, "Measure on validation\nimages, record a row", PALETTE[1]),
        (0, 0, "Smaller\nnetwork", PALETTE[0]),
    ]
    step_x, step_y = 3.3, 2.2
    for column, row, text, colour in boxes:
        x, y = column * step_x, row * step_y
        box(ax, x, y, 2.3, 0.84, edgecolor=colour)
        ax.text(x, y, text, ha="center", va="center", fontsize=8.5)
    diamond = np.array([(-1.35, 0), (0, 0.8), (1.35, 0), (0, -0.8)]) + np.array([step_x, 0])
    ax.add_patch(Polygon(diamond, facecolor="white", edgecolor=PALETTE[2], linewidth=2))
    question = "Ratio reached,\nor too much\naccuracy lost?"
    ax.text(step_x, 0, question, ha="center", va="center", fontsize=8)
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


@figure
def pattern_heatmaps(patterns: Mapping[str, pd.DataFrame]) -> None:
    """Pruning patterns side by side: filters removed by iteration (rows) and block (columns)."""
    tallest = max((len(pattern) for pattern in patterns.values()), default=0)
    fig, axs = panels(len(patterns), (4.6, 1.3 + 0.24 * tallest))
    highest = max(pattern.to_numpy().max() for pattern in patterns.values())
    for ax, (title, pattern) in zip(axs.flat, patterns.items(), strict=True):
        image = numbers(ax, pattern, "{:.0f}", fontsize=7, vmin=0, vmax=highest)
        ax.xaxis.tick_top()
        names_along(ax.xaxis, pattern.columns, rotation=45, ha="left")
        ax.set(title=title, ylabel="iteration", ylim=(tallest - 0.5, -0.5))
        ax.tick_params(length=0, labelsize=8)
    fig.colorbar(image, ax=axs, label="filters removed", shrink=0.8)


@figure
def filters_left(
    pattern: pd.DataFrame, filters: pd.Series, iterations: Sequence[int], columns: int = 2
) -> None:
    """Filters kept and removed in each layer after the given iterations.

    Parameters
    ----------
    pattern
        Filters removed; a row an iteration (its number is the index), a column a layer.
    filters
        Filters of each layer before pruning, by the same names.
    """
    size = (7 if min(columns, len(iterations)) == 1 else 4.8), 2.4
    _, axs = panels(len(iterations), size, columns, sharex=True, sharey=True)
    for ax, iteration in zip(axs.flat, iterations, strict=False):
        layers = kept_and_removed(pattern, filters, iteration)
        _stacked_by_layer(ax, layers)
        share = layers["removed"].sum() / filters.sum()
        ax.set_title(f"iteration {iteration}: {share:.0%} of filters removed", fontsize=9)
    for ax in axs[:, 0]:
        ax.set_ylabel("filters")
    axs.flat[0].legend(loc="upper left")


def _stacked_by_layer(ax: Axes, layers: pd.DataFrame) -> None:
    places = np.arange(len(layers))
    edge: dict[str, Any] = {"edgecolor": "0.6", "linewidth": 0.4}
    ax.bar(places, layers["kept"], color=PALETTE[0], label="kept")
    ax.bar(places, layers["removed"], bottom=layers["kept"], color="0.85", label="removed", **edge)
    names_along(ax.xaxis, map(short_name, layers.index), rotation=90, fontsize=7)
    ax.tick_params(labelbottom=True)


@figure
def history_curves(table: pd.DataFrame) -> None:
    """Accuracy before and after fine-tuning, and what is left, against the iteration.

    ``table`` is that of a :class:`prunekit.PruningHistory`: row 0 is the
    unpruned network.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.6))
    pruned = table[table["iteration"] > 0]
    unpruned = {"color": "0.5", "linestyle": "--", "linewidth": 1, "label": "unpruned"}
    left.axhline(table["accuracy_after"].iloc[0], **unpruned)
    before = {"linestyle": ":", "color": PALETTE[1], "label": "just after removal"}
    after = {"color": PALETTE[0], "label": "after fine-tuning"}
    dots = {"marker": "o", "markersize": 4}
    left.plot("iteration", "accuracy_before", data=pruned, **dots, **before)
    left.plot("iteration", "accuracy_after", data=table, **dots, **after)
    left.set(xlabel="iteration", ylabel="validation accuracy")
    left.legend(loc="lower left")
    # Bytes lie on top of parameters, four to each: hollow markers leave both visible.
    hollow = {"marker": "^", "markersize": 9, "fillstyle": "none", "linestyle": "none"}
    styles = (dots, dots | {"marker": "s"}, dots | {"marker": "D"}, hollow)
    for colour, style, (column, label) in zip(PALETTE, styles, LEFT_LABELS.items(), strict=False):
        share = table[column] / table[column].iloc[0]
        right.plot(table["iteration"], share, **style, color=colour, label=label)
    right.set(xlabel="iteration", ylabel="share left", ylim=(0, 1.03))
    right.legend()
    percent(left.yaxis, right.yaxis)


@figure
def trade_off(table: pd.DataFrame, stops: pd.DataFrame) -> None:
    """Accuracy against the share of filters removed, and where each allowed drop would stop.

    ``stops`` has a row an allowed drop, with the columns ``allowed`` (a
    fraction) and ``iteration``, the last one kept.
    """
    _, ax = plt.subplots(figsize=(7, 3.8))
    ratio = 1 - table["filters"] / table["filters"].iloc[0]
    ax.plot(ratio, table["accuracy_after"], "o-", markersize=4, color=PALETTE[0])
    unpruned = table["accuracy_after"].iloc[0]
    rows = table.set_index("iteration")
    for colour, stop in zip(cycle(PALETTE[1:]), stops.itertuples(), strict=False):
        place = 1 - rows.loc[stop.iteration, "filters"] / rows["filters"].iloc[0]
        ax.axhline(unpruned - stop.allowed, color=colour, linestyle="--", linewidth=1)
        label = f"allowed {100 * stop.allowed:g} points: stops at {place:.0%}"
        ring(ax, place, rows.loc[stop.iteration, "accuracy_after"], "s", colour, label)
    ax.set(xlabel="filters removed", ylabel="validation accuracy after fine-tuning")
    percent(ax.xaxis, ax.yaxis)
    ax.legend(loc="lower left")


@figure
def output_histograms(outputs: Mapping[str, Tensor], bins: int = 60) -> None:
    """How often a filter gives which value, as one outline for each tensor of outputs."""
    _, ax = plt.subplots(figsize=(7.2, 3.0))
    values = {name: output.flatten().numpy() for name, output in outputs.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), bins)
    for (name, found), style in zip(values.items(), cycle(["-", "--", ":"]), strict=False):
        counts, _ = np.histogram(found, edges)
        ax.stairs(counts / len(found), edges, label=name, linestyle=style, linewidth=1.8)
        ax.axvline(found.mean(), color=ax.patches[-1].get_edgecolor(), linestyle=style, alpha=0.5)
    ax.set(xlabel="output of the filter (upright line: mean)", ylabel="share of the outputs")
    ax.legend()
