"""The range in which numbers are stored as few bits, cut short by the reader."""

from __future__ import annotations

from typing import Any

import numpy as np

from prunekit.book.moving.page import MovingFigure

#: Values that go into the page: enough for errors of two figures, and a few kilobytes.
MOST = 2000


def moving_clipping(values: Any, *, bits: int = 4) -> MovingFigure:
    """A slider for the range and one for the bits: errors by rounding and by clipping.

    Parameters
    ----------
    values
        Numbers in an array or a tensor of any shape. Of more than 2,000, as
        many go into the page as stand in the middle of equal parts of their
        sorted row, in four digits, and beside them the least and the greatest.
    bits
        Where the slider stands first, from 2 to 8.

    Raises
    ------
    ValueError
        All values are zero, or none is given.

    Examples
    --------
    >>> moving_clipping([[3, 0], [1.23456, 2]]).data["values"]
    [0.0, 1.235, 2.0, 3.0]
    """
    ordered = np.sort(np.asarray(values, dtype=float), axis=None)
    if not ordered.any():
        raise ValueError("values must be numbers of which one at least is not zero")
    count = min(MOST, len(ordered))
    # Among few, the greatest of many would weigh a thousand times what it does.
    places = ((np.arange(count) + 0.5) * len(ordered) / count).astype(int)
    chosen, ends = (
        [float(f"{value:.4g}") for value in part] for part in (ordered[places], ordered[[0, -1]])
    )
    still = "The staircase above shows the rounding of four bits."
    return MovingFigure("clipping", {"values": chosen, "ends": ends, "bits": bits}, still)
