"""Whether one way to learn masks is better than another, by accuracy and by size at once."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from prunekit.adversarial import pareto_front
from prunekit.book.differences import in_words, paired_differences, side
from prunekit.book.findings import RUN, on_axis

#: The least that a discriminator's loss can be where both networks' outputs are alike, and where
#: they can be told apart with certainty.
CANNOT_TELL, TELLS = 3 * math.log(3) - 2 * math.log(2), 2 * math.log(2)


def told(loss: float) -> float:
    """How far a discriminator's loss has come from ``CANNOT_TELL``, 0, to ``TELLS``, 1.

    Examples
    --------
    >>> told(3.0), told(TELLS), round(told((CANNOT_TELL + TELLS) / 2), 2)
    (0.0, 1.0, 0.5)
    """
    return min(1.0, max(0.0, (CANNOT_TELL - loss) / (CANNOT_TELL - TELLS)))


def told_in_words(candidates: pd.DataFrame, variant: str) -> str:
    """How far the discriminators of a variant had come at the last epoch, as text."""
    here = candidates[candidates["variant"] == variant]
    shares = here.groupby("seed")["discriminator_loss"].last().map(told)
    low, high = f"{shares.min():.0%}", f"{shares.max():.0%}"
    return low if low == high else f"{low} to {high}"


def compared(networks: pd.DataFrame, candidates: pd.DataFrame, one: str, other: str) -> str:
    """Whether one variant of a study of alignments is better than another, as Markdown.

    Parameters
    ----------
    networks
        Those that are reported: ``variant``, ``seed``, ``test_accuracy`` and
        ``macs_removed``.
    candidates
        As for :func:`at_equal_macs`.

    Returns
    -------
    str
        Empty where the two have no seed in common.
    """
    flat = networks.assign(ratio=0.0)  # shares of filters differ from run to run
    columns = {"accuracy": "test_accuracy", "MACs removed": "macs_removed"}
    found = {name: paired_differences(flat, one, other, column) for name, column in columns.items()}
    if any(rows.empty for rows in found.values()):
        return ""
    aims = {name: rows.iloc[0] for name, rows in found.items()}
    if min(row["seeds"] for row in aims.values()) < 2:
        return judged(aims)
    details = "; ".join(f"{name} {in_words(row)}" for name, row in aims.items())
    share, equal = at_equal_macs(candidates, one, other)
    before = in_words(equal.iloc[0]) if len(equal) else "not to be read"
    return (
        f"{judged(aims)} Each by itself: {details}. Before the last training, where both had "
        f"lost {share:.0%} of the MACs, accuracy on validation images: {before}."
    )


def judged(differences: Mapping[str, pd.Series]) -> str:
    """What several differences of the same two variants say together, as Markdown.

    Parameters
    ----------
    differences
        By the name of what was compared, a row of
        :func:`prunekit.book.differences.paired_differences`; more is better
        in each.

    Examples
    --------
    >>> ahead = pd.Series({"mean": 0.02, "low": 0.01, "high": 0.03, "seeds": 3})
    >>> tied = pd.Series({"mean": 0.0, "low": -0.01, "high": 0.01, "seeds": 3})
    >>> judged({"accuracy": ahead, "MACs removed": tied})
    '**Better**: ahead in accuracy, and behind in nothing.'
    """
    if min(difference["seeds"] for difference in differences.values()) < 2:
        return "One seed is no evidence yet."
    sides: dict[str, list[str]] = {"ahead": [], "behind": [], "tied": []}
    for name, difference in differences.items():
        sides[side(difference)].append(name)
    won, lost = (" and ".join(sides[which]) for which in ("ahead", "behind"))
    if won and lost:
        return f"**A trade**: ahead in {won}, behind in {lost}."
    if won:
        return f"**Better**: ahead in {won}, and behind in nothing."
    if lost:
        return f"**Worse**: behind in {lost}, and ahead in nothing."
    return f"**No difference shown** in {' or '.join(sides['tied'])}."


def at_equal_macs(candidates: pd.DataFrame, one: str, other: str) -> tuple[float, pd.DataFrame]:
    """Compare two variants of an alignment where their candidates have lost equally many MACs.

    Each run is read along the front of its candidates, between which lines
    are straight, at the share of MACs that every run of the two has reached.

    Parameters
    ----------
    candidates
        ``variant``, ``seed``, ``macs_removed`` and ``accuracy`` of each.

    Returns
    -------
    (share, difference)
        The share, and what
        :func:`prunekit.book.differences.paired_differences` says of the
        accuracies there: empty where the two have no seed in common.
    """
    two = candidates[candidates["variant"].isin([one, other])]
    runs = [
        pareto_front(rows.assign(pruned=rows["macs_removed"]))
        for _, rows in two.groupby(RUN, sort=False)
    ]
    share = min((float(run["macs_removed"].max()) for run in runs), default=0.0)
    fronts = pd.concat(runs) if runs else two
    read = on_axis(fronts, "macs_removed", [share], "accuracy").assign(ratio=0.0)
    return share, paired_differences(read, one, other, "accuracy")
