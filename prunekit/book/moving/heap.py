"""The min-heap, step by step, with scores that the reader types, pushes and pops."""

from __future__ import annotations

import pandas as pd

from prunekit.book.moving.page import MovingFigure

#: Entries that a phone can draw as a tree and an array.
MOST = 15


def moving_heap(ranking: pd.DataFrame, count: int, min_filters: int = 2) -> MovingFigure:
    """The heap of a small ranking as tree and array, in the states of :func:`heap_states`.

    The reader may type other scores, push more, and take out the lowest.

    Parameters
    ----------
    ranking, count, min_filters
        As for :func:`prunekit.book.heap.heap_states`; the filters of a layer
        follow one another, numbered from 0.

    Raises
    ------
    ValueError
        The ranking has more entries than can be drawn.
    """
    if len(ranking) > MOST:
        raise ValueError(f"a heap of {len(ranking)} cannot be drawn: take {MOST} scores at most")
    scores = " ".join(
        f"{layer} " + " ".join(f"{score:g}" for score in rows)
        for layer, rows in ranking.groupby("layer", sort=False)["score"]
    )
    operations = " ".join(["pop"] * count)
    data = {"scores": scores, "operations": operations, "floor": min_filters, "most": MOST}
    return MovingFigure("heap", data, "The figure below shows it each time an entry leaves.")
