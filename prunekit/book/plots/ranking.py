"""Figures that compare what criteria say of the same filters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from prunekit.book.plots.pruning import short_name
from prunekit.book.plots.style import CRITERION_COLOURS, PALETTE

CRITERION_LABELS = {
    "activation_l2": "L2 of maps",
    "taylor": "Taylor",
    "taylor_signed": "Taylor, signed",
    "combined": "sum of scores",
    "combined_ranks": "sum of ranks",
    "weight_l1": "L1 of weights",
    "weight_l2": "L2 of weights",
    "random": "random",
}
_MARKERS = "osD^vPX*"


def cost_and_tangent(curves: pd.DataFrame, slopes: pd.Series, columns: int = 3) -> Figure:
    """The cost while one activation map is scaled from full strength down to nothing.

    Parameters
    ----------
    curves
        Cost; a column a filter, the index is the scale of its map (0 to 1 or beyond).
    slopes
        Derivative of the cost by that scale at scale 1, for each column.
    """
    columns = min(columns, curves.shape[1])
    rows = math.ceil(curves.shape[1] / columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(3.6 * columns, 3.2 * rows), squeeze=False, layout="constrained"
    )
    for ax, name in zip(axes.flat, curves, strict=False):
        cost = curves[name]
        at_one, at_zero = cost.loc[1.0], cost.loc[0.0]
        predicted = at_one - slopes[name]
        ax.plot(cost.index, cost, color=PALETTE[0], label="cost")
        ax.plot([0, 1], [predicted, at_one], "--", color=PALETTE[1], label="tangent at r")
        ax.plot(1, at_one, "o", color="black")
        ax.plot(0, at_zero, "o", color=PALETTE[0])
        ax.plot(0, predicted, "s", color=PALETTE[1])
        ax.set_title(f"{name}\ntrue change {at_zero - at_one:+.3f}, predicted {-slopes[name]:+.3f}",
                     fontsize=9)  # fmt: skip
        ax.set(xlabel="scale of the map (0 = removed)")
    axes[0, 0].set_ylabel("cost of one image")
    axes[0, 0].legend(fontsize=8)
    plt.close(fig)
    return fig


def contributions(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Each example's term as a bar, and the two ways of averaging them as lines.

    ``table`` has a row an example and a column a filter.
    """
    fig, axes = plt.subplots(
        1, table.shape[1], figsize=(3.6 * table.shape[1], 3.0), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for ax, name in zip(axes.flat, table, strict=True):
        terms = table[name].to_numpy()
        ax.bar(np.arange(1, len(terms) + 1), terms, color="0.75")
        ax.axhline(0, color="black", linewidth=0.8)
        signed, absolute = abs(terms.mean()), np.abs(terms).mean()
        ax.axhline(absolute, color=PALETTE[0], label=f"mean of |terms| = {round(absolute, 9):.2g}")
        ax.axhline(
            signed,
            color=PALETTE[1],
            linestyle="--",
            label=f"|mean of terms| = {round(signed, 9):.2g}",
        )
        ax.set(title=name, xlabel="example")
        ax.legend(fontsize=8)
    axes[0, 0].set_ylabel("term of one example")
    fig.suptitle(title)
    plt.close(fig)
    return fig


def against_truth(
    table: pd.DataFrame, criteria: Sequence[str], correlations: Mapping[str, float]
) -> Figure:
    """Scores of some filters against the change in cost that removing each one made.

    ``table`` has a row a filter: ``change`` (measured) and a column for each
    criterion.
    """
    columns = min(len(criteria), 4)
    rows = math.ceil(len(criteria) / columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(2.9 * columns, 3.0 * rows), squeeze=False, sharex=True,
        layout="constrained",
    )  # fmt: skip
    for ax, name in zip(axes.flat, criteria, strict=False):
        ax.plot(table["change"], table[name], "o", markersize=4.5, alpha=0.75, color=PALETTE[0])
        ax.set_title(f"{CRITERION_LABELS[name]}\nrank correlation {correlations[name]:+.2f}",
                     fontsize=9)  # fmt: skip
        ax.set(xlabel="true change in cost, |ΔC|", xscale="log", yscale="log")
    for ax in axes[:, 0]:
        ax.set_ylabel("score (layer-normalised)")
    plt.close(fig)
    return fig


def scores_against_scores(
    scores: pd.DataFrame, x: str, y: str, layers: Sequence[str], columns: int = 3
) -> Figure:
    """Two criteria's normalised scores of the same filters, a panel a layer.

    ``scores`` has a row a filter: ``layer`` and a column for each criterion.
    """
    columns = min(columns, len(layers))
    rows = math.ceil(len(layers) / columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(3.1 * columns, 2.9 * rows), squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(layers) :]:
        ax.axis("off")
    for ax, layer in zip(axes.flat, layers, strict=False):
        part = scores[scores["layer"] == layer]
        ax.plot(part[x], part[y], "o", markersize=3.5, alpha=0.6, color=PALETTE[0])
        correlation = part[x].corr(part[y], method="spearman")
        ax.set_title(f"{layer}\nrank correlation {correlation:+.2f}", fontsize=9)
        ax.margins(0.08)
    for ax in axes[:, 0]:
        ax.set_ylabel(f"{CRITERION_LABELS[y]} score")
    for ax in axes[-1]:
        ax.set_xlabel(f"{CRITERION_LABELS[x]} score")
    plt.close(fig)
    return fig


def layer_correlations(correlations: pd.Series) -> Figure:
    """One rank correlation a layer, as bars, in the order of the network."""
    fig, ax = plt.subplots(figsize=(8, 2.9), layout="constrained")
    places = np.arange(len(correlations))
    ax.bar(places, correlations, color=PALETTE[0])
    ax.axhline(0, color="black", linewidth=0.8)
    ax.axhline(correlations.median(), color=PALETTE[1], linestyle="--",
               label=f"median {correlations.median():.2f}")  # fmt: skip
    ax.set_xticks(places, [short_name(name) for name in correlations.index], rotation=90)
    ax.set(ylabel="Spearman's rank correlation", ylim=(min(0, correlations.min() - 0.05), 1))
    ax.grid(False, axis="x")
    ax.legend(fontsize=8)
    plt.close(fig)
    return fig


def two_readings(table: pd.DataFrame, count: int) -> Figure:
    """Sum of scores and sum of ranks in their own planes, the lowest ``count`` of each filled.

    ``table`` has a row a filter: ``x`` and ``y`` (normalised scores).
    """
    fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.9), layout="constrained")
    planes = {
        "Sum of normalised scores": table[["x", "y"]],
        "Sum of ranks": table[["x", "y"]].rank(method="dense"),
    }
    for ax, (title, plane) in zip(axes, planes.items(), strict=True):
        total = plane.sum(axis=1)
        lowest = total.sort_values(kind="stable").index[:count]
        _draw_plane(ax, plane, lowest)
        cut = total.loc[lowest].max()
        ax.axline((cut, 0), (0, cut), color=PALETTE[1], linestyle="--", linewidth=1)
        ax.set_title(title)
    axes[0].set(xlabel="L2 of maps, score", ylabel="Taylor, score")
    axes[1].set(xlabel="L2 of maps, rank (1 = lowest)", ylabel="Taylor, rank (1 = lowest)")
    plt.close(fig)
    return fig


