"""Figures of activation maps, of scores made from them, and of what the scores are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from prunekit.book.plots.style import CRITERION_COLOURS, NEUTRAL, PALETTE

ORDERS = {"strongest first": PALETTE[1], "random": NEUTRAL, "weakest first": PALETTE[0]}


def map_grid(
    images: np.ndarray, groups: Mapping[str, np.ndarray], titles: Mapping[str, Sequence[str]]
) -> Figure:
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
    counts = [maps.shape[1] for maps in groups.values()]
    columns = 1 + sum(counts) + len(counts)
    widths = [1.0]
    for count in counts:
        widths += [0.25] + [1.0] * count
    rows = len(images)
    figure, grid = plt.subplots(
        rows, columns, figsize=(9, 9 * (rows + 0.9) / sum(widths)), width_ratios=widths
    )
    grid = np.atleast_2d(grid)
    # A few very bright cells would leave the rest in the dark.
    top = np.quantile(np.concatenate([maps.ravel() for maps in groups.values()]), 0.995)
    for axes in grid.flat:
        axes.axis("off")
    for row, image in enumerate(images):
        grid[row, 0].imshow(image)
    grid[0, 0].set_title("image", fontsize=9, loc="center")
    place = 1
    for name, maps in groups.items():
        for index in range(maps.shape[1]):
            for row in range(rows):
                axes = grid[row, place + 1 + index]
                axes.imshow(maps[row, index], cmap="gray", vmin=0, vmax=top)
            text = titles[name][index]
            text = f"{name}\n{text}" if index == 0 else f"\n{text}"
            grid[0, place + 1 + index].set_title(text, fontsize=8, loc="left", weight="normal")
        place += 1 + maps.shape[1]
    plt.close(figure)
    return figure


def score_strips(rankings: Mapping[str, pd.DataFrame]) -> Figure:
    """Scores of every filter by layer, one panel a ranking; the bar is a layer's median.

    Parameters
    ----------
    rankings
        Tables with ``layer``, ``filter`` and ``score``, by panel title.
    """
    layers = list(dict.fromkeys(next(iter(rankings.values()))["layer"]))
    figure, panels = plt.subplots(
        1, len(rankings), figsize=(9, 0.9 + 0.2 * len(layers)), sharey=True, squeeze=False
    )
    rng = np.random.default_rng(0)
    for axes, (title, ranking) in zip(panels[0], rankings.items(), strict=True):
        for row, layer in enumerate(layers):
            scores = ranking.loc[ranking["layer"] == layer, "score"]
            height = row + rng.uniform(-0.3, 0.3, len(scores))
            axes.scatter(scores, height, s=4, color=CRITERION_COLOURS["activation_l2"], alpha=0.35)
            axes.plot([scores.median()] * 2, [row - 0.4, row + 0.4], color="black", linewidth=1.8)
        axes.set(title=title, xlabel="score", ylim=(len(layers) - 0.4, -0.6))
        axes.set_xlim(left=0)
    panels[0, 0].set_yticks(
        range(len(layers)), [layer.removeprefix("features.") for layer in layers]
    )
    panels[0, 0].tick_params(axis="y", labelsize=8)
    plt.close(figure)
    return figure


def chosen_by_layer(counts: pd.DataFrame) -> Figure:
    """Filters chosen in each layer (index), one set of bars a column.

    The column ``filters`` holds the size of the layer, the others what was chosen.
    """
    figure, axes = plt.subplots(figsize=(9, 3.6))
    places = np.arange(len(counts))
    chosen = [column for column in counts.columns if column != "filters"]
    width = 0.8 / len(chosen)
    for number, (column, colour) in enumerate(zip(chosen, (PALETTE[4], PALETTE[0]), strict=False)):
        shift = (number - (len(chosen) - 1) / 2) * width
        axes.bar(places + shift, counts[column], width=width, color=colour, label=column)
    labels = [
        f"{layer.removeprefix('features.')} ({size})" for layer, size in counts["filters"].items()
    ]
    axes.set_xticks(places, labels, rotation=60, ha="right", fontsize=8, rotation_mode="anchor")
    axes.set(ylabel="filters chosen", xlabel="layer (its filters)")
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper left")
    plt.close(figure)
    return figure


def agreement(table: pd.DataFrame) -> Figure:
    """Rank correlation of scores from few images with scores from many.

    Parameters
    ----------
    table
        Index: number of images. Columns: layers. Values: Spearman's rho.
    """
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    axes.plot(table.index, table, color=NEUTRAL, alpha=0.35, linewidth=1)
    median, lowest = table.median(axis=1), table.min(axis=1)
    blue = CRITERION_COLOURS["activation_l2"]
    axes.plot(median.index, median, color=blue, marker="o", label="median layer")
    axes.plot(lowest.index, lowest, color=PALETTE[1], marker="v", ls="--", label="worst layer")
    axes.plot([], [], color=NEUTRAL, alpha=0.5, linewidth=1, label="each layer")
    axes.set_xscale("log", base=2)
    axes.set_xticks(table.index, [str(count) for count in table.index])
    axes.set(xlabel="images", ylabel="rank correlation", ylim=(None, 1.02))
    axes.legend(loc="lower right")
    plt.close(figure)
    return figure


def removal_orders(table: pd.DataFrame) -> Figure:
    """Accuracy without fine-tuning as filters go, by the order in which they go.

    Parameters
    ----------
    table
        Columns ``layer``, ``order`` (key of :data:`ORDERS`), ``removed``
        (count), ``accuracy``. Several rows of one order and count, from
        repeated random orders, are drawn as a band with its mean.
    """
    layers = list(dict.fromkeys(table["layer"]))
    figure, panels = plt.subplots(1, len(layers), figsize=(9, 3.3), sharey=True, squeeze=False)
    styles = dict(zip(ORDERS, (("v", "--"), ("s", ":"), ("o", "-")), strict=True))
    for axes, layer in zip(panels[0], layers, strict=True):
        for order, colour in ORDERS.items():
            part = table[(table["layer"] == layer) & (table["order"] == order)]
            by_count = part.groupby("removed")["accuracy"]
            low, mean, high = by_count.min(), by_count.mean(), by_count.max()
            marker, line = styles[order]
            axes.plot(mean.index, mean, marker=marker, ls=line, color=colour, label=order)
            axes.fill_between(mean.index, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set(title=layer, xlabel="filters removed", ylim=(0, 1))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panels[0, 0].set_ylabel("validation accuracy")
    panels[0, -1].legend(loc="lower left")
    plt.close(figure)
    return figure


def sensitivity(accuracy: pd.Series, odd: Mapping[float, str]) -> Figure:
    """Accuracy (percent) by pruning ratio (percent), with notes at odd entries."""
    figure, axes = plt.subplots(figsize=(7.2, 3.6))
    blue = CRITERION_COLOURS["activation_l2"]
    axes.plot(accuracy.index, accuracy, marker="o", markersize=4, color=blue)
    for number, (ratio, note) in enumerate(odd.items()):
        axes.plot(ratio, accuracy[ratio], "o", markersize=10, mfc="none", color=PALETTE[1], mew=2)
        axes.annotate(
            note,
            (ratio, accuracy[ratio]),
            (4, 55 - 17 * number),
            color=PALETTE[1],
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": PALETTE[1], "shrinkB": 7, "alpha": 0.6},
            va="center",
        )
    axes.set(xlabel="pruning ratio (% of filters)", ylabel="accuracy (%)", ylim=(-3, 82))
    plt.close(figure)
    return figure
