"""Figures of training: where weights start, how runs went, what the network gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import PercentFormatter

from prunekit.book.plots.style import NEUTRAL, PALETTE

WAYS = {"scratch": "from scratch", "frozen": "frozen features", "fine_tuned": "fine-tuned"}
WAY_COLOURS = {"scratch": PALETTE[1], "frozen": PALETTE[2], "fine_tuned": PALETTE[0]}
MARKERS = {"scratch": "s", "frozen": "^", "fine_tuned": "o"}


def three_ways(ways: pd.DataFrame) -> Figure:
    """Draw which part of a network starts from what, and which part learns.

    Parameters
    ----------
    ways
        Index: keys of :data:`WAYS`. Columns ``features_start`` (``"random"``
        or any other text), ``features_learn`` (bool), ``learning`` and
        ``parameters`` (counts). The classifier always starts random and learns.
    """
    figure, axes = plt.subplots(figsize=(9, 0.4 + 1.0 * len(ways)))
    axes.set(xlim=(0, 10), ylim=(-len(ways) + 0.42, 0.55))
    axes.axis("off")
    for row, (way, fact) in enumerate(ways.iterrows()):
        axes.text(0, -row, WAYS[way], va="center", weight="bold")
        start = fact["features_start"]
        colour = "white" if start == "random" else "#cfe3f2"
        note = "random start" if start == "random" else f"start: {start}"
        note += "\nlearns" if fact["features_learn"] else "\nheld fixed"
        _part(axes, 1.75, -row, 3.9, f"features · {note}", colour, fact["features_learn"])
        _part(axes, 5.85, -row, 1.7, "classifier\nlearns", "white", True)
        share = fact["learning"] / fact["parameters"]
        text = f"{fact['learning']:,} of {fact['parameters']:,}\nparameters learn ({share:.1%})"
        axes.text(7.75, -row, text, va="center", fontsize=9)
    plt.close(figure)
    return figure


def curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Loss and accuracy of training runs by epoch: training dashed, validation solid.

    Parameters
    ----------
    histories
        Tables as :func:`prunekit.training.fit` returns them, by key of
        :data:`WAYS`, or by any other name.

    Examples
    --------
    >>> table = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "accuracy": [0.2, 0.5],
    ...                       "val_loss": [1.9, 1.1], "val_accuracy": [0.3, 0.5]})
    >>> [axes.get_ylabel() for axes in curves({"scratch": table}).axes]
    ['loss', 'accuracy']
    """
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.7))
    for axes, column in zip(panels, ("loss", "accuracy"), strict=True):
        for place, (name, history) in enumerate(histories.items()):
            look = {
                "color": WAY_COLOURS.get(name, PALETTE[place]),
                "marker": MARKERS.get(name, "o"),
                "markersize": 4,
            }
            axes.plot("epoch", column, data=history, linestyle="--", alpha=0.55, label="", **look)
            label = WAYS.get(name, name)
            axes.plot("epoch", f"val_{column}", data=history, label=label, **look)
        axes.set(xlabel="epoch", ylabel=column)
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes = panels[0]
    axes.plot([], [], color=NEUTRAL, linestyle="--", label="training")
    axes.plot([], [], color=NEUTRAL, label="validation")
    axes.legend()
    plt.close(figure)
    return figure


def repeats(table: pd.DataFrame) -> Figure:
    """One dot a run, one row a way; the bar marks the mean.

    ``table`` has the columns ``way`` (key of :data:`WAYS`) and ``accuracy``.
    """
    figure, axes = plt.subplots(figsize=(7.2, 2.3))
    ways = list(dict.fromkeys(table["way"]))
    for row, way in enumerate(ways):
        accuracy = table.loc[table["way"] == way, "accuracy"]
        axes.plot(
            accuracy,
            np.full(len(accuracy), row),
            linestyle="",
            marker=MARKERS[way],
            markersize=8,
            color=WAY_COLOURS[way],
            alpha=0.75,
        )
        axes.plot([accuracy.mean()] * 2, [row - 0.3, row + 0.3], color="black", linewidth=2)
    axes.set_yticks(range(len(ways)), [WAYS[way] for way in ways])
    axes.set(ylim=(len(ways) - 0.5, -0.5), xlabel="validation accuracy")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    plt.close(figure)
    return figure


