"""What the papers claim beside what the studies recorded, with a verdict by rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from prunekit.book.differences import mean_interval
from prunekit.book.measures import MEASURES
from prunekit.study.recorded import Recorded

Read = Callable[[str], Recorded]
_SIGNS = {"above": "> ", "at_least": "≥ "}
# What a value is multiplied with to stand in the unit, and the digits shown.
UNITS = {
    "%": (100, 1),
    "points": (100, 1),
    "MB": (1e-6, 2),
    "KB": (1e-3, 0),
    "times": (1, 2),
    "ms": (1, 2),
}


def verdict(values: pd.Series, thesis: float, better: str, tolerance: float) -> str:
    """Compare our values, one a seed, with the thesis's number.

    Sameness is shown, not assumed: two one-sided tests at 5 % (Schuirmann
    1987), which is to ask that the 90 % confidence interval of the mean lie
    within the tolerance. On the good side of the number there is no limit.

    Parameters
    ----------
    better
        ``higher`` or ``lower`` numbers are better; or the number should be
        ``equal``; or the claim is only that it lies ``above`` the thesis's.
        ``at_least`` is ``higher`` for what follows from a share that was set,
        of which there is no ``better``: with a greater share it would be more.
    tolerance
        What counts as the same, in the same unit.

    Returns
    -------
    str
        ``better``: the mean beats the thesis's number by more than the
        tolerance, and all of its 95 % interval beats the number itself.
        ``same``: the 90 % interval ends no further on the bad side of the
        number than the tolerance, or for ``equal`` on either side; for
        ``above``, the whole 95 % interval lies above it.
        ``not confirmed``: anything else.
        ``one seed``: there is no interval, and so no verdict.

    Examples
    --------
    >>> verdict(pd.Series([73.0, 74.0, 75.0]), 70, "higher", 1)
    'better'
    >>> verdict(pd.Series([69.8, 70.0, 70.2]), 70, "higher", 1)
    'same'
    >>> verdict(pd.Series([60.0, 74.0, 88.0]), 70, "higher", 1)
    'not confirmed'
    >>> verdict(pd.Series([73.0]), 70, "higher", 1)
    'one seed'
    """
    if len(values) < 2:
        return "one seed"
    sign = -1 if better == "lower" else 1
    (mean, wide), (_, narrow) = mean_interval(values), mean_interval(values, 0.9)
    gap = sign * (mean - thesis)
    worst = gap - narrow
    if better == "equal":
        worst = -(abs(gap) + narrow)
    if better == "above":
        return "same" if gap - wide > 0 else "not confirmed"
    if better in ("higher", "lower") and gap > tolerance and gap - wide > 0:
        return "better"
    return "same" if worst >= -tolerance - 1e-9 else "not confirmed"


def scorecard(claims: pd.DataFrame, read: Read) -> pd.DataFrame:
    """Measure each claim and judge it.

    Parameters
    ----------
    claims
        The table ``book/claims.csv``: a row a claim, with the name of a
        function in :mod:`prunekit.book.measures` and what it is given.
    read
        Returns what is recorded of a study, by name, or raises
        ``FileNotFoundError``.

    Returns
    -------
    DataFrame
        ``claim``, ``where``, ``thesis``, ``ours`` (mean ± standard deviation
        over seeds), ``seeds``, ``verdict``, ``low`` and ``high`` (ends of the
        95 % interval of the mean, in the unit), ``excluded`` (whether the
        printed number lies outside of it), ``command`` (what follows
        ``python -m prunekit.study``), ``note`` and ``reason`` (why the row is
        not confirmed). A claim whose study is not recorded is ``not
        measured``, and the note says so.
    """
    rows = []
    for claim in claims.to_dict("records"):
        row = {key: claim[key] for key in ("claim", "where")}
        row["thesis"] = _SIGNS.get(claim["better"], "") + _text(claim)
        values, note = _measured(claim, read)
        factor, digits = UNITS.get(claim["unit"], (1, 0))
        values = values * factor
        row |= {"ours": _spread(values, digits, claim["unit"]), "seeds": len(values)}
        row["verdict"] = "not measured"
        if len(values):
            row["verdict"] = verdict(values, claim["thesis"], claim["better"], claim["tolerance"])
        mean, wide = mean_interval(values) if len(values) else (math.nan, math.nan)
        row |= {"low": mean - wide, "high": mean + wide}
        row["excluded"] = abs(mean - claim["thesis"]) > wide
        row["command"] = _string(claim["command"])
        rows.append(row | {"note": note, "reason": _string(claim.get("reason"))})
    return pd.DataFrame(rows)


def _measured(claim: Mapping[str, Any], read: Read) -> tuple[pd.Series, str]:
    note, nothing = _string(claim["note"]), pd.Series(dtype=float)
    waiting = f"{note}; not recorded yet" if note else "not recorded yet"
    if not _string(claim["measure"]):
        return nothing, note
    try:
        recorded = read(claim["study"])
        there = {record["settings"]["variant"] for record in recorded.records().values()}
        declared = {settings["variant"] for settings in recorded.study.runs.values()}
        if {claim["variant"], claim["other"]} & declared <= there:
            return MEASURES[claim["measure"]](recorded, claim).dropna(), note
        return nothing, waiting
    except FileNotFoundError:
        return nothing, waiting


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _text(claim: Mapping[str, Any]) -> str:
    unit = "point" if (claim["unit"], claim["thesis"]) == ("points", 1) else _string(claim["unit"])
    return f"{claim['thesis']:g} {unit}".strip()


def _spread(values: pd.Series, digits: int, unit: object) -> str:
    if values.empty:
        return ""
    spread = f" ± {values.std():,.{digits}f}" if len(values) > 1 and values.std() > 0 else ""
    return f"{values.mean():,.{digits}f}{spread} {_string(unit)}".strip()
