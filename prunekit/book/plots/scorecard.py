"""The scorecard as a table for the page."""

from __future__ import annotations

import pandas as pd
from pandas.io.formats.style import Styler

SIGNS = {"better": "▲", "same": "●", "not confirmed": "✕", "one seed": "○", "not measured": "–"}


def scorecard_table(card: pd.DataFrame) -> Styler:
    """A scorecard for the page: verdicts told apart by sign and word, not by colour alone.

    They come first, so that a narrow screen does not hide them.
    """
    commands = card["command"].map(lambda words: f" · <code>{words}</code>" if words else "")
    shown = pd.DataFrame(
        {
            "verdict": [f"{SIGNS[verdict]} {verdict}" for verdict in card["verdict"]],
            "claim": _above(card["claim"], card["where"] + commands),
            **card[["thesis", "ours", "note"]],
        }
    )
    return (
        _wrapped(shown, "claim", ["thesis", "ours"])
        .set_caption(
            "Under each claim: where it stands, and what to type after python -m prunekit.study."
        )
        .set_properties(subset=["note"], **{"min-width": "10em"})
        .set_properties(subset=["verdict"], **{"white-space": "nowrap", "font-weight": "bold"})
    )


def reasons_table(card: pd.DataFrame) -> Styler:
    """The rows that are not confirmed: what contradicts its claim first, then what is undecided.

    A claim is contradicted if the 95 % interval of our mean leaves out its
    number, and undecided if the number lies within.
    """
    rows = card[card["verdict"] == "not confirmed"].sort_values(
        "excluded", ascending=False, kind="stable"
    )
    low, high = (rows[end].round(2).map("{:g}".format) for end in ("low", "high"))
    shown = pd.DataFrame(
        {
            "the interval": rows["excluded"].map({True: "contradicts", False: "leaves open"}),
            "claim, and why": _above(rows["claim"], rows["reason"]),
            "thesis": rows["thesis"],
            "95 % interval": low + " to " + high,
        }
    )
    return _wrapped(shown, "claim, and why", ["thesis", "95 % interval"])


def _above(first: pd.Series, second: pd.Series) -> pd.Series:
    """Two texts of each row, the second under the first and paler."""
    return first + "<br><span class='text-muted'>" + second + "</span>"


def _wrapped(shown: pd.DataFrame, wide: str, numbers: list[str]) -> Styler:
    """A table of sentences, one column of them ``wide``, and of numbers, which are not broken."""
    text = {"white-space": "normal", "text-align": "left", "vertical-align": "top"}
    right = ", ".join(f"th.col{shown.columns.get_loc(name)}" for name in numbers)
    return (
        shown.style.hide(axis="index")
        .set_properties(**text)
        .set_properties(subset=[wide], **{"min-width": "15em"})
        .set_properties(subset=numbers, **{"white-space": "nowrap", "text-align": "right"})
        .set_table_styles(
            [
                {"selector": "", "props": "font-size: 0.85em"},
                {"selector": "th", "props": "text-align: left"},
                {"selector": right, "props": "text-align: right"},
            ]
        )
    )


def printed_table(card: pd.DataFrame, claims: pd.DataFrame, rows: str, columns: str = "") -> Styler:
    """A printed table, entry by entry: the thesis's number, ours, and the sign of the verdict.

    Parameters
    ----------
    card
        The scorecard of ``claims``, row by row.
    rows, columns
        Columns of ``claims`` that say where an entry stands. Without
        ``columns`` the table has one column of numbers.
    """
    signs = [SIGNS[verdict] for verdict in card["verdict"]]
    entries = card[["thesis", "ours"]].assign(verdict=signs)
    names = [rows, columns] if columns else [rows]
    table = entries.set_index([pd.Index(claims[name], name=name) for name in names])
    if columns:
        order = [(name, part) for name in claims[columns].unique() for part in entries]
        table = table.unstack(columns).swaplevel(axis=1)[order]  # noqa: PD010
    return table.style.set_properties(**{"white-space": "nowrap", "text-align": "right"})
