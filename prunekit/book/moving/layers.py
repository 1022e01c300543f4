"""Filters kept in each layer, along a run or at a ratio and for a criterion of one's choice."""

from __future__ import annotations

from typing import Any

import pandas as pd

from prunekit.book.findings import PARTS, shares_by_part
from prunekit.book.moving.page import MovingFigure
from prunekit.book.plots.criteria import looks_of
from prunekit.book.plots.pruning import short_name
from prunekit.book.plots.style import PALETTE


def moving_turns(pattern: pd.DataFrame, filters: pd.Series, *, start: int = 12) -> MovingFigure:
    """A slider over the iterations of one run, from the whole network on.

    Parameters
    ----------
    pattern
        Filters removed; a row an iteration (its number is the index), a column a layer.
    filters
        Filters of each layer before pruning, by the same names.
    start
        Where the slider stands first, or as near to it as the run goes.
    """
    totals = pattern.reindex(columns=filters.index, fill_value=0).cumsum()
    whole = pd.DataFrame(0, index=[0], columns=filters.index)
    points = []
    for turn, removed in pd.concat([whole, totals]).iterrows():
        shares, gone = removed / filters, removed.sum()
        said = f"The network as it was, with {filters.sum():,} filters."
        if turn:
            said = (
                f"After iteration {turn}, {gone:,} of {filters.sum():,} filters are gone "
                f"({gone / filters.sum():.0%}). The layer that lost the largest share is "
                f"{shares.idxmax()}, with {shares.max():.0%}."
            )
        points.append(_point(turn, str(turn), removed, said))
    curves = [{"label": "kept", "colour": PALETTE[0], "points": points}]
    return _layers(filters, "iteration", start, curves, "The figure above shows six of them.")


def moving_ratio(
    removed: pd.DataFrame, filters: pd.Series, networks: pd.DataFrame, *, start: float = 0.67
) -> MovingFigure:
    """A slider over the ratio and a choice of criterion. Shown are means over seeds.

    Parameters
    ----------
    removed
        Rows ``variant``, ``seed``, ``ratio`` and a column a layer: filters
        removed in total.
    filters
        Filters of each layer before pruning.
    networks
        Rows ``variant``, ``seed``, ``ratio`` and ``test_accuracy``.
    start
        Where the slider stands first: at the ratio nearest to it.

    Raises
    ------
    ValueError
        ``removed`` has no row.
    """
    if removed.empty:
        raise ValueError("removed has no row: there is nothing to show")
    looks = looks_of(removed["variant"])
    curves = [
        {
            "label": looks[variant].label,
            "colour": looks[variant].colour,
            "points": _points(
                rows, filters, networks[networks["variant"] == variant], looks[variant].label
            ),
        }
        for variant, rows in removed.groupby("variant", sort=False)
    ]
    still = "The first figure of this chapter shows three of the ratios."
    return _layers(filters, "filters removed", start, curves, still)


def _layers(
    filters: pd.Series, along: str, start: float, curves: list[dict[str, Any]], still: str
) -> MovingFigure:
    data = {
        "layers": [short_name(layer) for layer in filters.index],
        "filters": [int(count) for count in filters],
        "along": along,
        "start": start,
        "curves": curves,
    }
    return MovingFigure("layers", data, still)


def _points(
    removed: pd.DataFrame, filters: pd.Series, networks: pd.DataFrame, label: str
) -> list[dict[str, Any]]:
    accuracy = networks.groupby("ratio")["test_accuracy"].agg(["mean", "count"])
    names = [f"in the {part.replace(' (', ' layers (')}" for part in PARTS]
    points = []
    for ratio, rows in removed.groupby("ratio"):
        mean = rows[filters.index].mean()
        shares = shares_by_part(mean.to_frame().T).iloc[0].fillna(0)
        parts = ", ".join(f"{share:.1%} {name}" for share, name in zip(shares, names, strict=True))
        seeds = int(accuracy.loc[ratio, "count"])
        said = f"{ratio:.0%} of the filters removed by {label}."
        said += f" Of those removed: {parts}." if ratio else ""
        said += f" Test accuracy {accuracy.loc[ratio, 'mean']:.1%}, mean of {seeds} "
        said += "seed." if seeds == 1 else "seeds."
        points.append(_point(ratio, f"{ratio:.0%}", mean, said))
    return points


def _point(at: float, name: str, removed: pd.Series, said: str) -> dict[str, Any]:
    name, said = (text.replace("%", "\xa0%") for text in (name, said))
    counts = [round(float(count), 1) for count in removed]
    return {"at": at, "name": name, "removed": counts, "said": said}
