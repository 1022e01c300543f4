"""Figures of filters that do the same, and of schedules that change from saliency to similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from prunekit.book.findings import over_seeds
from prunekit.book.plots.activations import map_grid
from prunekit.book.plots.criteria import looks_of
from prunekit.book.plots.style import (
    NEUTRAL,
    PALETTE,
    figure,
    ink_on,
    names_along,
    panels,
    percent,
)
from prunekit.book.readings import spans
from prunekit.pruning.schedule import Criteria


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


@figure
def twin_curves(tables: Mapping[str, pd.DataFrame], threshold: float) -> None:
    """Share of the kept filters that have a twin, against the share removed: a line a criterion.

    The tables are those of :func:`prunekit.criteria.twins.twins_left`.
    """
    _, ax = plt.subplots(figsize=(7, 3.8))
    looks = looks_of(tables)
    for name, table in tables.items():
        style = "--" if name == "random" else "-"
        ax.plot("ratio", "share", style, data=table, markersize=4, **looks[name].line)
    ax.set(
        xlabel="filters removed",
        ylabel=f"kept filters with a twin\n(similarity of {threshold:g} or more)",
        ylim=(0, None),
    )
    percent(ax.xaxis, ax.yaxis)
    ax.legend(title="kept by", loc="upper left", bbox_to_anchor=(1, 1))


@figure
def schedule_bars(schedules: Mapping[str, Criteria], end: float) -> None:
    """Which criterion ranks while MACs go, from none to the share ``end``: a bar a schedule."""
    _, ax = plt.subplots(figsize=(7, 0.8 + 0.36 * len(schedules)))
    rows = [spans(schedule, end) for schedule in schedules.values()]
    looks = looks_of(name for parts in rows for name, _, _ in parts)
    for row, parts in enumerate(rows):
        for name, start, until in parts:
            label, colour, _ = looks[name]
            bar = ax.barh(row, until - start, left=start, height=0.62, color=colour)
            text: dict[str, Any] = {"color": ink_on(colour), "fontsize": 9, "fontweight": "bold"}
            ax.bar_label(bar, [label], label_type="center", **text)
    names_along(ax.yaxis, schedules)
    ax.set(xlabel="MACs removed", xlim=(0, end), ylim=(len(schedules) - 0.5, -0.5))
    percent(ax.xaxis)


@figure
def switch_dots(
    networks: pd.DataFrame,
    switches: Mapping[str, float],
    unpruned: float | None = None,
    ratios: Sequence[float] | None = None,
) -> None:
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
    names: dict[float, str] = {0: "similarity\nalone", 1: "saliency\nalone"}
    _, axs = panels(len(ratios), (4.5, 3.6), sharey=True)
    for ax, ratio in zip(axs.flat, ratios, strict=True):
        here = networks[np.isclose(networks["ratio"], ratio)]
        for place, name in enumerate(order):
            seeds = here.loc[here["variant"] == name, "test_accuracy"]
            ax.plot([place] * len(seeds), seeds, "o", fillstyle="none", color=NEUTRAL)
        means = over_seeds(here, "test_accuracy", by=["variant"])["mean"].reindex(order)
        line = {"markersize": 5, "color": PALETTE[0], "label": "mean over seeds"}
        ax.plot(range(len(order)), means, "D-", **line)
        if unpruned is not None:
            ax.axhline(unpruned, color="black", linestyle=":", linewidth=1, label="unpruned")
        ticks = [names.get(switches[name], f"at {switches[name]:.0%}") for name in order]
        names_along(ax.xaxis, ticks, fontsize=8)
        ax.set(title=f"{ratio:.0%} of MACs removed", xlabel="similarity takes over")
        percent(ax.yaxis)
    axs[0, 0].set_ylabel("test accuracy")
    axs[0, 0].legend(loc="best")
