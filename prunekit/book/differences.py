"""Whether two variants of a study differ, by more than their seeds do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import t


def mean_interval(values: Iterable[float], level: float = 0.95) -> tuple[float, float]:
    """Mean of independent values and half the width of Student's t confidence interval.

    With fewer than two values nothing is known of the spread: the half width
    is not a number.

    Examples
    --------
    >>> [round(number, 3) for number in mean_interval([1, 2, 3])]
    [2.0, 2.484]
    """
    values = np.asarray(list(values), dtype=float)
    if len(values) < 2:
        return float(values.mean()), math.nan
    error = values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean()), float(t.ppf((1 + level) / 2, len(values) - 1) * error)


def paired_differences(
    table: pd.DataFrame, a: str, b: str, value: str, by: str | None = None, level: float = 0.95
) -> pd.DataFrame:
    """By how much variant ``a`` exceeds ``b``, seed by seed.

    Two runs of one seed share the network, the order of the images and their
    augmentation, so their difference varies less than either. The interval is
    Student's over the seeds that both have.

    Parameters
    ----------
    value
        Column to compare.
    by
        Column, such as ``ratio``, with a row of the result for each of its
        values that both have; by default one row, in which each seed counts
        with its mean over the ratios that both of its runs have.

    Returns
    -------
    DataFrame
        ``mean``, ``low`` and ``high`` (ends of the interval), ``seeds``; empty
        where the two have no seed with a ratio in common. Variants that stop
        at ratios of their own are paired by ``table.assign(ratio=0.0)``.
    """
    of = {
        name: table[table["variant"] == name].groupby([by or "ratio", "seed"])[value].mean()
        for name in (a, b)
    }
    difference = (of[a] - of[b]).dropna()
    by_seed = difference.groupby(level="seed").mean()
    groups = [("all", by_seed)] if by is None else list(difference.groupby(level=by))
    rows = {}
    for key, values in groups if len(difference) else []:
        mean, half = mean_interval(values, level)
        rows[key] = {"mean": mean, "low": mean - half, "high": mean + half, "seeds": len(values)}
    columns = ["mean", "low", "high", "seeds"]
    return pd.DataFrame.from_dict(rows, "index", columns=columns).rename_axis(by or "over")


def kept_within(table: pd.DataFrame, a: str, b: str, value: str, margin: float) -> str:
    """Whether ``a`` loses no more than a margin against ``b``, seed by seed, as Markdown.

    One is not shown to be as good as another by no difference being found.
    It holds where all of the 90 % interval of the difference lies above minus
    the margin (Schuirmann 1987), and does not where all of it lies below that.

    Parameters
    ----------
    table, a, b, value
        As for :func:`paired_differences`, with higher values better.
    margin
        What may be lost, a fraction.

    Examples
    --------
    >>> rows = {"variant": ["a"] * 3 + ["b"] * 3, "seed": [0, 1, 2] * 2, "ratio": 0.0,
    ...         "precision": [0.60, 0.61, 0.62, 0.60, 0.62, 0.62]}
    >>> kept_within(pd.DataFrame(rows), "a", "b", "precision", 0.02)
    'No more than 2 points are lost: **shown** (90 % interval -1.3 to +0.6).'
    """
    claim = f"No more than {100 * margin:g} points are lost"
    found = paired_differences(table, a, b, value, level=0.9)
    if not len(found) or found["seeds"].iloc[0] < 2:
        return f"{claim}: fewer than two seeds of one ratio are no evidence yet."
    low, high = found.iloc[0][["low", "high"]]
    said = "shown" if low > -margin else "refuted" if high < -margin else "undecided"
    return f"{claim}: **{said}** (90 % interval {100 * low:+.1f} to {100 * high:+.1f})."


def in_words(difference: pd.Series, *, less_is_better: bool = False) -> str:
    """A row of :func:`paired_differences` of accuracies, or of shares missed, as Markdown.

    Examples
    --------
    >>> in_words(pd.Series({"mean": 0.012, "low": 0.004, "high": 0.02, "seeds": 3}))
    '**ahead** (+1.2 points, +0.4 to +2.0)'
    >>> in_words(pd.Series({"mean": 0.012, "low": -0.004, "high": 0.028, "seeds": 3}))
    '**tied** (+1.2 points, -0.4 to +2.8)'
    >>> in_words(pd.Series({"mean": 0.012, "low": math.nan, "high": math.nan, "seeds": 1}))
    '+1.2 points with one seed, which is no evidence yet'
    >>> missed = pd.Series({"mean": 0.012, "low": 0.004, "high": 0.02, "seeds": 3})
    >>> in_words(missed, less_is_better=True)
    '**behind** (+1.2 points, +0.4 to +2.0)'
    """
    mean, low, high = (f"{100 * difference[key]:+.1f}" for key in ("mean", "low", "high"))
    if difference["seeds"] < 2:
        return f"{mean} points with one seed, which is no evidence yet"
    said: str = side(difference)
    if less_is_better:
        said = {"ahead": "behind", "behind": "ahead"}.get(said, said)
    return f"**{said}** ({mean} points, {low} to {high})"


def pairs_in_words(
    networks: pd.DataFrame, pairs: Iterable[tuple[str, str]], names: Mapping[str, str]
) -> str:
    """By how much the first variant of each pair is ahead of the second on test, as a list.

    A line a pair, in Markdown; none where the two have no seed in common.

    Parameters
    ----------
    networks
        ``variant``, ``seed`` and ``test_accuracy``, a row a run. That shares
        of filters differ, as they do at equal MACs, plays no part.
    names
        Of the variants, as the list is to call them.

    Examples
    --------
    >>> networks = pd.DataFrame({"variant": ["a", "b"] * 2, "seed": [0, 0, 1, 1],
    ...                          "test_accuracy": [0.9, 0.8, 0.92, 0.82]})
    >>> pairs_in_words(networks, [("a", "b"), ("a", "c")], {"a": "wide", "b": "narrow"})
    '- *wide* against *narrow*: **ahead** (+10.0 points, +10.0 to +10.0)'
    """
    lines = []
    for one, other in pairs:
        found = paired_differences(networks.assign(ratio=0.0), one, other, "test_accuracy")
        if len(found):
            lines.append(f"- *{names[one]}* against *{names[other]}*: {in_words(found.iloc[0])}")
    return "\n".join(lines)


def side(difference: pd.Series) -> Literal["ahead", "behind", "tied"]:
    """On which side of zero all of the interval lies, in a row of :func:`paired_differences`.

    Examples
    --------
    >>> side(pd.Series({"low": 0.004, "high": 0.02})), side(pd.Series({"low": -1, "high": 2}))
    ('ahead', 'tied')
    """
    return "ahead" if difference["low"] > 0 else "behind" if difference["high"] < 0 else "tied"
