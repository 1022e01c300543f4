"""Figures of training: where weights start, how runs went, what the network gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from prunekit.book.plots.criteria import Look, looks_of
from prunekit.book.plots.style import (
    NEUTRAL,
    PALETTE,
    box,
    figure,
    names_along,
    numbers,
    panels,
    percent,
)

LOOKS = {
    "scratch": Look("from scratch", PALETTE[1], "s"),
    "frozen": Look("frozen features", PALETTE[2], "^"),
    "fine_tuned": Look("fine-tuned", PALETTE[0], "o"),
}
WAYS = {way: look.label for way, look in LOOKS.items()}


@figure
def three_ways(ways: pd.DataFrame) -> None:
    """Draw which part of a network starts from what, and which part learns.

    Parameters
    ----------
    ways
        Index: keys of :data:`WAYS`. Columns ``features_start`` (``"random"``
        or any other text), ``features_learn`` (bool), ``learning`` and
        ``parameters`` (counts). The classifier always starts random and learns.
    """
    _, ax = plt.subplots(figsize=(9, 0.4 + 1.0 * len(ways)))
    ax.set(xlim=(0, 10), ylim=(-len(ways) + 0.42, 0.55))
    ax.axis("off")
    for row, (way, fact) in enumerate(ways.iterrows()):
        ax.text(0, -row, WAYS[way], va="center", weight="bold")
        start = fact["features_start"]
        colour = "white" if start == "random" else "#cfe3f2"
        note = "random start" if start == "random" else f"start: {start}"
        note += "\nlearns" if fact["features_learn"] else "\nheld fixed"
        _part(ax, 1.75, -row, 3.9, f"features · {note}", colour, fact["features_learn"])
        _part(ax, 5.85, -row, 1.7, "classifier\nlearns", "white", True)
        share = fact["learning"] / fact["parameters"]
        text = f"{fact['learning']:,} of {fact['parameters']:,}\nparameters learn ({share:.1%})"
        ax.text(7.75, -row, text, va="center", fontsize=9)


@figure
def curves(histories: Mapping[str, pd.DataFrame]) -> None:
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
    _, axs = plt.subplots(1, 2, figsize=(9, 3.7))
    looks = looks_of(histories) | LOOKS
    for ax, column in zip(axs, ("loss", "accuracy"), strict=True):
        for name, history in histories.items():
            every = -(-len(history) // 15)  # markers of a long run would cover its line
            line = {"markersize": 4, "markevery": every, **looks[name].line}
            ax.plot("epoch", f"val_{column}", data=history, **line)
            line |= {"linestyle": "--", "alpha": 0.55, "label": ""}
            ax.plot("epoch", column, data=history, **line)
        ax.set(xlabel="epoch", ylabel=column)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    percent(axs[1].yaxis)
    axs[0].plot([], [], color=NEUTRAL, linestyle="--", label="training")
    axs[0].plot([], [], color=NEUTRAL, label="validation")
    axs[0].legend()


@figure
def repeats(table: pd.DataFrame) -> None:
    """One dot a run, one row a way; the bar marks the mean.

    ``table`` has the columns ``way`` (key of :data:`WAYS`) and ``accuracy``.
    """
    _, ax = plt.subplots(figsize=(7.2, 2.3))
    ways = list(dict.fromkeys(table["way"]))
    for row, way in enumerate(ways):
        accuracy = table.loc[table["way"] == way, "accuracy"]
        ax.plot(
            accuracy,
            np.full(len(accuracy), row),
            linestyle="",
            marker=LOOKS[way].marker,
            markersize=8,
            color=LOOKS[way].colour,
            alpha=0.75,
        )
        ax.plot([accuracy.mean()] * 2, [row - 0.3, row + 0.3], color="black", linewidth=2)
    names_along(ax.yaxis, [WAYS[way] for way in ways])
    ax.set(ylim=(len(ways) - 0.5, -0.5), xlabel="validation accuracy")
    percent(ax.xaxis)


@figure
def schedules(rates: pd.DataFrame, recorded: pd.Series | None = None) -> None:
    """Learning rate by step, one line a schedule.

    Parameters
    ----------
    rates
        Index: step. One column a schedule.
    recorded
        Learning rates of a recorded run, by step, drawn as dots.
    """
    _, ax = plt.subplots()
    for name, style in zip(rates, cycle(("-", "--", ":", "-.")), strict=False):
        ax.plot(rates.index, rates[name], style, label=name.replace("_", " "))
    if recorded is not None:
        look: dict[str, Any] = {"marker": "o", "linestyle": "", "color": "black", "markersize": 5}
        ax.plot(recorded.index, recorded, label="recorded run, end of each epoch", **look)
    ax.set(xlabel="step", ylabel="learning rate", ylim=(None, 1.4 * rates.to_numpy().max()))
    ax.legend(loc="upper right", ncols=2, fontsize=9)


@figure
def losses_by_margin(losses: pd.DataFrame) -> None:
    """Loss against the lead of the right class's output; a dot marks each lowest point.

    Index: lead. One column a smoothing.
    """
    _, ax = plt.subplots(figsize=(7.2, 3.2))
    for name, style, colour in zip(losses, cycle(("--", "-")), cycle(PALETTE), strict=False):
        ax.plot(losses.index, losses[name], style, color=colour, label=name)
        ax.plot(losses[name].idxmin(), losses[name].min(), "o", color=colour, ms=7, clip_on=False)
    ax.set(xlabel="lead of the right class over the others (logits)", ylabel="loss", ylim=(0, 3))
    ax.legend()


@figure
def chosen_by_luck(measured: np.ndarray, again: float, truth: float) -> None:
    """Measured accuracies of equally good networks, the winner, and the winner on fresh data."""
    _, ax = plt.subplots(figsize=(7.2, 3))
    ax.hist(measured, bins=12, color=PALETTE[5], edgecolor="white")
    top = ax.get_ylim()[1]
    for x, text, colour, height in (
        (truth, "truth, for all of them", "black", 1.02),
        (measured.max(), "winner, as measured", PALETTE[1], 0.86),
        (again, "winner, on fresh images", PALETTE[0], 0.7),
    ):
        ax.axvline(x, color=colour, linewidth=2, linestyle="-" if x == truth else "--")
        label = ax.annotate(
            text, (x, top * height), (4, 0), textcoords="offset points", va="center"
        )
        label.set(
            color=colour, bbox={"facecolor": "white", "alpha": 0.85, "pad": 1, "linewidth": 0}
        )
    ax.set(xlabel="accuracy", ylabel="networks", ylim=(0, top * 1.1))
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.25 * (high - low))
    percent(ax.xaxis)


@figure
def confusion(counts: np.ndarray, classes: Sequence[str]) -> None:
    """Confusion matrix in percent of each true class, with the accuracy of each class beside it.

    Parameters
    ----------
    counts
        Integer array of shape (classes, classes): rows are true, columns predicted.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    _, (ax, side) = plt.subplots(
        1, 2, figsize=(9, 5), width_ratios=(3, 1), gridspec_kw={"wspace": 0.02}
    )
    texts = np.where(counts > 0, np.char.mod("%.0f", 100 * shares), "")
    table = pd.DataFrame(shares, classes, classes)
    numbers(ax, table, texts, fontsize=8, cmap="Blues", vmin=0, vmax=1)
    names_along(ax.xaxis, classes, rotation=40, ha="right")
    ax.set(xlabel="predicted", ylabel="true", title="Percent of each true class")
    side.barh(range(len(classes)), shares.diagonal(), color=PALETTE[0])
    side.set(xlim=(0, 1), ylim=ax.get_ylim(), title="Accuracy a class")
    side.set_yticks([])
    percent(side.xaxis)


@figure
def mistakes(images: np.ndarray, titles: Sequence[str]) -> None:
    """Pictures with two lines of text each.

    ``images`` is a uint8 array of shape (examples, height, width, 3).
    """
    _, axs = panels(len(images), (9 / max(1, len(images)), 1.85))
    for ax, image, title in zip(axs[0], images, titles, strict=True):
        ax.imshow(image)
        ax.set_title(title, fontsize=8, weight="normal", loc="center")
        ax.axis("off")


def _part(ax: Axes, x: float, y: float, width: float, text: str, fill: str, learns: bool) -> None:
    edge = {"edgecolor": NEUTRAL, "linewidth": 1.2, "linestyle": (0, (4, 2))}
    if learns:
        edge = {"edgecolor": PALETTE[1], "linewidth": 2.4}
    middle = x + width / 2
    box(ax, middle, y, width, 0.6, boxstyle="round,pad=0.03", facecolor=fill, **edge)
    ax.text(middle, y, text, ha="center", va="center", fontsize=9)
