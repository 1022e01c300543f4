"""Figures of filters that do the same, and of schedules that change from saliency to similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from prunekit.book.plots.activations import map_grid
from prunekit.book.plots.ranking import CRITERION_LABELS
from prunekit.book.plots.study import PERCENT
from prunekit.book.plots.style import CRITERION_COLOURS, NEUTRAL, PALETTE
from prunekit.pruning.schedule import Criteria, is_schedule, stages

SIMILARITY = PALETTE[2]
LABELS = CRITERION_LABELS | {
    "similarity_cosine": "similarity (cosine)",
    "similarity_pearson": "similarity (Pearson)",
    "similarity_filters": "similarity of filters",
}


def twin_maps(images: np.ndarray, maps: np.ndarray, pairs: pd.DataFrame) -> Figure:
    """Images in the first column, the maps of each pair side by side to the right.

    Parameters
    ----------
    images
        uint8 array of shape (examples, height, width, 3).
    maps
        Array of shape (examples, filters, map height, map width). Each map is
        drawn on its own scale, from its least to its largest value over all examples.
    pairs
        Rows ``filter``, ``twin`` and ``similarity``.
    """
    low, high = (end(maps, axis=(0, 2, 3), keepdims=True) for end in (np.min, np.max))
    scaled = (maps - low) / np.where(high > low, high - low, 1)
    groups, titles = {}, {}
    for number, pair in enumerate(pairs.itertuples(), start=1):
        name = f"pair {number}: {pair.similarity:.2f}"
        groups[name] = scaled[:, [pair.filter, pair.twin]]
        titles[name] = [f"filter {pair.filter}", f"filter {pair.twin}"]
    return map_grid(images, groups, titles)


def twin_curves(tables: Mapping[str, pd.DataFrame], threshold: float) -> Figure:
    """Share of the kept filters that have a twin, against the share removed: a line a criterion.

    The tables are those of :func:`prunekit.criteria.twins.twins_left`.
    """
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for place, (name, table) in enumerate(tables.items()):
        colour = SIMILARITY if "similarity" in name else CRITERION_COLOURS.get(name, PALETTE[place])
        axes.plot(table["ratio"], table["share"], "--" if name == "random" else "-",
                  marker="osD^vPX"[place], markersize=4, color=colour,
                  label=LABELS.get(name, name))  # fmt: skip
    axes.set(
        xlabel="filters removed",
        ylabel=f"kept filters with a twin\n(similarity of {threshold:g} or more)",
        ylim=(0, None),
    )
    axes.xaxis.set_major_formatter(PERCENT)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(title="kept by", fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    plt.close(figure)
    return figure


def schedule_bars(schedules: Mapping[str, Criteria], end: float) -> Figure:
    """Which criterion ranks while MACs go, from none to the share ``end``: a bar a schedule."""
    figure, axes = plt.subplots(figsize=(7, 0.8 + 0.36 * len(schedules)), layout="constrained")
    colours: dict[str, str] = {}
    for row, schedule in enumerate(schedules.values()):
        parts = stages(schedule) if is_schedule(schedule) else [(0, schedule)]
        ends = [start for start, _ in parts[1:]] + [end]
        for (start, criterion), until in zip(parts, ends, strict=True):
            colours.setdefault(criterion, CRITERION_COLOURS.get(criterion, SIMILARITY))
            axes.barh(row, until - start, left=start, height=0.62, color=colours[criterion])
            axes.text((start + until) / 2, row, LABELS.get(criterion, criterion), ha="center",
                      va="center", color="white", fontsize=9, fontweight="bold")  # fmt: skip
    axes.set_yticks(range(len(schedules)), schedules)
    axes.set(xlabel="MACs removed", xlim=(0, end), ylim=(len(schedules) - 0.5, -0.5))
    axes.xaxis.set_major_formatter(PERCENT)
    axes.grid(visible=False, axis="y")
    plt.close(figure)
    return figure


def switch_dots(
    networks: pd.DataFrame,
    switches: Mapping[str, float],
    unpruned: float | None = None,
    ratios: Sequence[float] | None = None,
) -> Figure:
    """Test accuracy against the place of the switch, a panel for each share of MACs removed.

    Parameters
    ----------
    networks
        Rows ``variant``, ``seed``, ``ratio`` and ``test_accuracy``: each seed is
        a ring, the mean a dot.
    switches
        For each variant the share of MACs removed at which similarity takes
        over; 0 for similarity alone, 1 for saliency alone.
    unpruned
        Accuracy before pruning, a dotted line.
    ratios
        The shares of MACs to show; all by default.
    """
    ratios = sorted(networks["ratio"].unique()) if ratios is None else ratios
    order = sorted(switches, key=switches.__getitem__)
    names = {0: "similarity\nalone", 1: "saliency\nalone"}
    figure, panels = plt.subplots(
        1, len(ratios), figsize=(0.6 + 4.2 * len(ratios), 3.6), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes, ratio in zip(panels.flat, ratios, strict=True):
        here = networks[np.isclose(networks["ratio"], ratio)]
        accuracies = [here.loc[here["variant"] == name, "test_accuracy"] for name in order]
        for place, values in enumerate(accuracies):
            axes.plot([place] * len(values), values, "o", fillstyle="none", color=NEUTRAL)
        axes.plot([v.mean() for v in accuracies], "D-", markersize=5, color=PALETTE[0],
                  label="mean over seeds")  # fmt: skip
        if unpruned is not None:
            axes.axhline(unpruned, color="black", linestyle=":", linewidth=1, label="unpruned")
        ticks = [names.get(switches[name], f"at {switches[name]:.0%}") for name in order]
        axes.set_xticks(range(len(order)), ticks, fontsize=8)
        axes.set(title=f"{ratio:.0%} of MACs removed", xlabel="similarity takes over")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    panels[0, 0].set_ylabel("test accuracy")
    panels[0, 0].legend(loc="best", fontsize=8)
    plt.close(figure)
    return figure
