"""The min-heap that picks the lowest scores, step by step, as array and as tree."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from prunekit.book.plots.style import PALETTE

WIDTH = 10.0  # of a drawing, in the units in which an array cell is 1 wide


class Entry(NamedTuple):
    """One filter in the heap; entries compare by score first."""

    score: float
    layer: str
    filter: int

    @property
    def name(self) -> str:
        return f"{self.layer}{self.filter}"


@dataclass(frozen=True)
class HeapState:
    """The heap between two steps.

    Attributes
    ----------
    heap : entries in array order; the children of position i are 2i + 1 and 2i + 2
    taken : entries taken so far, to be removed from the network
    kept : entries that came up but whose layer stood at its floor
    focus : positions the last step touched
    note : what the last step did
    """

    heap: tuple[Entry, ...]
    taken: tuple[Entry, ...]
    kept: tuple[Entry, ...]
    focus: tuple[int, ...]
    note: str


def heap_states(ranking: pd.DataFrame, count: int, min_filters: int = 2) -> list[HeapState]:
    """Every state of the heap while ``count`` filters are taken from it.

    ``ranking`` has the columns ``layer``, ``filter`` and ``score``. The
    filters taken are those of :func:`prunekit.select` for the same arguments
    when no filters are coupled; this one is for drawing the way there.

    Examples
    --------
    >>> ranking = pd.DataFrame(
    ...     {"layer": list("aaabb"), "filter": [0, 1, 2, 0, 1], "score": [5, 3, 4, 1, 2]})
    >>> [entry.name for entry in heap_states(ranking, count=2, min_filters=1)[-1].taken]
    ['b0', 'a1']
    """
    heap = [
        Entry(score, layer, index)
        for layer, index, score in ranking[["layer", "filter", "score"]].itertuples(index=False)
    ]
    left = ranking.groupby("layer").size().to_dict()
    taken: list[Entry] = []
    kept: list[Entry] = []
    states: list[HeapState] = []

    def record(note: str, *focus: int) -> None:
        states.append(HeapState(tuple(heap), tuple(taken), tuple(kept), focus, note))

    record("The scores as the layers gave them: not a heap yet")
    for position in reversed(range(len(heap) // 2)):
        _sift_down(heap, position, record)
    record("No parent exceeds a child: this is a heap, its root the lowest score", 0)
    while heap and len(taken) < count:
        lowest = heap[0]
        if left[lowest.layer] > min_filters:
            left[lowest.layer] -= 1
            taken.append(lowest)
            note = f"Take {lowest.name} ({lowest.score:g})"
        else:
            kept.append(lowest)
            note = f"Layer {lowest.layer} is at its floor: {lowest.name} stays"
        last = heap.pop()
        if heap:
            heap[0] = last
            note += f"; the last entry, {last.name}, moves to the root"
        record(note, 0)
        _sift_down(heap, 0, record)
    return states


def _sift_down(heap: list[Entry], position: int, record: Callable[..., None]) -> None:
    """Swap an entry with its smaller child until no child is smaller."""
    while True:
        children = [c for c in (2 * position + 1, 2 * position + 2) if c < len(heap)]
        smaller = min(children, key=heap.__getitem__, default=position)
        if heap[position] <= heap[smaller]:
            return
        heap[position], heap[smaller] = heap[smaller], heap[position]
        record(
            f"{heap[smaller].score:g} was above its smaller child {heap[position].score:g}: "
            "they swap",
            position,
            smaller,
        )
        position = smaller


def heap_figure(states: Sequence[HeapState], shown: Sequence[int], columns: int = 2) -> Figure:
    """Draw the states numbered in ``shown``, each as tree, array and lists of what came out."""
    columns = min(columns, len(shown))
    rows = math.ceil(len(shown) / columns)
    fig, grid = plt.subplots(
        rows, columns, figsize=(4.6 * columns, 3.5 * rows), squeeze=False, layout="constrained"
    )
    layers = sorted({entry.layer for entry in states[0].heap})
    colours = {layer: PALETTE[i % len(PALETTE)] for i, layer in enumerate(layers)}
    capacity = len(states[0].heap)
    for ax in grid.flat:
        ax.axis("off")
    for ax, step in zip(grid.flat, shown, strict=False):
        _draw(ax, states[step], capacity, colours)
        note = textwrap.fill(f"{step}. {states[step].note}", 56)
        ax.set_title(note, fontsize=8.5, fontweight="normal")
    plt.close(fig)
    return fig


def _draw(ax: Axes, state: HeapState, capacity: int, colours: dict[str, str]) -> None:
    depth = capacity.bit_length()
    base = 2.4  # height of the deepest row of the tree
    places = []
    for i in range(len(state.heap)):
        level = (i + 1).bit_length() - 1
        across = (i - 2**level + 1.5) / 2**level
        places.append((WIDTH * across, base + 1.35 * (depth - 1 - level)))
    for i, (x, y) in enumerate(places[1:], start=1):
        above = places[(i - 1) // 2]
        ax.plot([above[0], x], [above[1], y], color="0.6", linewidth=1, zorder=1)
    cell = min(1.0, WIDTH / capacity)
    for i, (entry, (x, y)) in enumerate(zip(state.heap, places, strict=True)):
        edge = {"edgecolor": "black", "linewidth": 2.4 if i in state.focus else 0.6}
        colour = _tint(colours[entry.layer])
        ax.add_patch(Circle((x, y), 0.55, facecolor=colour, zorder=2, **edge))
        ax.text(x, y + 0.12, f"{entry.score:g}", ha="center", va="center", fontsize=8, zorder=3)
        ax.text(x, y - 0.28, entry.name, ha="center", va="center", fontsize=6, zorder=3)
        ax.add_patch(Rectangle((i * cell, 0.6), cell, 0.8, facecolor=colour, zorder=2, **edge))
        ax.text((i + 0.5) * cell, 1.0, f"{entry.score:g}", ha="center", va="center", fontsize=8)
    for i in range(capacity):
        ax.add_patch(
            Rectangle((i * cell, 0.6), cell, 0.8, fill=False, edgecolor="0.7", linestyle=":")
        )
        ax.text((i + 0.5) * cell, 0.32, str(i), ha="center", va="center", fontsize=6, color="0.35")
    taken = ", ".join(entry.name for entry in state.taken) or "none yet"
    kept = ", ".join(entry.name for entry in state.kept)
    ax.text(0, -0.25, f"taken: {taken}", fontsize=8)
    if kept:
        ax.text(WIDTH, -0.25, f"kept by the floor: {kept}", fontsize=8, ha="right")
    ax.set(xlim=(-0.2, WIDTH + 0.2), ylim=(-0.6, base + 1.35 * (depth - 1) + 0.7), aspect="equal")


def _tint(colour: str) -> tuple[float, float, float]:
    """A colour light enough for black text to stand on."""
    rgb = plt.matplotlib.colors.to_rgb(colour)
    return tuple(1 - 0.45 * (1 - part) for part in rgb)
