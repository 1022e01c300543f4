"""Which filters go next: a min-heap over the scores of all layers."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from prunekit.checks import checked, shown, whole
from prunekit.checks.settings import LIMITS, Floor, PerLayer
from prunekit.selection.limits import LEAST, caps_of, floors_of, widths_of


def checked_ranking(name: str, value: object) -> pd.DataFrame:
    """A ranking, looked over by the columns that it lacks or that hold something else."""
    if not isinstance(value, pd.DataFrame):
        raise TypeError(f"{name} must be a DataFrame as rank gives it, not {shown(value)}")
    missing = [column for column in ("layer", "filter", "score") if column not in value]
    if missing:
        raise ValueError(f"the {name} has no column {', '.join(missing)}")
    if value.empty:
        raise ValueError(f"the {name} is empty: it has no filter to select")
    for column in {"filter", "score", "group", "width"} & set(value):
        allowed, kinds = ("iuf", "numbers") if column == "score" else ("iu", "whole numbers")
        if value[column].dtype.kind not in allowed:
            raise TypeError(
                f"the {name}'s column {column} must hold {kinds}, not {value[column].dtype}"
            )
    return value


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


@checked(ranking=checked_ranking, count=partial(whole, least=1), **LIMITS)
def select(
    ranking: pd.DataFrame,
    count: int = 128,
    *,
    min_filters: Floor = LEAST,
    exclude: Iterable[str] = (),
    round_to: int | None = None,
    per_layer: PerLayer | None = None,
) -> Selection:
    """Take the ``count`` groups of lowest score off a heap, from whichever layers they are in.

    Parameters
    ----------
    ranking
        Columns ``layer``, ``filter``, ``score``, ``group`` and ``width``, as
        :func:`prunekit.rank` returns them. Rows that share a group go
        together and are counted once, by the mean of their scores. Those of
        group 0 stay, and so do filters without a row. Without the column
        ``group`` every filter is alone; without ``width``, a layer is as wide
        as its last filter in the ranking says.
    count
        Number of groups to remove.
    min_filters
        The floor: so many of its filters stay in every layer of the ranking,
        those counted that stay anyway. A group that would take any layer below
        it is passed over. Or floors by name or pattern, such as
        ``{"*squeeze": 12, "*expand*": 24}``: a layer has that of the last
        pattern it matches, and 2 if it matches none.
    exclude
        Layers that keep all their filters, by name or by pattern such as
        ``"features.0"`` or ``"layer1.*"``. A group that touches one stays.
    round_to
        Leave every layer that loses filters with a multiple of this many, as
        fast kernels like it (8, say). Then a layer's lowest groups leave in
        bundles, each from one multiple to the next below, by the mean of
        their scores. A bundle is never split: ``count`` is reached, and
        passed by less than one bundle. Layers that share only some of their
        groups, and are not all multiples to begin with, stay as they are.
    per_layer
        At most so many filters of a layer go, or at most such a share of its
        filters, by name or pattern: ``{"*": 0.3, "layer1.*": 4}``. A layer has
        the limit of the last pattern it matches, and none if it matches none. A
        group goes only if every layer it touches may lose it. To prune
        locally, by all that such shares allow and not by ``count``, ask
        :func:`prunekit.selection.removable`.

    Returns
    -------
    Selection, layers in the order of the ranking. Equal scores leave in the
    order of the ranking.

    Raises
    ------
    ValueError
        ``count``, ``min_filters`` or ``round_to`` is below 1, fewer than
        ``count`` groups can go, a score is NaN or infinite, the ranking is empty or lacks
        a column, a filter is listed twice, a limit in ``per_layer`` is
        below 0 or no share, or a name in ``exclude``, ``min_filters`` or
        ``per_layer`` matches no layer. Or a layer is narrower, by its
        ``width``, than its filters say.
    TypeError
        One of these is no number, or a column holds something else.

    Examples
    --------
    >>> scores = {"layer": list("aaabbb"), "filter": [0, 1, 2, 0, 1, 2]}
    >>> table = pd.DataFrame(scores | {"score": [0.1, 0.2, 0.3, 0.5, 0.4, 0.6]})
    >>> select(table, 2)  # the floor keeps filters 1 and 2 of layer a
    {'a': [0], 'b': [1]}
    >>> select(table, 1, min_filters=1, round_to=2)  # from 3 filters to 2, from 2 to 0: never
    {'a': [0]}
    >>> select(table, 2, min_filters=1, per_layer={"a": 1})  # or 0.4: a third, not two
    {'a': [0], 'b': [1]}
    """
    selection = _take(ranking, count, min_filters, exclude, round_to, per_layer)
    if selection.groups < count:
        more = f", and a multiple of {round_to}" if round_to else ""
        more += f", and loses at most {per_layer}" if per_layer else ""
        raise ValueError(
            f"only {selection.groups} of the {count} filters or coupled groups asked for can be "
            f"removed: every layer keeps at least {min_filters}{more}"
        )
    return selection


@checked(ranking=checked_ranking, **LIMITS)
def removable(
    ranking: pd.DataFrame,
    *,
    min_filters: Floor = LEAST,
    exclude: Iterable[str] = (),
    round_to: int | None = None,
    per_layer: PerLayer | None = None,
) -> Selection:
    """Everything :func:`select` could remove at once under the same limits.

    Examples
    --------
    The lowest half of each layer, whatever the scores of the others:

    >>> scores = {"layer": list("aabbbb"), "filter": [0, 1, 0, 1, 2, 3]}
    >>> table = pd.DataFrame(scores | {"score": [0.1, 0.2, 0.6, 0.5, 0.4, 0.3]})
    >>> removable(table, min_filters=1, per_layer={"*": 0.5})
    {'a': [0], 'b': [2, 3]}
    """
    return _take(ranking, len(ranking), min_filters, exclude, round_to, per_layer)


class _Bundle(NamedTuple):
    """Groups that leave together: one, or several for the sake of a round number."""

    score: float
    groups: list[int]
    lost: dict[str, int]  # how many filters each layer loses


class _Groups:
    """The groups of a ranking, each a bundle of its own, as they first appear in it.

    Each is put together when it is asked for: most stay, and never are.
    """

    def __init__(self, ranking: pd.DataFrame) -> None:
        self._filters = ranking["filter"].to_numpy()
        self._layers, self._names = pd.factorize(ranking["layer"].to_numpy())
        _refuse_bad(ranking, self._layers)
        # Alone by default: keys below zero are of no group of a graph.
        count = len(ranking)
        keys = ranking["group"].to_numpy() if "group" in ranking else np.arange(-count, 0)
        rows = np.flatnonzero(keys != 0)
        groups, _ = pd.factorize(keys[rows])
        self._group = np.full(count, -1)
        self._group[rows] = groups
        sizes = np.bincount(groups)
        scores = np.bincount(groups, ranking["score"].to_numpy()[rows]) / sizes
        by_group = rows[np.argsort(groups, kind="stable")]
        self.scores: list[float] = scores.tolist()
        self._members = self._names[self._layers[by_group]].tolist()
        self._starts = [0, *np.cumsum(sizes).tolist()]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[_Bundle]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, group: int) -> _Bundle:
        lost: dict[str, int] = {}
        for layer in self._members[self._starts[group] : self._starts[group + 1]]:
            lost[layer] = lost.get(layer, 0) + 1
        return _Bundle(self.scores[group], [group], lost)

    def filters(self, groups: list[int]) -> dict[str, list[int]]:
        """The filters of these groups by layer, in ascending order."""
        chosen = np.zeros(len(self) + 1, dtype=bool)  # the last one for filters of no group
        chosen[groups] = True
        rows = np.flatnonzero(chosen[self._group])
        rows = rows[np.lexsort((self._filters[rows], self._layers[rows]))]
        layers, starts = np.unique(self._layers[rows], return_index=True)
        of_layers = np.split(self._filters[rows], starts[1:])
        return {self._names[k]: f.tolist() for k, f in zip(layers, of_layers, strict=False)}


def _take(
    ranking: pd.DataFrame,
    count: int,
    min_filters: Floor,
    exclude: Iterable[str],
    round_to: int | None,
    per_layer: PerLayer | None,
) -> Selection:
    groups, widths = _Groups(ranking), widths_of(ranking)
    floors = floors_of(widths, min_filters, exclude)
    for layer, cap in caps_of(widths, per_layer).items():
        floors[layer] = max(floors[layer], widths[layer] - cap)
    bundles: _Groups | list[_Bundle] = groups
    scores = groups.scores
    if round_to is not None and round_to > 1:
        bundles = _bundles(groups, widths, round_to)
        scores = [bundle.score for bundle in bundles]
    heap = list(zip(scores, range(len(scores)), strict=True))
    heapq.heapify(heap)
    left, taken = dict(widths), list[int]()
    while heap and len(taken) < count:
        _, order = heapq.heappop(heap)
        bundle = bundles[order]
        # A layer only ever shrinks, so a group passed over here need not be looked at again.
        if all(left[layer] - lost >= floors[layer] for layer, lost in bundle.lost.items()):
            for layer, lost in bundle.lost.items():
                left[layer] -= lost
            taken += bundle.groups
    return Selection(groups.filters(taken), len(taken))


def _refuse_bad(ranking: pd.DataFrame, layers: np.ndarray) -> None:
    """Refuse scores that are no numbers and filters listed twice; ``layers`` by number."""
    if (layers < 0).any() or (ranking["filter"] < 0).any():
        raise ValueError("the ranking has a row without a layer, or with a filter below 0")
    bad = np.flatnonzero(~(ranking["score"].abs().to_numpy() < np.inf))
    if len(bad):
        row = ranking.iloc[bad[0]]
        raise ValueError(f"filter {row['filter']} of {row['layer']} has the score {row['score']}")
    repeated = pd.MultiIndex.from_arrays([layers, ranking["filter"]]).duplicated()
    if repeated.any():
        row = ranking.iloc[repeated.argmax()]
        raise ValueError(f"filter {row['filter']} of {row['layer']} is listed more than once")
    if "width" in ranking and (beyond := (ranking["filter"] >= ranking["width"]).to_numpy()).any():
        row = ranking.iloc[beyond.argmax()]
        raise ValueError(f"{row['layer']} has filter {row['filter']}, but the width {row['width']}")


def _bundles(groups: Iterable[_Bundle], widths: dict[str, int], round_to: int) -> list[_Bundle]:
    """Bundles that each take all their layers from one multiple of ``round_to`` to the next."""
    # Groups that take the same number of filters from the same layers can stand for one another.
    kinds: dict[frozenset[tuple[str, int]], list[_Bundle]] = {}
    for group in groups:
        kinds.setdefault(frozenset(group.lost.items()), []).append(group)
    kinds_of = Counter(layer for kind in kinds for layer, _ in kind)

    def fewest(kind: frozenset[tuple[str, int]], widths: dict[str, int]) -> int | None:
        """How many groups of a kind bring layers of these widths to a multiple."""
        for groups in range(1, round_to + 1):
            if all((widths[layer] - groups * lost) % round_to == 0 for layer, lost in kind):
                return groups
        return None

    bundles = []
    for kind, members in kinds.items():
        alone = all(kinds_of[layer] == 1 for layer, _ in kind)
        even = all(widths[layer] % round_to == 0 for layer, _ in kind)
        size = fewest(kind, widths) if alone or even else None
        leaving = sorted(members, key=lambda group: group.score)
        while size is not None and size <= len(leaving):
            bundles.append(_joined(leaving[:size]))
            leaving = leaving[size:]
            size = fewest(kind, dict.fromkeys(widths, 0))
    return bundles


def _joined(bundles: list[_Bundle]) -> _Bundle:
    lost: Counter[str] = Counter()
    for bundle in bundles:
        lost.update(bundle.lost)
    score = sum(bundle.score for bundle in bundles) / len(bundles)
    return _Bundle(score, [group for bundle in bundles for group in bundle.groups], lost)