def schedules(rates: pd.DataFrame, recorded: pd.Series | None = None) -> Figure:
    """Learning rate by step, one line a schedule.

    Parameters
    ----------
    rates
        Index: step. One column a schedule.
    recorded
        Learning rates of a recorded run, by step, drawn as dots.
    """
    figure, axes = plt.subplots()
    for name, style in zip(rates.columns, ("-", "--", ":"), strict=False):
        axes.plot(rates.index, rates[name], style, label=name.replace("_", " "))
    if recorded is not None:
        look = {"marker": "o", "linestyle": "", "color": "black", "markersize": 5}
        axes.plot(recorded.index, recorded, label="recorded run, end of each epoch", **look)
    axes.set(xlabel="step", ylabel="learning rate", ylim=(None, 1.4 * rates.to_numpy().max()))
    axes.legend(loc="upper right", ncols=2, fontsize=9)
    plt.close(figure)
    return figure


def losses_by_margin(losses: pd.DataFrame) -> Figure:
    """Loss against the lead of the right class's output; a dot marks each lowest point.

    Index: lead. One column a smoothing.
    """
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    for name, style, colour in zip(losses.columns, ("--", "-"), PALETTE, strict=False):
        axes.plot(losses.index, losses[name], style, color=colour, label=name)
        axes.plot(losses[name].idxmin(), losses[name].min(), "o", color=colour, ms=7, clip_on=False)
    axes.set(xlabel="lead of the right class over the others (logits)", ylabel="loss", ylim=(0, 3))
    axes.legend()
    plt.close(figure)
    return figure


def chosen_by_luck(measured: np.ndarray, again: float, truth: float) -> Figure:
    """Measured accuracies of equally good networks, the winner, and the winner on fresh data."""
    figure, axes = plt.subplots(figsize=(7.2, 3))
    axes.hist(measured, bins=12, color=PALETTE[5], edgecolor="white")
    top = axes.get_ylim()[1]
    for x, text, colour, height in (
        (truth, "truth, for all of them", "black", 1.02),
        (measured.max(), "winner, as measured", PALETTE[1], 0.86),
        (again, "winner, on fresh images", PALETTE[0], 0.7),
    ):
        axes.axvline(x, color=colour, linewidth=2, linestyle="-" if x == truth else "--")
        label = axes.annotate(
            text, (x, top * height), (4, 0), textcoords="offset points", va="center"
        )
        label.set(
            color=colour, bbox={"facecolor": "white", "alpha": 0.85, "pad": 1, "linewidth": 0}
        )
    axes.set(xlabel="accuracy", ylabel="networks", ylim=(0, top * 1.1))
    low, high = axes.get_xlim()
    axes.set_xlim(low, high + 0.25 * (high - low))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    plt.close(figure)
    return figure


def confusion(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Confusion matrix in percent of each true class, with the accuracy of each class beside it.

    Parameters
    ----------
    counts
        Integer array of shape (classes, classes): rows are true, columns predicted.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, (axes, side) = plt.subplots(
        1, 2, figsize=(9, 5), width_ratios=(3, 1), gridspec_kw={"wspace": 0.02}
    )
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*shares.shape):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = f"{100 * shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    places = range(len(classes))
    axes.set_xticks(places, classes, rotation=40, ha="right")
    axes.set_yticks(places, classes)
    axes.set(xlabel="predicted", ylabel="true", title="Percent of each true class")
    axes.grid(visible=False)
    side.barh(places, shares.diagonal(), color=PALETTE[0])
    side.set(xlim=(0, 1), ylim=axes.get_ylim(), title="Accuracy a class")
    side.set_yticks([])
    side.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    plt.close(figure)
    return figure


def mistakes(images: np.ndarray, titles: Sequence[str]) -> Figure:
    """Pictures with two lines of text each.

    ``images`` is a uint8 array of shape (examples, height, width, 3).
    """
    figure, panels = plt.subplots(1, len(images), figsize=(9, 1.85), squeeze=False)
    for axes, image, title in zip(panels[0], images, titles, strict=True):
        axes.imshow(image)
        axes.set_title(title, fontsize=8, weight="normal", loc="center")
        axes.axis("off")
    plt.close(figure)
    return figure


def _part(axes: Axes, x: float, y: float, width: float, text: str, fill: str, learns: bool) -> None:
    box = FancyBboxPatch(
        (x, y - 0.3),
        width,
        0.6,
        boxstyle="round,pad=0.03",
        facecolor=fill,
        edgecolor=PALETTE[1] if learns else NEUTRAL,
        linewidth=2.4 if learns else 1.2,
        linestyle="-" if learns else (0, (4, 2)),
    )
    axes.add_patch(box)
    axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=9)
