"""Figures of activation maps, of scores made from them, and of what the scores are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from prunekit.book.plots.criteria import colour_of
from prunekit.book.plots.pruning import short_name
from prunekit.book.plots.style import (
    NEUTRAL,
    PALETTE,
    WIDTH,
    band,
    figure,
    names_along,
    panels,
    percent,
    side_by_side,
)
from prunekit.book.readings import mean_curves

CHOSEN = (PALETTE[4], PALETTE[0], PALETTE[2], PALETTE[3])
BLUE = colour_of("activation_l2")
ORDERS = {
    "strongest first": {"color": PALETTE[1], "marker": "v", "linestyle": "--"},
    "random": {"color": NEUTRAL, "marker": "s", "linestyle": ":"},
    "weakest first": {"color": PALETTE[0], "marker": "o", "linestyle": "-"},
}


@figure
def map_grid(
    images: np.ndarray, groups: Mapping[str, np.ndarray], titles: Mapping[str, Sequence[str]]
) -> None:
    """Images in the first column, their activation maps to the right, on one grey scale.

    Parameters
    ----------
    images
        uint8 array of shape (examples, height, width, 3).
    groups
        For each group of filters, by name: array of shape (examples, filters,
        map height, map width).
    titles
        For each group, a title for each filter.
    """
    widths = [1.0]
    for maps in groups.values():
        widths += [0.25] + [1.0] * maps.shape[1]
    rows = len(images)
    high = WIDTH * (rows + 0.9) / sum(widths)
    _, axs = plt.subplots(
        rows, len(widths), figsize=(WIDTH, high), width_ratios=widths, squeeze=False
    )
    # A few very bright cells would leave the rest in the dark.
    top = np.quantile(np.concatenate([maps.ravel() for maps in groups.values()]), 0.995)
    for ax in axs.flat:
        ax.axis("off")
    for row, image in enumerate(images):
        axs[row, 0].imshow(image)
    axs[0, 0].set_title("image", fontsize=9, loc="center")
    place = 1
    for name, maps in groups.items():
        for index in range(maps.shape[1]):
            for row in range(rows):
                ax = axs[row, place + 1 + index]
                ax.imshow(maps[row, index], cmap="gray", vmin=0, vmax=top)
            text = titles[name][index]
            text = f"{name}\n{text}" if index == 0 else f"\n{text}"
            axs[0, place + 1 + index].set_title(text, fontsize=8, loc="left", weight="normal")
        place += 1 + maps.shape[1]


@figure
def score_strips(rankings: Mapping[str, pd.DataFrame]) -> None:
    """Scores of every filter by layer, one panel a ranking; the bar is a layer's median.

    Parameters
    ----------
    rankings
        Tables with ``layer``, ``filter`` and ``score``, by panel title.
    """
    layers = list(dict.fromkeys(pd.concat(rankings)["layer"]))
    size = WIDTH / max(1, len(rankings)), 0.9 + 0.2 * len(layers)
    _, axs = panels(len(rankings), size, sharey=True)
    rng = np.random.default_rng(0)
    for ax, (title, ranking) in zip(axs[0], rankings.items(), strict=True):
        for row, layer in enumerate(layers):
            scores = ranking.loc[ranking["layer"] == layer, "score"]
            height = row + rng.uniform(-0.3, 0.3, len(scores))
            ax.scatter(scores, height, s=4, color=BLUE, alpha=0.35)
            ax.plot([scores.median()] * 2, [row - 0.4, row + 0.4], color="black", linewidth=1.8)
        ax.set(title=title, xlabel="score", ylim=(len(layers) - 0.4, -0.6))
        ax.set_xlim(left=0)
    names_along(axs[0, 0].yaxis, map(short_name, layers), fontsize=8)


@figure
def chosen_by_layer(counts: pd.DataFrame) -> None:
    """Filters chosen in each layer (index), one set of bars a column.

    The column ``filters`` holds the size of the layer, the others what was chosen.
    """
    _, ax = plt.subplots(figsize=(9, 3.6))
    chosen = counts.drop(columns="filters")
    shifts, width = side_by_side(chosen.shape[1])
    for column, shift, colour in zip(chosen, shifts, cycle(CHOSEN), strict=False):
        places = np.arange(len(chosen)) + shift
        ax.bar(places, chosen[column], width, color=colour, label=column)
    names = [f"{short_name(layer)} ({size})" for layer, size in counts["filters"].items()]
    names_along(ax.xaxis, names, rotation=60, ha="right", fontsize=8, rotation_mode="anchor")
    ax.set(ylabel="filters chosen", xlabel="layer (its filters)")
    ax.legend(loc="upper left")


@figure
def agreement(table: pd.DataFrame) -> None:
    """Rank correlation of scores from few images with scores from many.

    Parameters
    ----------
    table
        Index: number of images. Columns: layers. Values: Spearman's rho.
    """
    _, ax = plt.subplots(figsize=(7.2, 3.4))
    ax.plot(table.index, table, color=NEUTRAL, alpha=0.35, linewidth=1)
    median, lowest = table.median(axis=1), table.min(axis=1)
    ax.plot(median.index, median, color=BLUE, marker="o", label="median layer")
    ax.plot(lowest.index, lowest, color=PALETTE[1], marker="v", ls="--", label="worst layer")
    ax.plot([], [], color=NEUTRAL, alpha=0.5, linewidth=1, label="each layer")
    ax.set_xscale("log", base=2)
    ax.set_xticks(table.index, [str(count) for count in table.index])
    ax.set(xlabel="images", ylabel="rank correlation", ylim=(None, 1.02))
    ax.legend(loc="lower right")


@figure
def removal_orders(table: pd.DataFrame) -> None:
    """Accuracy without fine-tuning as filters go, by the order in which they go.

    Parameters
    ----------
    table
        Columns ``layer``, ``order`` (key of :data:`ORDERS`), ``removed``
        (count), ``accuracy``. Several rows of one order and count, from
        repeated random orders, are drawn as a band with its mean.
    """
    layers = list(dict.fromkeys(table["layer"]))
    _, axs = panels(len(layers), (WIDTH / max(1, len(layers)), 3.3), sharey=True)
    for ax, layer in zip(axs[0], layers, strict=True):
        curves = mean_curves(table[table["layer"] == layer], "removed", "accuracy", by="order")
        for order, line in ORDERS.items():
            if order in curves:
                band(ax, curves[order], **line, label=order)
        ax.set(title=layer, xlabel="filters removed", ylim=(0, 1))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        percent(ax.yaxis)
    axs[0, 0].set_ylabel("validation accuracy")
    axs[0, -1].legend(loc="lower left")


@figure
def sensitivity(accuracy: pd.Series, odd: Mapping[float, str]) -> None:
    """Accuracy (percent) by pruning ratio (percent), with notes at odd entries."""
    _, ax = plt.subplots()
    ax.plot(accuracy.index, accuracy, marker="o", markersize=4, color=BLUE)
    for number, (ratio, note) in enumerate(odd.items()):
        ax.plot(ratio, accuracy[ratio], "o", markersize=10, mfc="none", color=PALETTE[1], mew=2)
        ax.annotate(
            note,
            (ratio, accuracy[ratio]),
            (4, 55 - 17 * number),
            color=PALETTE[1],
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": PALETTE[1], "shrinkB": 7, "alpha": 0.6},
            va="center",
        )
    ax.set(xlabel="pruning ratio (% of filters)", ylabel="accuracy (%)", ylim=(-3, 82))
