"""Which network to keep, of many between two opposed aims: few channels, and accuracy."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, get_args

import numpy as np
import pandas as pd

from prunekit.checks import checked, choice, number, optional, shown

Rule = Literal["harmonic", "knee", "accuracy", "last"]


def candidates(name: str, value: object) -> pd.DataFrame:
    """A table with the columns ``pruned`` and ``accuracy``, both finite, and with a row."""
    if not isinstance(value, pd.DataFrame) or not {"pruned", "accuracy"} <= set(value):
        raise TypeError(
            f"{name} must be a DataFrame with the columns pruned and accuracy, not {shown(value)}"
        )
    if value.empty:
        raise ValueError(f"{name} is empty: there is no network to choose")
    if not np.isfinite(value[["pruned", "accuracy"]].to_numpy(dtype=float)).all():
        raise ValueError(f"{name}: pruned and accuracy must be finite, and some are not")
    return value


@checked(table=candidates)
def pareto_front(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that no other row beats: more channels pruned at no less accuracy, or reverse.

    Of rows that are equal in both, the first. In the order of the table, whose
    labels play no part: those of several runs, joined, may repeat.

    Parameters
    ----------
    table
        A row for each candidate, with ``pruned`` (share of channels, say) and
        ``accuracy``.

    Examples
    --------
    >>> table = pd.DataFrame({"pruned": [0.2, 0.5, 0.4, 0.8], "accuracy": [0.9, 0.8, 0.7, 0.6]})
    >>> pareto_front(table).index.tolist()
    [0, 1, 3]
    """
    by_position = table.reset_index(drop=True)
    ordered = by_position.sort_values(["pruned", "accuracy"], ascending=False, kind="stable")
    accuracy = ordered["accuracy"].to_numpy(dtype=float)
    best_before = np.maximum.accumulate([-math.inf, *accuracy])[:-1]
    return table.iloc[np.sort(ordered.index[accuracy > best_before])]


@checked(
    table=candidates,
    rule=partial(choice, among=get_args(Rule)),
    most_macs=optional(partial(number, above=0)),
)
def choose(table: pd.DataFrame, rule: Rule = "harmonic", *, most_macs: float | None = None) -> int:
    """The position in the table of the network to keep.

    Parameters
    ----------
    rule
        ``"harmonic"``: on the front of those allowed, both indicators scaled
        to run from 0 to 1, the greatest harmonic mean ``2 P A / (P + A)``.
        ``"knee"``: scaled likewise, the farthest above the line that joins
        the front's ends. ``"accuracy"``: the most accurate of all allowed,
        GAL's rule. ``"last"``: the last one allowed.
    most_macs
        Rows with more in the column ``macs`` are not allowed.

    Raises
    ------
    ValueError
        No row is allowed.

    Notes
    -----
    That channel number and accuracy are weighed against each other is what
    the abstract of Wei and Chen (2021) says; the front and the harmonic mean
    are a reconstruction. The ends of a front have a harmonic mean of zero:
    between two rows, as between all that are equal by a rule, the more
    accurate is taken.

    Examples
    --------
    >>> table = pd.DataFrame({"pruned": [0.2, 0.5, 0.4, 0.8], "accuracy": [0.9, 0.8, 0.7, 0.6]})
    >>> [choose(table, rule) for rule in ("harmonic", "knee", "accuracy", "last")]
    [1, 1, 0, 3]
    """
    rows = table.reset_index(drop=True)
    if most_macs is not None:
        if "macs" not in rows:
            raise ValueError("the table has no column macs, which most_macs is compared with")
        rows = rows[rows["macs"] <= most_macs]
        if rows.empty:
            least = table["macs"].min()
            raise ValueError(
                f"no network has at most {most_macs:,.0f} MACs: the least is {least:,.0f}"
            )
    if rule == "last":
        return int(rows.index[-1])
    if rule != "accuracy":
        rows = pareto_front(rows)
    by_accuracy = rows.sort_values("accuracy", ascending=False, kind="stable")
    if rule == "accuracy" or len(rows) == 1:
        return int(by_accuracy.index[0])
    # On a front of two rows or more both indicators differ from row to row.
    scaled = by_accuracy[["pruned", "accuracy"]].transform(
        lambda column: (column - column.min()) / (column.max() - column.min())
    )
    pruned, accuracy = scaled["pruned"], scaled["accuracy"]
    if rule == "knee":
        return int((pruned + accuracy).idxmax())  # the line is where they add up to 1
    return int((2 * pruned * accuracy / (pruned + accuracy)).idxmax())
