"""Figures that compare what criteria say of the same filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatterSciNotation

from prunekit.book.plots.criteria import label_of, looks_of
from prunekit.book.plots.pruning import short_name
from prunekit.book.plots.style import PALETTE, figure, names_along, numbers, panels, percent
from prunekit.book.readings import lowest_sums, rank_correlations, standard_error


@figure
def cost_and_tangent(curves: pd.DataFrame, slopes: pd.Series) -> None:
    """The cost while one activation map is scaled from full strength down to nothing.

    Parameters
    ----------
    curves
        Cost; a column a filter, the index is the scale of its map (0 to 1 or beyond).
    slopes
        Derivative of the cost by that scale at scale 1, for each column.
    """
    _, axs = panels(curves.shape[1], (3.6, 3.2), columns=3)
    for ax, name in zip(axs.flat, curves, strict=False):
        cost = curves[name]
        at_one, at_zero = cost.loc[1.0], cost.loc[0.0]
        predicted = at_one - slopes[name]
        ax.plot(cost.index, cost, color=PALETTE[0], label="cost")
        ax.plot([0, 1], [predicted, at_one], "--", color=PALETTE[1], label="tangent at r")
        ax.plot(1, at_one, "o", color="black")
        ax.plot(0, at_zero, "o", color=PALETTE[0])
        ax.plot(0, predicted, "s", color=PALETTE[1])
        changes = f"true change {at_zero - at_one:+.3f}, predicted {-slopes[name]:+.3f}"
        ax.set_title(f"{name}\n{changes}", fontsize=9)
        ax.set(xlabel="scale of the map (0 = removed)")
    axs[0, 0].set_ylabel("cost of one image")
    axs[0, 0].legend()


@figure
def contributions(table: pd.DataFrame, *, title: str = "") -> None:
    """Each example's term as a bar, and the two ways of averaging them as lines.

    ``table`` has a row an example and a column a filter.
    """
    fig, axs = panels(table.shape[1], (3.6, 3.0), sharey=True)
    for ax, name in zip(axs.flat, table, strict=True):
        terms = table[name].to_numpy()
        ax.bar(np.arange(1, len(terms) + 1), terms, color="0.75")
        ax.axhline(0, color="black", linewidth=0.8)
        signed, absolute = abs(terms.mean()), np.abs(terms).mean()
        both = f"mean of |terms| = {round(absolute, 9):.2g}"
        cancelled = f"|mean of terms| = {round(signed, 9):.2g}"
        ax.axhline(absolute, color=PALETTE[0], label=both)
        ax.axhline(signed, color=PALETTE[1], linestyle="--", label=cancelled)
        ax.set(title=name, xlabel="example")
        ax.legend()
    axs[0, 0].set_ylabel("term of one example")
    fig.suptitle(title)


@figure
def against_truth(
    table: pd.DataFrame, criteria: Sequence[str], correlations: Mapping[str, float]
) -> None:
    """Scores of some filters against the change in cost that removing each one made.

    ``table`` has a row a filter: ``change`` (measured) and a column for each
    criterion.
    """
    _, axs = panels(len(criteria), (2.9, 3.0), columns=4, sharex=True)
    for ax, name in zip(axs.flat, criteria, strict=False):
        ax.plot(table["change"], table[name], "o", markersize=4.5, alpha=0.75, color=PALETTE[0])
        title = f"{label_of(name)}\nrank correlation {correlations[name]:+.2f}"
        ax.set_title(title, fontsize=9)
        ax.set(xlabel="true change in cost, |ΔC|", xscale="log", yscale="log")
        ax.tick_params(which="both", labelbottom=True, labelsize=8)
        ax.xaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(0.7, 0.1)))
    for ax in axs[:, 0]:
        ax.set_ylabel("score (layer-normalised)")


@figure
def scores_against_scores(
    scores: pd.DataFrame, x: str, y: str, layers: Sequence[str], columns: int = 3
) -> None:
    """Two criteria's normalised scores of the same filters, a panel a layer.

    ``scores`` has a row a filter: ``layer`` and a column for each criterion.
    """
    correlations = rank_correlations(scores, x, y)
    _, axs = panels(len(layers), (3.1, 2.9), columns)
    for ax, layer in zip(axs.flat, layers, strict=False):
        part = scores[scores["layer"] == layer]
        ax.plot(part[x], part[y], "o", markersize=3.5, alpha=0.6, color=PALETTE[0])
        ax.set_title(f"{layer}\nrank correlation {correlations[layer]:+.2f}", fontsize=9)
        ax.margins(0.08)
    for ax in axs[:, 0]:
        ax.set_ylabel(f"{label_of(y)} score")
    for ax in axs.flat[: len(layers)][-axs.shape[1] :]:
        ax.set_xlabel(f"{label_of(x)} score")


@figure
def layer_correlations(correlations: pd.Series) -> None:
    """One rank correlation a layer, as bars, in the order of the network."""
    _, ax = plt.subplots(figsize=(8, 2.9))
    ax.bar(range(len(correlations)), correlations, color=PALETTE[0])
    ax.axhline(0, color="black", linewidth=0.8)
    median = correlations.median()
    ax.axhline(median, color=PALETTE[1], linestyle="--", label=f"median {median:.2f}")
    names_along(ax.xaxis, map(short_name, correlations.index), rotation=90, fontsize=8)
    ax.set(ylabel="Spearman's rank correlation", ylim=(min(0, correlations.min() - 0.05), 1))
    ax.legend()


@figure
def two_readings(table: pd.DataFrame, count: int) -> None:
    """Sum of scores and sum of ranks in their own planes, the lowest ``count`` of each filled.

    ``table`` has a row a filter: ``x`` and ``y`` (normalised scores).
    """
    _, axs = plt.subplots(1, 2, figsize=(8.4, 3.9))
    planes = {
        "Sum of normalised scores": table[["x", "y"]],
        "Sum of ranks": table[["x", "y"]].rank(method="dense"),
    }
    for ax, (title, plane) in zip(axs, planes.items(), strict=True):
        chosen, cut = lowest_sums(plane, count)
        _draw_plane(ax, plane, chosen)
        ax.axline((cut, 0), (0, cut), color=PALETTE[1], linestyle="--", linewidth=1)
        ax.set_title(title)
    x, y = label_of("activation_l2"), label_of("taylor")
    axs[0].set(xlabel=f"{x}, score", ylabel=f"{y}, score")
    axs[1].set(xlabel=f"{x}, rank (1 = lowest)", ylabel=f"{y}, rank (1 = lowest)")


def _draw_plane(ax: Axes, plane: pd.DataFrame, lowest: pd.Index) -> None:
    chosen = plane.index.isin(lowest)
    few = len(plane) <= 12
    style: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 8 if few else 4}
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


@figure
def overlap(shares: pd.DataFrame) -> None:
    """How many of the lowest filters of one criterion are also among another's, as a table."""
    fig, ax = plt.subplots(figsize=(5.6, 4.6))
    image = numbers(ax, shares, "{:.0%}", vmin=0, vmax=1, aspect="equal")
    names_along(ax.xaxis, map(label_of, shares.columns), rotation=35, ha="right")
    names_along(ax.yaxis, map(label_of, shares.index))
    percent(fig.colorbar(image, label="share in common").ax.yaxis)


