"""A figure of how much accuracy each unit of layers stands to lose."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from prunekit.book.plots.style import figure, numbers


@figure
def sensitivity_map(table: pd.DataFrame) -> None:
    """Accuracy lost as a heat map: a row a unit, a column a share, points of per cent in cells.

    Where several layers lose filters together, the first is named, and how
    many go with it.

    Parameters
    ----------
    table
        That of :func:`prunekit.sensitivity`.

    Raises
    ------
    ValueError
        The table has no row.
    """
    if table.empty:
        raise ValueError("there is nothing to draw: the scan has no row")
    partners = table.groupby("unit", sort=False)["layers"].first().map(len) - 1
    points = 100 * table.pivot_table("accuracy_lost", "unit", "share", sort=False)
    points.index = [f"{unit} +{more}" if more else unit for unit, more in partners.items()]
    points.columns = [f"{share:.4g}" for share in 100 * points.columns]
    fig, ax = plt.subplots(figsize=(7.2, 1.2 + 0.28 * len(points)))
    # What gains accuracy is as harmless as what loses none.
    scale = {"vmin": 0, "vmax": max(points.max(axis=None), 1)}
    image = numbers(ax, points, "{:.1f}", fontsize=8, cmap="cividis_r", **scale)
    ax.tick_params(axis="y", labelsize=8)
    ax.set_xlabel("channels removed from this unit alone (%)")
    fig.colorbar(image, ax=ax, label="accuracy lost (points)")
