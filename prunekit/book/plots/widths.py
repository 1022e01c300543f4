"""Figures of widths in one step: histograms of weights, entropies, box plots, rates, grafting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from torch import Tensor

from prunekit.book.findings import over_seeds
from prunekit.book.plots.style import (
    MARKERS,
    NEUTRAL,
    PALETTE,
    figure,
    names_along,
    panels,
    percent,
    ring,
)
from prunekit.grafting import coefficient
from prunekit.widths import entropy, fences


@figure
def weight_histograms(layers: Mapping[str, Tensor]) -> None:
    """The share of weights in each tenth of a layer's range: a panel a layer, with its entropy."""
    _, axs = panels(len(layers), (3.2, 2.6), sharey=True)
    for ax, (name, weights) in zip(axs.flat, layers.items(), strict=True):
        values = weights.detach().flatten().double().cpu().numpy()
        shares, edges = np.histogram(values, 10)
        ax.stairs(shares / len(values), edges, fill=True, color=PALETTE[0], edgecolor="white")
        ax.set(title=f"{name}\nH = {entropy(weights, 10):.2f}", xlabel="weight")
        ax.locator_params(axis="x", nbins=5)
        percent(ax.yaxis)
    axs[0, 0].set_ylabel("share of the weights")


@figure
def values_by_depth(values: Mapping[str, pd.Series]) -> None:
    """The entropy of each unit against its place in the network: a line a network."""
    _, ax = plt.subplots(figsize=(7.4, 3.6))
    for number, (network, series) in enumerate(values.items()):
        places = np.linspace(0, 1, len(series))
        look: dict[str, Any] = {
            "marker": MARKERS[number % len(MARKERS)],
            "color": PALETTE[number % len(PALETTE)],
        }
        ax.plot(places, series, markersize=4, linewidth=1, label=network, **look)
    ax.set(xlabel="place of the unit in the network", ylabel="layer entropy (nats)")
    ax.set_xticks([0, 1], ["first", "last"])
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))


@figure
def rates_by_unit(rates: Mapping[str, pd.Series]) -> None:
    """What share of its channels each unit keeps: a stepped line an allocation."""
    units = list(next(iter(rates.values())).index)
    _, ax = plt.subplots(figsize=(7.4, 3.8))
    for number, (name, series) in enumerate(rates.items()):
        colour = PALETTE[number % len(PALETTE)]
        ax.plot(
            series.to_numpy(), "o-", drawstyle="steps-mid", color=colour, markersize=4, label=name
        )
    names_along(ax.xaxis, units, rotation=90, fontsize=8 if len(units) < 30 else 5)
    ax.set(ylim=(0, 1.05), ylabel="channels kept")
    percent(ax.yaxis)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))


@figure
def own_shares(steepnesses: Sequence[float]) -> None:
    """What share a layer keeps of its own weights, by how much its entropy exceeds its peer's."""
    _, ax = plt.subplots(figsize=(6.4, 3.4))
    differences = np.linspace(-0.1, 0.1, 201)
    for number, steepness in enumerate(steepnesses):
        shares = [coefficient(one, 0, steepness=steepness) for one in differences]
        ax.plot(differences, shares, color=PALETTE[number], label=f"steepness {steepness:g}")
    ax.axhline(0.5, color=NEUTRAL, linestyle=":", linewidth=1)
    ax.set(ylim=(0, 1), xlabel="own entropy less the peer's (nats)", ylabel="share of its own")
    ax.legend(loc="upper left")


@figure
def box_plots(lists: Mapping[str, pd.Series], whisker: float = 1.5) -> None:
    """The box of each list of values by unit, its whiskers, and what lies beyond them, named.

    The whiskers end where values begin to be abnormal, at ``whisker`` times
    the height of the box from it, whether or not a value lies there.
    """
    _, axs = panels(len(lists), (3.4, 4.0))
    for ax, (name, values) in zip(axs.flat, lists.items(), strict=True):
        for unit, value in _box(ax, name, values, whisker).items():
            ax.annotate(unit, (0.32, value), va="center", fontsize=7)
        ax.set_xlim(-0.5, 1.3)


def _box(ax: Axes, name: str, values: pd.Series, whisker: float) -> pd.Series:
    """A box with a dot for each value, and those that are abnormal."""
    first, middle, third = np.quantile(values, [0.25, 0.5, 0.75])
    low, high = fences(values, whisker)
    box = {"med": middle, "q1": first, "q3": third, "whislo": low, "whishi": high}
    ax.bxp([box], positions=[0], widths=0.5, showfliers=False)
    spread = np.random.default_rng(0).uniform(-0.18, 0.18, len(values))
    ax.plot(spread, values, "o", color=PALETTE[0], markersize=4, alpha=0.7)
    abnormal = ~values.between(low, high)
    for place, value in zip(spread[abnormal], values[abnormal], strict=True):
        ring(ax, place, value, "o", PALETTE[1], "")
    ax.set_title(name)
    ax.set_xticks([])
    return values[abnormal]


@figure
def variant_dots(
    networks: pd.DataFrame,
    names: Mapping[str, str],
    before: float | None = None,
    value: str = "test_accuracy",
) -> None:
    """How good each variant of a study is: rings for seeds, a diamond for their mean.

    Parameters
    ----------
    networks
        Rows ``variant``, ``seed`` and the value.
    names
        How each variant is called on the page, in the order in which it stands.
    before
        The value of the network that all began with, a dotted line.
    value
        The column to draw.
    """
    _, ax = plt.subplots(figsize=(7.4, 0.9 + 0.42 * len(names)))
    for place, variant in enumerate(names):
        seeds = networks.loc[networks["variant"] == variant, value]
        ax.plot(seeds, [place] * len(seeds), "o", fillstyle="none", color=NEUTRAL)
    means = over_seeds(networks, value, by=["variant"])["mean"].reindex(list(names))
    ax.plot(means, range(len(names)), "D", color=PALETTE[0], markersize=6)
    if before is not None:
        ax.axvline(before, color="black", linestyle=":", linewidth=1, label="at the start")
        ax.legend(loc="best")
    names_along(ax.yaxis, names.values())
    ax.set_ylim(len(names) - 0.5, -0.5)  # from top to bottom, with room for the outer rows
    ax.locator_params(axis="x", nbins=6)
    percent(ax.xaxis)
    ax.set_xlabel(value.replace("_", " "))
