"""Figures of the recorded studies: where filters went, and accuracy with its spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from prunekit.book.findings import over_seeds
from prunekit.book.plots.pruning import by_block
from prunekit.book.plots.ranking import CRITERION_LABELS
from prunekit.book.plots.style import CRITERION_COLOURS, NEUTRAL, PALETTE

MARKERS = dict(zip(CRITERION_COLOURS, "osD^vPX", strict=True))
AXIS_LABELS = {
    "filters_removed": "filters removed",
    "parameters_removed": "parameters removed",
    "macs_removed": "MACs removed",
    "milliseconds_removed": "time of one image saved",
}
PERCENT = PercentFormatter(1, decimals=0)


def label(variant: str) -> str:
    """A variant's name for people; a criterion's where it is one."""
    return CRITERION_LABELS.get(variant, variant.replace("_", " "))


def _look(variant: str, place: int = 0) -> dict[str, object]:
    if variant in CRITERION_COLOURS:
        return {"color": CRITERION_COLOURS[variant], "marker": MARKERS[variant]}
    return {"color": PALETTE[place % len(PALETTE)], "marker": "osD^vPX"[place % 7]}


def blocks_left(removed: pd.DataFrame, filters: pd.Series, ratios: Sequence[float]) -> Figure:
    """Filters kept in each block: a row of panels a ratio, a column a criterion.

    Parameters
    ----------
    removed
        Rows ``variant``, ``seed``, ``ratio`` and a column a layer: filters removed in total.
    filters
        Filters of each layer before pruning.
    """
    variants = list(removed["variant"].unique())
    fig, axes = plt.subplots(
        len(ratios),
        len(variants),
        figsize=(3.1 * len(variants), 0.7 + 1.35 * len(ratios)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    before = by_block(filters.to_frame().T).iloc[0]
    places = np.arange(len(before))
    for row, ratio in zip(axes, ratios, strict=True):
        row[0].set_ylabel(f"{ratio:.0%}", rotation=0, ha="right", va="center", fontweight="bold")
        for ax, variant in zip(row, variants, strict=True):
            here = removed[(removed["variant"] == variant) & np.isclose(removed["ratio"], ratio)]
            kept = before - by_block(here[filters.index])
            low, mean, high = kept.min(), kept.mean(), kept.max()
            ax.bar(places, before, color="0.88", edgecolor="0.6", linewidth=0.4, label="removed")
            ax.bar(places, mean, color=CRITERION_COLOURS.get(variant, PALETTE[0]), label="kept")
            ax.errorbar(places, mean, yerr=[mean - low, high - mean], fmt="none", ecolor="black",
                        elinewidth=0.8, capsize=2)  # fmt: skip
            ax.grid(False, axis="x")
    for ax, variant in zip(axes[0], variants, strict=True):
        ax.set_title(label(variant))
    for ax in axes[-1]:
        ax.set_xticks(places, before.index, rotation=90, fontsize=8)
    fig.supylabel("filters in each block", fontsize=9)
    axes[0, 0].legend(loc="upper left", fontsize=8)
    plt.close(fig)
    return fig


def part_bars(shares: pd.DataFrame) -> Figure:
    """Shares that add up to one as stacked horizontal bars: a row of the table a bar."""
    fig, ax = plt.subplots(figsize=(7.4, 0.9 + 0.38 * len(shares)), layout="constrained")
    left = np.zeros(len(shares))
    for colour, part in zip((PALETTE[4], PALETTE[5], PALETTE[0]), shares, strict=True):
        share = shares[part].to_numpy()
        bars = ax.barh(np.arange(len(shares)), share, left=left, color=colour, label=part)
        texts = [f"{one:.1%}" if one > 0.06 else "" for one in share]
        ax.bar_label(bars, texts, label_type="center", fontsize=8,
                     color="white" if colour == PALETTE[0] else "black")  # fmt: skip
        left += share
    ax.set_yticks(range(len(shares)), shares.index)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1))
    ax.xaxis.set_major_formatter(PERCENT)
    ax.grid(False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=8)
    plt.close(fig)
    return fig


def cut_by_block(removed: pd.DataFrame, filters: pd.Series) -> Figure:
    """Which share of each block's filters each criterion took, mean over seeds, as a table.

    ``removed`` as for :func:`blocks_left`, at one ratio.
    """
    before = by_block(filters.to_frame().T).iloc[0]
    layers = by_block(removed[filters.index])
    shares = layers.groupby(removed["variant"], sort=False).mean() / before
    fig, ax = plt.subplots(figsize=(7.4, 1.2 + 0.4 * len(shares)), layout="constrained")
    image = ax.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares.to_numpy()):
        ax.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=9,
                color="black" if share > 0.55 else "white")  # fmt: skip
    ax.set_xticks(range(len(before)), before.index)
    ax.set_yticks(range(len(shares)), [label(variant) for variant in shares.index])
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    fig.colorbar(image, label="share removed", format=PERCENT)
    plt.close(fig)
    return fig


def draw_curves(ax: Axes, networks: pd.DataFrame, x: str, y: str = "test_accuracy") -> None:
    """A line a variant through the means over seeds, with a band from the lowest to the highest."""
    for place, (variant, rows) in enumerate(networks.groupby("variant", sort=False)):
        spread = over_seeds(rows, y, by=["ratio"])
        spread = spread.assign(x=rows.groupby("ratio")[x].mean()).sort_values("x")
        look = _look(variant, place)
        ax.fill_between(spread["x"], spread["low"], spread["high"], color=look["color"], alpha=0.15,
                        linewidth=0)  # fmt: skip
        ax.plot(spread["x"], spread["mean"], **look, markersize=4, label=label(variant))
    ax.xaxis.set_major_formatter(PERCENT)
    ax.yaxis.set_major_formatter(PERCENT)


def budget_curves(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Validation accuracy after each iteration against the MACs removed: a panel a network.

    Parameters
    ----------
    tables
        For each network rows ``variant``, ``seed``, ``iteration``, ``macs`` and
        ``accuracy_after``. Lines are means over seeds, bands reach from the
        lowest to the highest.
    """
    fig, panels = plt.subplots(
        1, len(tables), figsize=(max(7, 3.2 * len(tables)), 3.8), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for ax, (name, table) in zip(panels.flat, tables.items(), strict=True):
        before = table.groupby(["variant", "seed"])["macs"].transform("first")
        rows = table.assign(macs_removed=1 - table["macs"] / before, ratio=table["iteration"])
        draw_curves(ax, rows, "macs_removed", "accuracy_after")
        ax.set(title=name, xlabel="MACs removed")
        ax.legend(loc="lower left", fontsize=8)
    panels[0, 0].set_ylabel("validation accuracy")
    plt.close(fig)
    return fig


def beside_the_thesis(networks: pd.DataFrame, thesis: Mapping[str, pd.Series]) -> Figure:
    """Ours and the thesis's accuracy against the ratio, a panel a criterion.

    ``thesis`` maps a variant to printed accuracies (fractions) by ratio; a
    variant that it lacks is drawn alone.
    """
    variants = list(networks["variant"].unique())
    fig, axes = plt.subplots(
        1, len(variants), figsize=(3.2 * len(variants), 3.4), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for ax, variant in zip(axes.flat, variants, strict=True):
        draw_curves(ax, networks[networks["variant"] == variant], "ratio")
        if variant in thesis:
            ax.plot(thesis[variant], "--", marker=".", color=NEUTRAL, label="thesis, one run")
        ax.set(title=label(variant), xlabel="filters removed", ylim=(0, 1))
        handles, names = ax.get_legend_handles_labels()
        ax.legend(handles, ["ours", *names[1:]], loc="lower left", fontsize=8)
    axes[0, 0].set_ylabel("test accuracy")
    plt.close(fig)
    return fig


def on_axes(networks: pd.DataFrame, axes: Sequence[str], floor: float | None = None) -> Figure:
    """Accuracy of every criterion against each of several savings, two panels a row.

    Parameters
    ----------
    networks
        As :func:`prunekit.book.findings.relative` returns them.
    axes
        Columns of it, such as ``macs_removed``.
    floor
        Lowest accuracy shown.
    """
    rows = -(-len(axes) // 2)
    fig, panels = plt.subplots(
        rows, min(2, len(axes)), figsize=(9, 0.6 + 3.2 * rows), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for ax in panels.flat[len(axes) :]:
        ax.axis("off")
    for ax, axis in zip(panels.flat, axes, strict=False):
        draw_curves(ax, networks.dropna(subset=[axis]), axis)
        ax.set(xlabel=AXIS_LABELS[axis], xlim=(min(0, networks[axis].min()), 1), ylim=(floor, None))
    for ax in panels[:, 0]:
        ax.set_ylabel("test accuracy")
    panels.flat[0].legend(loc="lower left", fontsize=8)
    plt.close(fig)
    return fig


def two_knees(curve: pd.Series, within: float, chord: float, drop: float = 0.01) -> Figure:
    """A curve and its knees by two rules: a limit on what is lost, and the height over a chord.

    ``curve`` holds accuracies by ratio, the first one at 0; its name is the title.
    """
    fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
    ax.plot(curve, "o-", markersize=4, color=PALETTE[0], label="mean over seeds")
    limit = curve.iloc[0] - drop
    ax.axhline(limit, color=PALETTE[1], linestyle="--", linewidth=1)
    ax.plot(within, limit, "s", markersize=10, fillstyle="none", markeredgewidth=2,
            color=PALETTE[1], label=f"rule 1, {100 * drop:g} point lost: {within:.0%}")  # fmt: skip
    ax.plot([curve.index[0], curve.index[-1]], [curve.iloc[0], curve.iloc[-1]], ":",
            color=PALETTE[2])  # fmt: skip
    ax.plot(chord, curve.loc[chord], "D", markersize=10, fillstyle="none", markeredgewidth=2,
            color=PALETTE[2], label=f"rule 2, highest above the chord: {chord:.0%}")  # fmt: skip
    ax.set(xlabel="filters removed", ylabel="test accuracy", title=curve.name or "")
    ax.xaxis.set_major_formatter(PERCENT)
    ax.yaxis.set_major_formatter(PERCENT)
    ax.legend(loc="lower left", fontsize=8)
    plt.close(fig)
    return fig


def difference_panels(differences: Mapping[str, pd.DataFrame], x: str) -> Figure:
    """Paired differences with their confidence intervals, a panel each, in points of accuracy.

    Each table is one of :func:`prunekit.book.differences.paired_differences`.
    """
    fig, axes = plt.subplots(
        1, len(differences), figsize=(4.6 * len(differences), 3.3), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for ax, (title, table) in zip(axes.flat, differences.items(), strict=True):
        points = 100 * table[["mean", "low", "high"]]
        ax.axhline(0, color="black", linewidth=0.8)
        ax.fill_between(table.index, points["low"], points["high"], color=PALETTE[0], alpha=0.2,
                        linewidth=0, label="95 % confidence interval")  # fmt: skip
        ax.plot(table.index, points["mean"], "o-", markersize=4, color=PALETTE[0], label="mean")
        ax.set(title=title, xlabel=x)
        ax.xaxis.set_major_formatter(PERCENT)
    axes[0, 0].set_ylabel("difference in accuracy (points)")
    axes[0, 0].legend(fontsize=8, loc="upper left")
    plt.close(fig)
    return fig


def budget_dots(spread: pd.DataFrame, epochs: pd.Series) -> Figure:
    """Accuracy of each variant, mean and range over seeds, against its epochs of fine-tuning.

    ``spread`` is :func:`prunekit.book.findings.over_seeds` by variant.
    """
    fig, ax = plt.subplots(figsize=(7.4, 0.9 + 0.42 * len(spread)), layout="constrained")
    places = np.arange(len(spread))
    ax.errorbar(spread["mean"], places, xerr=[spread["mean"] - spread["low"],
                spread["high"] - spread["mean"]], fmt="o", color=PALETTE[0], capsize=3)  # fmt: skip
    names = [f"{label(v)} ({epochs[v]:.1f} epochs in all)" for v in spread.index]
    ax.set_yticks(places, names)
    ax.set(xlabel="test accuracy", ylim=(len(spread) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    plt.close(fig)
    return fig


def learning_curves(history: pd.DataFrame) -> Figure:
    """Validation accuracy (left) and training loss (right) by epoch, a line a variant."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for ax, column in zip(axes, ("val_accuracy", "loss"), strict=True):
        for place, (variant, rows) in enumerate(history.groupby("variant", sort=False)):
            spread = over_seeds(rows, column, by=["epoch"])
            look = _look(variant, place)
            ax.fill_between(spread.index, spread["low"], spread["high"], color=look["color"],
                            alpha=0.15, linewidth=0)  # fmt: skip
            ax.plot(spread["mean"], **look, markersize=4, label=label(variant))
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel("validation accuracy")
    axes[0].yaxis.set_major_formatter(PERCENT)
    axes[1].set_ylabel("training loss")
    axes[0].legend(fontsize=8)
    plt.close(fig)
    return fig
