"""The knee of a recorded curve, where the reader sets the loss that is allowed."""

from __future__ import annotations

import pandas as pd

from prunekit.book.findings import over_seeds
from prunekit.book.moving.page import MovingFigure
from prunekit.book.plots.criteria import looks_of
from prunekit.book.starts import with_start


def moving_knee(networks: pd.DataFrame, start: pd.DataFrame | None = None) -> MovingFigure:
    """A slider for the allowed loss: the knee moves on validation and is read on test.

    The knee is that of :func:`prunekit.book.knees.knee_within`, of the mean
    over seeds and of each seed alone.

    Parameters
    ----------
    networks, start
        As for :func:`prunekit.book.knees.knees`.
    """
    runs = with_start(networks, start)
    looks = looks_of(runs["variant"])
    curves = []
    for variant, rows in runs.groupby("variant", sort=False):
        val, test = (over_seeds(rows, f"{part}_accuracy", ["ratio"]) for part in ("val", "test"))
        curves.append(
            {
                "label": looks[variant].label,
                "colour": looks[variant].colour,
                "ratio": sorted(rows["ratio"].unique()),
                "val": val["mean"].sort_index().tolist(),
                "test": test["mean"].sort_index().tolist(),
                "seeds": [
                    {"ratio": run.index.tolist(), "val": run.tolist()}
                    for _, one in rows.groupby("seed")
                    for run in [one.groupby("ratio")["val_accuracy"].mean()]
                ],
            }
        )
    return MovingFigure("knee", {"curves": curves}, "The figure above shows it for one point.")