@figure
def where_they_fall(counts: pd.DataFrame) -> None:
    """How many of each criterion's lowest filters lie in each layer (rows) as a bar chart."""
    fig, axs = panels(counts.shape[1], (8, 1.4), columns=1, sharex=True, sharey=True)
    looks = looks_of(counts)
    for ax, name in zip(axs.flat, counts, strict=True):
        ax.bar(range(len(counts)), counts[name], color=looks[name].colour)
        ax.set_title(looks[name].label, fontsize=9)
        names_along(ax.xaxis, map(short_name, counts.index), rotation=90, fontsize=8)
    fig.supylabel("filters among the lowest")


@figure
def accuracy_after_removal(table: pd.DataFrame, examples: int) -> None:
    """Accuracy against the number of filters removed, a line a criterion, with no fine-tuning.

    ``table``: the index is the number removed, a column a criterion. The
    band about the highest line is one standard error of a share of
    ``examples`` images.
    """
    _, ax = plt.subplots(figsize=(7.4, 3.9))
    best = table.max(axis=1)
    error = standard_error(best, examples)
    band: dict[str, Any] = {"color": "0.88", "label": "one standard error"}
    ax.fill_between(table.index, best - error, best + error, **band)
    for name, look in looks_of(table).items():
        ax.plot(table.index, table[name], markersize=5, **look.line)
    ax.set(xlabel="filters removed at once", ylabel="validation accuracy")
    percent(ax.yaxis)
    ax.legend(ncols=1 + len(ax.lines) // 12)
