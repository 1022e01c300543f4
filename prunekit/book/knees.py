"""Where a curve of accuracy against ratio bends: two rules, found on validation, read on test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from prunekit.book.findings import RUN
from prunekit.book.starts import with_start


def knee_within(x: Sequence[float], y: Sequence[float], drop: float = 0.01) -> float:
    """The ratio at which more than ``drop`` is lost for the first time, on straight lines.

    Parameters
    ----------
    x, y
        Ratios in rising order, the first one 0, and the accuracy at each.

    Examples
    --------
    >>> knee_within([0, 0.5, 0.7, 0.8], [0.9, 0.9, 0.9, 0.8])
    0.71
    >>> knee_within([0, 0.5, 0.7, 0.8], [0.9, 0.88, 0.9, 0.8])  # what comes back is no matter
    0.25
    """
    ratios, accuracies = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    limit = accuracies[0] - drop
    below = np.flatnonzero(accuracies < limit - 1e-12)
    if not len(below):
        return float(ratios[-1])
    before, after = below[0] - 1, below[0]
    share = (accuracies[before] - limit) / (accuracies[before] - accuracies[after])
    return round(float(ratios[before] + max(share, 0.0) * (ratios[after] - ratios[before])), 12)


def knee_of_chord(x: Sequence[float], y: Sequence[float]) -> float:
    """The point that lies highest above the chord from the first to the last point.

    Both axes are first stretched to the unit interval, so units do not
    matter: the idea of Kneedle (Satopaa and others 2011), without its
    smoothing. It asks for no limit, but depends on where the curve ends.

    Raises
    ------
    ValueError
        The curve ends no lower than it begins.

    Examples
    --------
    >>> knee_of_chord([0, 0.5, 0.7, 1.0], [0.9, 0.9, 0.8, 0.1])
    0.7
    """
    ratios, accuracies = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    across = (ratios - ratios[0]) / (ratios[-1] - ratios[0])
    height = accuracies[-1] - accuracies[0]
    if height >= 0:
        raise ValueError("the curve ends no lower than it begins: it has no knee")
    return float(ratios[int(np.argmax(across - (accuracies - accuracies[0]) / height))])


def knees(
    networks: pd.DataFrame, drop: float = 0.01, start: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Both knees of each run, found on validation and read on test.

    Returns
    -------
    DataFrame
        ``variant``, ``seed``, ``within`` and ``chord`` (ratios), and
        ``accuracy_lost``: how far test accuracy lies below the start at
        ``within``.

    Raises
    ------
    ValueError
        The validation accuracy of a run ends no lower than it begins.
    """
    rows = []
    for (variant, seed), run in with_start(networks, start).groupby(RUN, sort=False):
        val, test = (run.groupby("ratio")[f"{part}_accuracy"].mean() for part in ("val", "test"))
        within = knee_within(val.index, val, drop)
        lost = float(test.iloc[0] - np.interp(within, test.index, test))
        rows.append((variant, seed, within, knee_of_chord(val.index, val), lost))
    return pd.DataFrame(rows, columns=[*RUN, "within", "chord", "accuracy_lost"])