def _draw_plane(ax: Axes, plane: pd.DataFrame, lowest: pd.Index) -> None:
    chosen = plane.index.isin(lowest)
    few = len(plane) <= 12
    style = {"linestyle": "none", "marker": "o", "markersize": 8 if few else 4}
    ax.plot(plane["x"][~chosen], plane["y"][~chosen], color=PALETTE[0], fillstyle="none", **style)
    ax.plot(plane["x"][chosen], plane["y"][chosen], color=PALETTE[0], **style)
    if few:
        for name, point in plane.iterrows():
            ax.annotate(str(name), point, (7, 4), textcoords="offset points")
    span = plane.max() - plane.min()
    ax.set(
        xlim=(plane["x"].min() - 0.1 * span["x"], plane["x"].max() + 0.15 * span["x"]),
        ylim=(plane["y"].min() - 0.1 * span["y"], plane["y"].max() + 0.15 * span["y"]),
    )


def overlap(shares: pd.DataFrame) -> Figure:
    """How many of the lowest filters of one criterion are also among another's, as a table."""
    fig, ax = plt.subplots(figsize=(5.6, 4.6), layout="constrained")
    image = ax.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares.to_numpy()):
        ax.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=9,
                color="black" if share > 0.55 else "white")  # fmt: skip
    labels = [CRITERION_LABELS[name] for name in shares.columns]
    ax.set_xticks(range(len(labels)), labels, rotation=35, ha="right")
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    fig.colorbar(image, label="share in common", format=PercentFormatter(1, decimals=0))
    plt.close(fig)
    return fig


def where_they_fall(counts: pd.DataFrame) -> Figure:
    """How many of each criterion's lowest filters lie in each layer (rows) as a bar chart."""
    fig, axes = plt.subplots(
        counts.shape[1], 1, figsize=(8, 0.8 + 1.15 * counts.shape[1]), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    places = np.arange(len(counts))
    for ax, name in zip(axes.flat, counts, strict=True):
        ax.bar(places, counts[name], color=PALETTE[0])
        ax.set_title(CRITERION_LABELS[name], fontsize=9, loc="left")
        ax.grid(False, axis="x")
    axes.flat[-1].set_xticks(places, [short_name(name) for name in counts.index], rotation=90)
    fig.supylabel("filters among the lowest")
    plt.close(fig)
    return fig


def accuracy_after_removal(table: pd.DataFrame, examples: int) -> Figure:
    """Accuracy against the number of filters removed, a line a criterion, with no fine-tuning.

    ``table``: the index is the number removed, a column a criterion. The
    band about the highest line is one standard error of a share of
    ``examples`` images.
    """
    fig, ax = plt.subplots(figsize=(7.4, 3.9), layout="constrained")
    best = table.max(axis=1)
    error = np.sqrt(best * (1 - best) / examples)
    ax.fill_between(table.index, best - error, best + error, color="0.88",
                    label="one standard error")  # fmt: skip
    for i, name in enumerate(table):
        ax.plot(table.index, table[name], marker=_MARKERS[i], markersize=5,
                color=CRITERION_COLOURS[name], label=CRITERION_LABELS[name])  # fmt: skip
    ax.set(xlabel="filters removed at once", ylabel="validation accuracy")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(fontsize=8)
    plt.close(fig)
    return fig
