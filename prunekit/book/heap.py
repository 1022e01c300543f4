"""The min-heap that picks the lowest scores, state by state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd


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
        if heap:
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
