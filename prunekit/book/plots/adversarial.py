"""Figures of soft masks: the game they are learned in, their paths, candidates and choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import FancyArrowPatch, Rectangle

from prunekit.adversarial import pareto_front
from prunekit.book.plots.style import MARKERS, NEUTRAL, PALETTE, box, figure, percent, ring

MASKS = (1.0, 0.5, 0.0, 0.8, 0.0, 0.3)  # of the drawing


@figure
def the_game() -> None:
    """Who takes part: a teacher, a student with masks, and a discriminator of their outputs."""
    _, ax = plt.subplots(figsize=(9.2, 3.9))
    boxes = {
        "images": (0.9, 2.4, 1.3, "images,\nno labels", NEUTRAL),
        "teacher": (3.9, 3.9, 2.5, "teacher\n(frozen)", PALETTE[0]),
        "student": (3.9, 0.9, 2.5, "", PALETTE[1]),
        "mse": (7.0, 2.4, 2.0, "squared\ndifference", PALETTE[2]),
        "discriminator": (10.2, 2.4, 2.3, "discriminator:\nwhose output?", PALETTE[3]),
    }
    for x, y, width, text, colour in boxes.values():
        box(ax, x, y, width, 1.1, edgecolor=colour)
        ax.text(x, y, text, ha="center", va="center")
    ax.text(3.9, 1.18, "student, a copy", ha="center", va="center")
    for place, mask in enumerate(MASKS):
        left = 2.92 + 0.34 * place
        ax.add_patch(Rectangle((left, 0.38), 0.24, 0.5, facecolor="0.93"))
        ax.add_patch(Rectangle((left, 0.38), 0.24, 0.5 * mask, facecolor=PALETTE[1]))
    arrows = [
        *(((1.6, 2.7), (2.6, 3.7)), ((1.6, 2.1), (2.6, 1.1))),
        *(((5.2, 3.7), (6.5, 3.05)), ((5.2, 1.1), (6.5, 1.75))),
        *(((5.2, 4.1), (9.6, 3.05)), ((5.2, 0.7), (9.6, 1.75))),
    ]
    for start, end in arrows:
        ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color="0.3"))
    ax.text(7.5, 3.75, "outputs", ha="center", fontsize=9, color="0.3")
    ax.text(3.9, -0.25, "masks: each costs what it measures", ha="center", fontsize=9)
    ax.set(xlim=(0, 11.6), ylim=(-0.5, 4.7))
    ax.axis("off")


@figure
def steps_to_rest(paths: Mapping[str, Sequence[float]], rest: Sequence[float]) -> None:
    """A mask, step by step: a line a path, and dotted the places where masks should come to rest.

    Paths whose names begin with the same word share a colour; those of one
    name's further words, a style of line.
    """
    _, ax = plt.subplots(figsize=(7.4, 3.6))
    firsts = list(dict.fromkeys(name.split(",")[0] for name in paths))
    for name, path in paths.items():
        first, _, further = name.partition(",")
        style: dict[str, Any] = {
            "color": PALETTE[firsts.index(first)],
            "linestyle": "--" if further else "-",
        }
        ax.plot(range(len(path)), path, label=name, **style)
    for place in rest:
        ax.axhline(place, color="black", linestyle=":", linewidth=1)
    ax.set(xlabel="step", ylabel="mask")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))


@figure
def mask_paths(paths: np.ndarray, units: Mapping[str, int]) -> None:
    """Every mask of a network against the step of the masks, and the share of them at zero.

    Masks above 2 leave the figure.

    Parameters
    ----------
    paths
        Of shape (steps, channels): the masks of all units, one behind the other.
    units
        How many channels each unit has, in that order.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.6), width_ratios=[3, 2])
    ends = np.cumsum([0, *units.values()])
    for number, (unit, (start, end)) in enumerate(zip(units, pairwise(ends), strict=True)):
        lines = left.plot(paths[:, start:end], color=PALETTE[number], linewidth=0.6, alpha=0.7)
        lines[0].set_label(unit)
        zero = (paths[:, start:end] == 0).mean(1)
        right.plot(zero, color=PALETTE[number], label=unit)
    left.set(xlabel="step of the masks", ylabel="mask", ylim=(0, 2))
    right.set(xlabel="step of the masks", ylabel="masks at zero", ylim=(-0.02, 1.02))
    percent(right.yaxis)
    right.legend(loc="lower right")


@figure
def candidates_and_choices(table: pd.DataFrame, choices: Mapping[str, int], by: str) -> None:
    """Candidates by channels pruned and accuracy, their Pareto front, and which each rule chose.

    Parameters
    ----------
    table
        ``pruned`` and ``accuracy``, and the column ``by``, each of whose
        values has a marker. What lies far below the front and the choices
        is marked at the bottom.
    choices
        The position in the table that each rule takes. Rules that take the
        same share a ring.
    """
    _, ax = plt.subplots(figsize=(7.6, 4.2))
    front = pareto_front(table).sort_values("pruned")
    worth = pd.concat([front["accuracy"], table["accuracy"].iloc[list(choices.values())]])
    floor = worth.min() - max(0.02, 0.3 * (worth.max() - worth.min()))
    ax.plot(front["pruned"], front["accuracy"], color=NEUTRAL, linewidth=1, label="front")
    for number, (value, rows) in enumerate(table.groupby(by)):
        look: dict[str, Any] = {"marker": MARKERS[number % len(MARKERS)], "linestyle": "none"}
        ax.plot(
            *(rows["pruned"], rows["accuracy"].where(rows["accuracy"] > floor)),
            **look | {"color": PALETTE[0], "markersize": 5, "alpha": 0.6},
            label=f"{by} {value:g}",
        )
    below = table.loc[table["accuracy"] <= floor, "pruned"]
    if len(below):
        look = {"marker": "v", "linestyle": "none", "color": NEUTRAL}
        ax.plot(below, [floor] * len(below), clip_on=False, zorder=3, label="further down", **look)
    rules: dict[int, list[str]] = {}
    for rule, place in choices.items():
        rules.setdefault(place, []).append(rule)
    for number, (place, names) in enumerate(rules.items()):
        row = table.iloc[place]
        ring(ax, row["pruned"], row["accuracy"], "o", PALETTE[1 + number], ", ".join(names))
    ax.set(xlabel="channels pruned", ylabel="accuracy on validation images", ylim=(floor, None))
    percent(ax.xaxis, ax.yaxis)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))


@figure
def discriminator_losses(
    losses: Mapping[str, Sequence[float]], cannot_tell: float, tells: float
) -> None:
    """A discriminator's loss by epoch: a line a run, between what it can reach and what it cannot.

    Parameters
    ----------
    cannot_tell, tells
        The least loss where both networks' outputs are alike, and where they
        can be told apart with certainty.
    """
    _, ax = plt.subplots(figsize=(7.4, 3.4))
    for number, (name, values) in enumerate(losses.items()):
        look: dict[str, Any] = {
            "marker": MARKERS[number],
            "color": PALETTE[number],
            "markersize": 4,
        }
        ax.plot(range(1, len(values) + 1), values, label=name, **look)
    for level, text in ((cannot_tell, "cannot tell"), (tells, "tells with certainty")):
        ax.axhline(level, color="black", linestyle=":", linewidth=1)
        ax.text(1, level - 0.01, f"{text}: {level:.2f}", fontsize=8, va="top")
    ax.set(xlabel="epoch", ylabel="discriminator's loss", ylim=(tells - 0.08, None))
    ax.locator_params(axis="x", integer=True)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
