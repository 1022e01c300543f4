"""The thesis's tables in full: as claims for a scorecard, and to see how far patterns lie apart."""

from __future__ import annotations

import pandas as pd

from prunekit.book.findings import RUN, layers_of
from prunekit.book.readings import by_block

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


def pattern_distances(patterns: pd.DataFrame, removed: pd.Series) -> pd.Series:
    """How far from a printed pattern each variant's lies, once as many filters are gone.

    The distance is the share of the filters that would have to come from other
    blocks: half the sum of the absolute differences of the blocks' shares.

    Parameters
    ----------
    patterns
        The table ``pattern`` of a study.
    removed
        Filters that are printed as removed, by block.

    Returns
    -------
    Series by variant: the mean over its seeds.

    Examples
    --------
    >>> run = {"variant": "a", "seed": 0, "iteration": [1, 2], "features.0": [1, 1],
    ...        "features.3.squeeze": [1, 5]}
    >>> printed = pd.Series({"conv 0": 1, "Fire 3": 3})  # four filters: after two iterations
    >>> pattern_distances(pd.DataFrame(run), printed).to_dict()
    {'a': 0.0}
    """
    layers = layers_of(patterns)
    found = {}
    for run, rows in patterns.sort_values("iteration").groupby(RUN, sort=False):
        taken = by_block(rows[layers].cumsum())
        enough = taken[taken.sum(axis=1) >= removed.sum()]
        found[run] = distance(enough.iloc[0], removed)
    return pd.Series(found).rename_axis(RUN).groupby(level="variant", sort=False).mean()


def distance(one: pd.Series, other: pd.Series) -> float:
    """The share that would have to come from elsewhere: 0 alike, 1 nothing in common.

    Examples
    --------
    >>> distance(pd.Series([3, 1]), pd.Series([1, 1]))
    0.25
    >>> distance(pd.Series([5, 0]), pd.Series([0, 9]))
    1.0
    """
    return float((one / one.sum() - other / other.sum()).abs().sum() / 2)


RATIO = "Pruning ratio (%)"


def _claim(**row: object) -> dict[str, object]:
    return {"unit": "%", "other": "", "command": f"run {row['study']}", "note": ""} | row
