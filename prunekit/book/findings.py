"""What the tables of a study say: spread over seeds, shares of layers, accuracy along an axis.

Every function takes tables as :class:`prunekit.study.recorded.Recorded` gives
them and returns a new one. Accuracies and shares are fractions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from prunekit.book.differences import paired_differences

PARTS = {"initial (0-2)": range(0, 3), "middle (3-7)": range(3, 8), "last (9-12)": range(9, 13)}
RUN = ["variant", "seed"]


def part_of(layer: str) -> str:
    """The third of the network a layer belongs to, by its index (thesis, section 8.2).

    Examples
    --------
    >>> part_of("features.3.squeeze"), part_of("conv 0"), part_of("Fire 12")
    ('middle (3-7)', 'initial (0-2)', 'last (9-12)')
    """
    index = re.search(r"\d+", layer)
    for part, indices in PARTS.items():
        if index is not None and int(index[0]) in indices:
            return part
    raise ValueError(f"{layer} has no index from 0 to 12: to which part does it belong?")


def shares_by_part(removed: pd.DataFrame) -> pd.DataFrame:
    """Which share of the removed filters came from each part of the network.

    Parameters
    ----------
    removed
        Filters removed: a column a layer or block; each row is judged by itself.

    Examples
    --------
    >>> removed = pd.DataFrame({"conv 0": [1], "Fire 3": [3], "Fire 9": [4]})
    >>> shares_by_part(removed).round(3).to_dict("list")
    {'initial (0-2)': [0.125], 'middle (3-7)': [0.375], 'last (9-12)': [0.5]}
    """
    parts = removed.T.groupby(part_of).sum().T.reindex(columns=list(PARTS), fill_value=0)
    return parts.div(removed.sum(axis=1), axis=0)


def layers_of(table: pd.DataFrame) -> list[str]:
    """The columns of a recorded pattern that are layers."""
    return [column for column in table if column not in (*RUN, "ratio", "iteration")]


def most_taken(pattern: pd.DataFrame, filters: Mapping[str, int]) -> pd.DataFrame:
    """For each variant the layer that lost the largest share of its filters, and that share.

    Parameters
    ----------
    pattern
        Filters removed by layer: a row an iteration of each run.
    filters
        How many each layer had.

    Examples
    --------
    >>> rows = {"variant": ["a", "a", "b"], "seed": 0, "iteration": [1, 2, 1]}
    >>> pattern = pd.DataFrame(rows | {"conv1": [1, 1, 0], "conv2": [2, 3, 9]})
    >>> most_taken(pattern, {"conv1": 4, "conv2": 10}).to_dict("index")
    {'a': {'layer': 'conv1', 'share': 0.5}, 'b': {'layer': 'conv2', 'share': 0.9}}
    """
    layers = layers_of(pattern)
    runs = pattern.groupby(RUN, sort=False)[layers].sum()
    shares = runs.groupby("variant", sort=False).mean() / pd.Series(filters)[layers]
    return pd.DataFrame({"layer": shares.idxmax(axis=1), "share": shares.max(axis=1)})


def over_seeds(
    table: pd.DataFrame, value: str, by: Sequence[str] = ("variant", "ratio")
) -> pd.DataFrame:
    """Mean, sample standard deviation (not a number for one seed), range and number of seeds.

    Examples
    --------
    >>> table = pd.DataFrame({"variant": "a", "ratio": 0.5, "seed": [0, 1, 2],
    ...                       "accuracy": [0.7, 0.8, 0.9]})
    >>> over_seeds(table, "accuracy").round(3).values.tolist()
    [[0.8, 0.1, 0.7, 0.9, 3.0]]
    """
    groups = table.groupby(list(by), sort=False)[value]
    return groups.agg(mean="mean", std="std", low="min", high="max", seeds="count")


def with_spread(
    table: pd.DataFrame,
    value: str,
    by: Sequence[str] = ("variant",),
    *,
    scale: float = 100.0,
    digits: int = 1,
) -> pd.Series:
    """Mean ± standard deviation over seeds, as text; the mean alone where there is one seed.

    Parameters
    ----------
    scale
        By which numbers are multiplied: 100 shows shares in per cent.
    digits
        After the point.

    Examples
    --------
    >>> table = pd.DataFrame({"variant": ["a", "a", "b"], "bytes": [1.2e6, 1.4e6, 3e6]})
    >>> with_spread(table, "bytes", scale=1e-6, digits=2).to_dict()
    {'a': '1.30 ± 0.14', 'b': '3.00'}
    """
    numbers = scale * over_seeds(table, value, by)[["mean", "std"]]
    spread = numbers["std"].map(lambda std: "" if math.isnan(std) else f" ± {std:.{digits}f}")
    return numbers["mean"].map(lambda mean: f"{mean:.{digits}f}") + spread


def spread_table(
    networks: pd.DataFrame, numbers: Mapping[str, tuple[str, float, int]]
) -> pd.DataFrame:
    """Several numbers of each variant, by :func:`with_spread`, and its ``seeds``.

    Parameters
    ----------
    numbers
        By the name to show: a column, its scale and its digits.

    Examples
    --------
    >>> networks = pd.DataFrame({"variant": "a", "seed": [0, 1], "bytes": [1.2e6, 1.4e6]})
    >>> spread_table(networks, {"MB": ("bytes", 1e-6, 1)}).to_dict("records")
    [{'MB': '1.3 ± 0.1', 'seeds': 2}]
    """
    texts = {
        name: with_spread(networks, column, scale=scale, digits=digits)
        for name, (column, scale, digits) in numbers.items()
    }
    return pd.DataFrame(texts).assign(seeds=networks.groupby("variant")["seed"].nunique())


def accuracy_table(networks: pd.DataFrame, value: str = "test_accuracy") -> pd.DataFrame:
    """Accuracy in per cent, mean ± standard deviation over seeds, as text: ratios by variants.

    Examples
    --------
    >>> networks = pd.DataFrame({"variant": "a", "ratio": [0.5, 0.5, 0.9], "seed": [0, 1, 0],
    ...                          "test_accuracy": [0.8, 0.82, 0.7]})
    >>> accuracy_table(networks)["a"].tolist()
    ['81.0 ± 1.4', '70.0']
    """
    texts = with_spread(networks, value, ["ratio", "variant"])
    return texts.unstack()[networks["variant"].unique()].sort_index()  # noqa: PD010


def chosen_on_validation(networks: pd.DataFrame) -> pd.DataFrame:
    """The variant that is best on validation at each ratio, and how good it is on test.

    The one way in which the book chooses between criteria, recipes and
    normalisations. Which variant is best on test is never asked.

    Returns
    -------
    DataFrame
        A row a ratio: ``ratio``, ``variant``, ``val`` (its mean over seeds),
        ``test`` and ``test_std``.

    Examples
    --------
    >>> networks = pd.DataFrame({"variant": ["a", "b"], "ratio": 0.5, "seed": 0,
    ...                          "val_accuracy": [0.8, 0.7], "test_accuracy": [0.7, 0.9]})
    >>> chosen_on_validation(networks)[["variant", "test"]].values.tolist()
    [['a', 0.7]]
    """
    val, test = (
        over_seeds(networks, f"{part}_accuracy", by=["ratio", "variant"])
        for part in ("val", "test")
    )
    best = val["mean"].groupby("ratio").idxmax()
    rows = test.loc[best].rename(columns={"mean": "test", "std": "test_std"})[["test", "test_std"]]
    return rows.assign(val=val.loc[best, "mean"]).reset_index()[
        ["ratio", "variant", "val", "test", "test_std"]
    ]


def on_axis(
    networks: pd.DataFrame, axis: str, at: Iterable[float], value: str = "test_accuracy"
) -> pd.DataFrame:
    """Each run's curve read at the same places of an axis, linearly between its networks.

    Criteria that remove equally many filters do not save equally much. Read
    at equal savings, they can be compared.

    Parameters
    ----------
    axis
        A column, such as ``macs_removed``.
    at
        Places on it. Those that lie outside a run's curve are left out.

    Returns
    -------
    DataFrame
        ``variant``, ``seed``, the ``axis`` and the ``value``.

    Examples
    --------
    >>> networks = pd.DataFrame({"variant": "a", "seed": 0, "macs_removed": [0.0, 0.5],
    ...                          "test_accuracy": [1.0, 0.5]})
    >>> on_axis(networks, "macs_removed", [0.25, 0.75]).values.tolist()
    [['a', 0, 0.25, 0.75]]
    """
    rows = []
    for (variant, seed), run in networks.groupby(RUN, sort=False):
        run = run.groupby(axis)[value].mean()
        rows += [
            (variant, seed, place, float(np.interp(place, run.index, run)))
            for place in at
            if run.index[0] <= place <= run.index[-1]
        ]
    return pd.DataFrame(rows, columns=[*RUN, axis, value])


def at_equal_cost(savings: pd.DataFrame, variant: str) -> pd.DataFrame:
    """By how much a variant exceeds each other one, at equal filters and at equal MACs.

    At equal numbers of filters, the networks without 67 % of them and more are
    compared. At equal MACs each run is read by :func:`on_axis` where 40, 50,
    60 and 70 % of them are gone. Each seed counts with its mean.

    Parameters
    ----------
    savings
        Networks with what each saved, as :func:`prunekit.book.starts.relative` gives them.

    Returns
    -------
    DataFrame
        The columns of :func:`prunekit.book.differences.paired_differences`,
        indexed by ``other`` and ``equal``, which is ``filters`` or ``MACs``.
        A variant without a seed in common is left out.

    Examples
    --------
    >>> savings = pd.DataFrame({"variant": ["a"] * 4 + ["b"] * 4, "seed": [0, 0, 1, 1] * 2,
    ...     "ratio": [0, 0.8] * 4, "macs_removed": [0, 0.8] * 4,
    ...     "test_accuracy": [0.9, 0.7, 0.9, 0.8, 0.9, 0.6, 0.9, 0.6]})
    >>> at_equal_cost(savings, "a")["mean"].round(3).to_dict()
    {('b', 'filters'): 0.15, ('b', 'MACs'): 0.103}
    """
    at_macs = on_axis(savings, "macs_removed", [0.4, 0.5, 0.6, 0.7])
    compared = {
        "filters": savings[savings["ratio"] >= 0.67],
        "MACs": at_macs.rename(columns={"macs_removed": "ratio"}),
    }
    found = {
        (other, equal): paired_differences(table, variant, other, "test_accuracy")
        for other in savings["variant"].unique()
        if other != variant
        for equal, table in compared.items()
    }
    return pd.concat(found, names=["other", "equal"]).droplevel(-1)
