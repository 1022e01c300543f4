"""The min-heap that picks the lowest scores, as array and as tree."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, Rectangle

from prunekit.book.heap import HeapState
from prunekit.book.plots.style import PALETTE, figure, panels

ACROSS = 10.0  # width of a drawing, in the units in which an array cell is 1 wide


@figure
def heap_figure(states: Sequence[HeapState], shown: Sequence[int]) -> None:
    """Draw the states numbered in ``shown``, each as tree, array and lists of what came out."""
    _, axs = panels(len(shown), (4.6, 3.5), columns=2)
    layers = sorted({entry.layer for entry in states[0].heap})
    colours = dict(zip(layers, cycle(PALETTE), strict=False))
    capacity = len(states[0].heap)
    for ax, step in zip(axs.flat, shown, strict=False):
        ax.axis("off")
        _draw(ax, states[step], capacity, colours)
        note = textwrap.fill(f"{step}. {states[step].note}", 56)
        ax.set_title(note, fontsize=8.5, fontweight="normal")


def _draw(ax: Axes, state: HeapState, capacity: int, colours: dict[str, str]) -> None:
    depth = capacity.bit_length()
    base = 2.4  # height of the deepest row of the tree
    places = []
    for i in range(len(state.heap)):
        level = (i + 1).bit_length() - 1
        across = (i - 2**level + 1.5) / 2**level
        places.append((ACROSS * across, base + 1.35 * (depth - 1 - level)))
    for i, (x, y) in enumerate(places[1:], start=1):
        above = places[(i - 1) // 2]
        ax.plot([above[0], x], [above[1], y], color="0.6", linewidth=1, zorder=1)
    cell = min(1.0, ACROSS / capacity)
    for i, (entry, (x, y)) in enumerate(zip(state.heap, places, strict=True)):
        edge: dict[str, Any] = {"edgecolor": "black", "linewidth": 2.4 if i in state.focus else 0.6}
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
        ax.text(ACROSS, -0.25, f"kept by the floor: {kept}", fontsize=8, ha="right")
    ax.set(xlim=(-0.2, ACROSS + 0.2), ylim=(-0.6, base + 1.35 * (depth - 1) + 0.7), aspect="equal")


def _tint(colour: str) -> tuple[float, float, float]:
    """A colour light enough for black text to stand on."""
    red, green, blue = (1 - 0.45 * (1 - part) for part in to_rgb(colour))
    return red, green, blue
