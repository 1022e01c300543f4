"""Figures of the recorded studies: where filters went, and accuracy with its spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from prunekit.book.plots.criteria import label_of, looks_of
from prunekit.book.plots.style import (
    NEUTRAL,
    PALETTE,
    band,
    figure,
    ink_on,
    names_along,
    numbers,
    panels,
    percent,
    ring,
)
from prunekit.book.readings import blocks_cut, blocks_kept, mean_curves, with_macs_removed

AXIS_LABELS = {
    "filters_removed": "filters removed",
    "parameters_removed": "parameters removed",
    "macs_removed": "MACs removed",
    "ms_removed": "time of one image saved",
}
PARTS = (PALETTE[4], PALETTE[5], PALETTE[0])


@figure
def blocks_left(removed: pd.DataFrame, filters: pd.Series, ratios: Sequence[float]) -> None:
    """Filters kept in each block: a row of panels a ratio, a column a criterion.

    Parameters
    ----------
    removed
        Rows ``variant``, ``seed``, ``ratio`` and a column a layer: filters removed in total.
    filters
        Filters of each layer before pruning.
    """
    looks = looks_of(removed["variant"])
    size = (3.2, 1.5)
    fig, axs = panels(len(ratios) * len(looks), size, len(looks), sharex=True, sharey=True)
    for row, ratio in zip(axs, ratios, strict=True):
        row[0].set_ylabel(f"{ratio:.0%}", rotation=0, ha="right", va="center", fontweight="bold")
        for ax, (variant, look) in zip(row, looks.items(), strict=True):
            here = removed[(removed["variant"] == variant) & np.isclose(removed["ratio"], ratio)]
            _kept_in_blocks(ax, blocks_kept(here, filters), look.colour)
    for ax, look in zip(axs[0], looks.values(), strict=True):
        ax.set_title(look.label)
    fig.supylabel("filters in each block", fontsize=9)
    axs[0, 0].legend(loc="upper left")


def _kept_in_blocks(ax: Axes, blocks: pd.DataFrame, colour: str) -> None:
    names_along(ax.xaxis, blocks.index, rotation=90, fontsize=8)
    if blocks["mean"].isna().all():
        ax.text(0.5, 0.5, "not recorded", transform=ax.transAxes, ha="center", color=NEUTRAL)
        return
    places, before, mean = np.arange(len(blocks)), blocks["before"], blocks["mean"]
    ax.bar(places, before, color="0.88", edgecolor="0.6", linewidth=0.4, label="removed")
    ax.bar(places, mean, color=colour, label="kept")
    ends = [mean - blocks["low"], blocks["high"] - mean]
    ax.errorbar(places, mean, ends, fmt="none", ecolor="black", elinewidth=0.8, capsize=2)


@figure
def part_bars(shares: pd.DataFrame) -> None:
    """Shares that add up to one as stacked horizontal bars: a row of the table a bar."""
    _, ax = plt.subplots(figsize=(7.4, 0.9 + 0.38 * len(shares)))
    left = np.zeros(len(shares))
    for colour, part in zip(PARTS, shares, strict=True):
        share = shares[part].to_numpy()
        bars = ax.barh(np.arange(len(shares)), share, left=left, color=colour, label=part)
        texts = [f"{one:.1%}" if one > 0.06 else "" for one in share]
        ax.bar_label(bars, texts, label_type="center", fontsize=8, color=ink_on(colour))
        left += share
    names_along(ax.yaxis, shares.index)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1))
    percent(ax.xaxis)
    ax.grid(visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


@figure
def cut_by_block(removed: pd.DataFrame, filters: pd.Series) -> None:
    """Which share of each block's filters each criterion took, mean over seeds, as a table.

    ``removed`` as for :func:`blocks_left`, at one ratio.
    """
    shares = blocks_cut(removed, filters)
    fig, ax = plt.subplots(figsize=(7.4, 1.2 + 0.4 * len(shares)))
    image = numbers(ax, shares, "{:.0%}", vmin=0, vmax=1)
    names_along(ax.yaxis, map(label_of, shares.index))
    percent(fig.colorbar(image, label="share removed").ax.yaxis)


def draw_curves(ax: Axes, networks: pd.DataFrame, x: str, y: str, at: str) -> None:
    """A line a variant through the means over seeds, with a band from the lowest to the highest.

    Rows of the same ``at`` are one point of a line.
    """
    curves = mean_curves(networks, x, y, at)
    looks = looks_of(curves)
    for variant, curve in curves.items():
        band(ax, curve, **looks[variant].line)


@figure
def budget_curves(tables: Mapping[str, pd.DataFrame]) -> None:
    """Validation accuracy after each iteration against the MACs removed: a panel a network.

    Parameters
    ----------
    tables
        For each network rows ``variant``, ``seed``, ``iteration``, ``macs`` and
        ``accuracy_after``. Lines are means over seeds, bands reach from the
        lowest to the highest.
    """
    _, axs = panels(len(tables), (max(3.2, 7 / max(1, len(tables))), 3.8), sharey=True)
    for ax, (name, table) in zip(axs.flat, tables.items(), strict=True):
        draw_curves(ax, with_macs_removed(table), "macs_removed", "accuracy_after", "iteration")
        ax.set(title=name, xlabel="MACs removed")
        percent(ax.xaxis, ax.yaxis)
        ax.legend(loc="lower left")
    axs[0, 0].set_ylabel("validation accuracy")


@figure
def beside_the_thesis(networks: pd.DataFrame, thesis: Mapping[str, pd.Series]) -> None:
    """Ours and the thesis's accuracy against the ratio, a panel a criterion.

    ``thesis`` maps a variant to printed accuracies (fractions) by ratio; a
    variant that it lacks is drawn alone.
    """
    curves = mean_curves(networks, "ratio", "test_accuracy")
    looks = looks_of(curves)
    _, axs = panels(len(curves), (3.2, 3.4), sharey=True)
    for ax, (variant, curve) in zip(axs.flat, curves.items(), strict=True):
        band(ax, curve, **looks[variant].line | {"label": "ours"})
        if variant in thesis:
            ax.plot(thesis[variant], "--", marker=".", color=NEUTRAL, label="thesis, one run")
        ax.set(title=looks[variant].label, xlabel="filters removed", ylim=(0, 1))
        percent(ax.xaxis, ax.yaxis)
        ax.legend(loc="lower left")
    axs[0, 0].set_ylabel("test accuracy")


@figure
def on_axes(networks: pd.DataFrame, axes: Sequence[str], floor: float | None = None) -> None:
    """Accuracy of every criterion against each of several savings, two panels a row.

    Parameters
    ----------
    networks
        As :func:`prunekit.book.starts.relative` returns them.
    axes
        Columns of it, such as ``macs_removed``.
    floor
        Lowest accuracy shown.
    """
    _, axs = panels(len(axes), (4.5, 3.5), columns=2, sharey=True)
    for ax, axis in zip(axs.flat, axes, strict=False):
        draw_curves(ax, networks.dropna(subset=[axis]), axis, "test_accuracy", "ratio")
        ax.set(xlabel=AXIS_LABELS[axis], xlim=(min(0, networks[axis].min()), 1), ylim=(floor, None))
        percent(ax.xaxis, ax.yaxis)
    for ax in axs[:, 0]:
        ax.set_ylabel("test accuracy")
    axs.flat[0].legend(loc="lower left", ncols=1 + len(axs.flat[0].lines) // 12)


@figure
def two_knees(curve: pd.Series, within: float, chord: float, drop: float = 0.01) -> None:
    """A curve and its knees by two rules: a limit on what is lost, and the height over a chord.

    ``curve`` holds accuracies by ratio, the first one at 0; its name is the title.
    """
    _, ax = plt.subplots(figsize=(7, 3.8))
    ax.plot(curve, "o-", markersize=4, color=PALETTE[0], label="mean over seeds")
    limit, ends = curve.iloc[0] - drop, curve.iloc[[0, -1]]
    ax.axhline(limit, color=PALETTE[1], linestyle="--", linewidth=1)
    ax.plot(ends, ":", color=PALETTE[2])
    one = f"rule 1, {100 * drop:g} point lost: {within:.0%}"
    other = f"rule 2, highest above the chord: {chord:.0%}"
    ring(ax, within, limit, "s", PALETTE[1], one)
    ring(ax, chord, curve.loc[chord], "D", PALETTE[2], other)
    ax.set(xlabel="filters removed", ylabel="validation accuracy", title=curve.name or "")
    percent(ax.xaxis, ax.yaxis)
    ax.legend(loc="lower left")


@figure
def difference_panels(differences: Mapping[str, pd.DataFrame], x: str) -> None:
    """Paired differences with their confidence intervals, a panel each, in points of accuracy.

    Each table is one of :func:`prunekit.book.differences.paired_differences`.
    """
    _, axs = panels(len(differences), (4.6, 3.3), sharey=True)
    for ax, (title, table) in zip(axs.flat, differences.items(), strict=True):
        points = 100 * table[["mean", "low", "high"]]
        ax.axhline(0, color="black", linewidth=0.8)
        interval = {"color": PALETTE[0], "alpha": 0.2, "linewidth": 0}
        interval["label"] = "95 % confidence interval"
        ax.fill_between(table.index, points["low"], points["high"], **interval)
        ax.plot(table.index, points["mean"], "o-", markersize=4, color=PALETTE[0], label="mean")
        ax.set(title=title, xlabel=x)
        percent(ax.xaxis)
    axs[0, 0].set_ylabel("difference in accuracy (points)")
    axs[0, 0].legend(loc="upper left")


@figure
def budget_dots(spread: pd.DataFrame, epochs: pd.Series) -> None:
    """Accuracy of each variant, mean and range over seeds, against its epochs of fine-tuning.

    ``spread`` is :func:`prunekit.book.findings.over_seeds` by variant.
    """
    _, ax = plt.subplots(figsize=(7.4, 0.9 + 0.42 * len(spread)))
    mean, places = spread["mean"], np.arange(len(spread))
    ends = [mean - spread["low"], spread["high"] - mean]
    ax.errorbar(mean, places, xerr=ends, fmt="o", color=PALETTE[0], capsize=3)
    names_along(ax.yaxis, [f"{label_of(v)} ({epochs[v]:.1f} epochs in all)" for v in spread.index])
    ax.set(xlabel="test accuracy", ylim=(len(spread) - 0.5, -0.5))
    percent(ax.xaxis)
