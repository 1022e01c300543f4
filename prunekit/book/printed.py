"""The thesis's tables in full, as claims that a scorecard can judge."""

from __future__ import annotations

import pandas as pd

CRITERIA = {
    "L2": ("L2, table 7.1 (%)", "activation_l2"),
    "Taylor": ("Taylor, table 8.2 (%)", "taylor"),
}


def accuracy_claims(printed: pd.DataFrame, study: str) -> pd.DataFrame:
    """Tables 7.1 and 8.2: accuracy at each pruning ratio, a claim an entry.

    A ratio of 100 % is left out: no network is left to be measured.

    Parameters
    ----------
    printed
        The table ``book/thesis_accuracy.csv``.
    study
        Whose variants are held against it.

    Returns
    -------
    DataFrame
        What :func:`prunekit.book.claims.scorecard` takes, and the columns
        ``criterion`` and ``ratio``, in per cent.
    """
    rows = [
        _claim(
            claim=f"Accuracy at {row[RATIO]} %, {label}",
            where="table 7.1, p. 42" if label == "L2" else "table 8.2, p. 58",
            thesis=row[column],
            better="higher",
            tolerance=1,
            measure="accuracy",
            study=study,
            variant=variant,
            at=row[RATIO] / 100,
            criterion=label,
            ratio=row[RATIO],
        )
        for row in printed[printed[RATIO] < 100].to_dict("records")
        for label, (column, variant) in CRITERIA.items()
    ]
    return pd.DataFrame(rows)


def pattern_claims(printed: pd.DataFrame, study: str) -> pd.DataFrame:
    """Table 8.1: the share of all removed filters that each block gave, a claim a block.

    Parameters
    ----------
    printed
        The table ``book/thesis_pattern.csv``.

    Returns
    -------
    DataFrame
        As of :func:`accuracy_claims`, with the column ``block``.
    """
    total = printed.set_index("Iteration").loc["Total"]
    removed = int(total["Total"])
    rows = [
        _claim(
            claim=f"Removed filters from {block}, Taylor",
            where="table 8.1, p. 55",
            thesis=round(100 * count / removed, 1),
            better="equal",
            tolerance=5,
            measure="share_of_part",
            study=study,
            variant="taylor",
            other=block,
            at=removed,
            block=block,
        )
        for block, count in total.drop("Total").items()
    ]
    return pd.DataFrame(rows)


RATIO = "Pruning ratio (%)"


def _claim(**row: object) -> dict[str, object]:
    return {"unit": "%", "other": "", "command": f"run {row['study']}", "note": ""} | row
