"""Two criteria as a plane: the reader turns and moves the line that cuts off the lowest filters."""

from __future__ import annotations

from itertools import groupby

import pandas as pd

from prunekit.book.moving.page import MovingFigure
from prunekit.book.plots.criteria import label_of
from prunekit.selection import LEAST


def moving_plane(scores: pd.DataFrame, x: str, y: str) -> MovingFigure:
    """Each filter a point, at its places in two rankings; the lowest weighted sums are removed.

    Those struck are the ones that :func:`prunekit.select` takes of these sums,
    with its usual floor, where no filters are coupled.

    Parameters
    ----------
    scores
        A row a filter: ``layer`` and a column for each criterion, layer by
        layer as :func:`prunekit.rank` lists them. Equal scores share a place,
        as in the criterion ``combined_ranks``.
    x, y
        Two of its columns.

    Raises
    ------
    ValueError
        The rows of a layer do not follow one another.
    """
    sizes = [len(list(rows)) for _, rows in groupby(scores["layer"])]
    if len(sizes) > scores["layer"].nunique():
        raise ValueError("scores: the filters of a layer must follow one another")
    data = {"sizes": sizes, "least": LEAST}
    for axis, name in (("x", x), ("y", y)):
        places = scores[name].rank(method="dense").astype(int)
        data[axis] = {"label": label_of(name), "places": places.tolist()}
    return MovingFigure(
        "plane", data, "The figure above shows it for one layer, with equal weights."
    )
