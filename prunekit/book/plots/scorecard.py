"""The scorecard as a table for the page."""

from __future__ import annotations

import pandas as pd
from pandas.io.formats.style import Styler


def scorecard_table(card: pd.DataFrame) -> Styler:
    """A scorecard for the page: verdicts told apart by sign and word, not by colour alone."""
    signs = {"better": "▲", "same": "●", "not confirmed": "✕", "one seed": "○", "not measured": "–"}
    shown = card.drop(columns="seeds").rename(columns={"command": "python -m prunekit.study"})
    shown["verdict"] = [f"{signs[verdict]} {verdict}" for verdict in card["verdict"]]
    wrapped = {"white-space": "normal", "text-align": "left", "vertical-align": "top"}
    numbers = {"white-space": "nowrap", "text-align": "right"}
    return (
        shown.style.hide(axis="index")
        .set_properties(**wrapped)
        .set_properties(subset=["claim", "note"], **{"min-width": "13em"})
        .set_properties(subset=["where"], **{"min-width": "8em"})
        .set_properties(subset=["thesis", "ours"], **numbers)
        .set_properties(subset=["verdict"], **{"white-space": "nowrap", "font-weight": "bold"})
        .set_table_styles(
            [
                {"selector": "", "props": "font-size: 0.85em"},
                {"selector": "th", "props": "text-align: left"},
                {"selector": "th.col2, th.col3", "props": "text-align: right"},
            ]
        )
    )
