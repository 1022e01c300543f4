"""Which filters go next: a min-heap over the scores of all layers."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd


class Selection(dict[str, list[int]]):
    """Filters to remove: layer name to ascending filter indices.

    ``groups`` counts what can be removed independently: a lone filter, or a
    set of coupled filters, is one group. ``filters`` counts filters.
    """

    def __init__(self, filters: dict[str, list[int]], groups: int) -> None:
        super().__init__(filters)
        self.groups = groups

    @property
    def filters(self) -> int:
        return sum(len(indices) for indices in self.values())


def select(
    ranking: pd.DataFrame,
    count: int = 128,
    *,
    min_filters: int = 2,
    exclude: Iterable[str] = (),
) -> Selection:
    """Take the ``count`` groups of lowest score off a heap, from whichever layers they are in.

    Parameters
    ----------
    ranking
        Columns ``layer``, ``filter``, ``score`` and ``group``, as
        :func:`prunekit.rank` returns them. Rows that share a group go
        together and are counted once, by the mean of their scores. Those of
        group 0 stay. Without the column ``group`` every filter is alone.
    count
        Number of groups to remove.
    min_filters
        The floor: so many of its filters stay in every layer of the ranking.
        A group that would take any layer below it is passed over.
    exclude
        Layers that keep all their filters, by name or by pattern such as
        ``"features.0"`` or ``"layer1.*"``. A group that touches one stays.

    Returns
    -------
    Selection, layers in the order of the ranking. Equal scores leave in the
    order of the ranking.

    Raises
    ------
    ValueError
        ``count`` or ``min_filters`` is below 1, fewer than ``count`` groups
        can go, a score is NaN, a column is missing, a filter is listed
        twice, or a name in ``exclude`` matches no layer.

    Examples
    --------
    >>> scores = {"layer": list("aaabbb"), "filter": [0, 1, 2, 0, 1, 2]}
    >>> table = pd.DataFrame(scores | {"score": [0.1, 0.2, 0.3, 0.5, 0.4, 0.6]})
    >>> select(table, 2)  # the floor keeps filters 1 and 2 of layer a
    {'a': [0], 'b': [1]}
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    selection = _take(ranking, count, min_filters, exclude)
    if selection.groups < count:
        raise ValueError(
            f"only {selection.groups} of the {count} filters or coupled groups asked for can be "
            f"removed: every layer keeps at least {min_filters}"
        )
    return selection


def removable(
    ranking: pd.DataFrame, *, min_filters: int = 2, exclude: Iterable[str] = ()
) -> Selection:
    """Everything :func:`select` could remove at once under the same floor and exclusions."""
    return _take(ranking, len(ranking), min_filters, exclude)


@dataclass(frozen=True)
class _Group:
    score: float
    members: list[tuple[str, int]]


def _take(ranking: pd.DataFrame, count: int, min_filters: int, exclude: Iterable[str]) -> Selection:
    if min_filters < 1:
        raise ValueError(f"min_filters must be at least 1, not {min_filters}")
    groups = _groups(ranking)
    left = Counter(ranking["layer"])
    kept = _excluded(list(left), exclude)
    heap = [(group.score, order) for order, group in enumerate(groups)]
    heapq.heapify(heap)
    taken: dict[str, list[int]] = {layer: [] for layer in left}
    found = 0
    while heap and found < count:
        _, order = heapq.heappop(heap)
        members = groups[order].members
        lost = Counter(layer for layer, _ in members)
        # A layer only ever shrinks, so a group passed over here need not be looked at again.
        if kept.isdisjoint(lost) and all(left[name] - lost[name] >= min_filters for name in lost):
            left -= lost
            found += 1
            for layer, index in members:
                taken[layer].append(index)
    return Selection({name: sorted(indices) for name, indices in taken.items() if indices}, found)


def _groups(ranking: pd.DataFrame) -> list[_Group]:
    """The groups of a ranking, in the order in which they first appear in it."""
    missing = [name for name in ("layer", "filter", "score") if name not in ranking]
    if missing:
        raise ValueError(f"the ranking has no column {', '.join(missing)}")
    bad = ranking[~(ranking["score"].abs() < np.inf)]
    if len(bad):
        row = bad.iloc[0]
        raise ValueError(f"filter {row['filter']} of {row['layer']} has the score {row['score']}")
    repeated = ranking[ranking.duplicated(["layer", "filter"])]
    if len(repeated):
        row = repeated.iloc[0]
        raise ValueError(f"filter {row['filter']} of {row['layer']} is listed more than once")
    # Alone by default: keys below zero are of no group of a graph.
    keys = ranking["group"].tolist() if "group" in ranking else range(-len(ranking), 0)
    members: dict[int, list[tuple[str, int]]] = {}
    scores: dict[int, list[float]] = {}
    columns = (ranking[name].tolist() for name in ("layer", "filter", "score"))
    for key, layer, index, score in zip(keys, *columns, strict=True):
        if key != 0:
            members.setdefault(key, []).append((layer, index))
            scores.setdefault(key, []).append(score)
    return [_Group(sum(scores[key]) / len(scores[key]), members[key]) for key in members]


def _excluded(layers: list[str], patterns: Iterable[str]) -> set[str]:
    names = [patterns] if isinstance(patterns, str) else patterns
    excluded: set[str] = set()
    for pattern in names:
        matches = {name for name in layers if fnmatchcase(name, pattern)}
        if not matches:
            raise ValueError(
                f"exclude: no layer matches {pattern!r}; there are {', '.join(layers)}"
            )
        excluded |= matches
    return excluded
