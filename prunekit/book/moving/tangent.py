"""The tangent of the Taylor step, where the reader moves the point at which it touches."""

from __future__ import annotations

import pandas as pd

from prunekit.book.moving.page import MovingFigure


def moving_tangent(curves: pd.DataFrame, slopes: pd.DataFrame) -> MovingFigure:
    """A point to drag along the cost of each filter; its tangent predicts the cost at scale 0.

    Parameters
    ----------
    curves
        Cost; a column a filter, the index is the scale of its map, from 0 to 1 or beyond.
    slopes
        Derivative of the cost by that scale, of the same shape.

    Raises
    ------
    ValueError
        The two tables are of other filters or scales, or a scale of 0 or 1 is missing.
    """
    if not (curves.index.equals(slopes.index) and curves.columns.equals(slopes.columns)):
        raise ValueError("curves and slopes must have the same scales and filters")
    if not {0.0, 1.0} <= set(curves.index):
        raise ValueError("the scales must include 0 and 1: the map removed, and as it is")
    filters = [
        {"label": name, "cost": curves[name].tolist(), "slope": slopes[name].tolist()}
        for name in curves
    ]
    data = {"scales": curves.index.tolist(), "filters": filters}
    return MovingFigure("tangent", data, "The figure above shows it at t = 1.")
