"""Which criterion ranks an iteration, when they take turns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from numbers import Real
from typing import Any

from prunekit.checks import checked, number
from prunekit.criteria.base import Criterion
from prunekit.criteria.ranking import AnyCriterion
from prunekit.criteria.registry import lookup
from prunekit.storage.fingerprints import describe

#: One criterion; or several, each with the share removed of the budget from which on it ranks.
Criteria = AnyCriterion | Sequence[tuple[float, AnyCriterion]]


def reached(share: float, goal: float) -> bool:
    """Whether a share computed from counts is as large as a goal, rounding aside.

    Examples
    --------
    >>> 1 - 0.6 >= 0.4, reached(1 - 0.6, 0.4)
    (True, True)
    >>> 1 - 0.9 >= 0.1, reached(1 - 0.9, 0.1)
    (False, True)
    """
    return share >= goal - 1e-9


@checked(removed=partial(number, least=0, most=1))
def criterion_at(criterion: Criteria, removed: float) -> AnyCriterion:
    """The criterion that ranks once the share ``removed`` is gone of what a budget counts.

    Raises
    ------
    ValueError
        A schedule does not start at 0, its shares do not rise, or it names a
        criterion that does not exist.

    Examples
    --------
    >>> schedule = [(0, "combined"), (0.4, "similarity_cosine")]
    >>> [criterion_at(schedule, removed) for removed in (0, 0.39, 0.4, 0.6)]
    ['combined', 'combined', 'similarity_cosine', 'similarity_cosine']
    """
    return [chosen for start, chosen in stages(criterion) if reached(removed, start)][-1]


def stages(criterion: Criteria) -> list[tuple[float, AnyCriterion]]:
    """The stages of a schedule, looked over; one criterion alone is a stage that starts at 0."""
    if isinstance(criterion, str) or not isinstance(criterion, Sequence):
        return [(0, criterion)]
    pairs: list[Any] = [tuple(s) if isinstance(s, (list, tuple)) else () for s in criterion]
    starts = [pair[0] for pair in pairs if len(pair) == 2 and _is_share(pair[0])]
    rising = all(a < b for a, b in pairwise(starts))
    if not pairs or len(starts) < len(pairs) or starts[0] != 0 or not rising or starts[-1] >= 1:
        raise ValueError(
            "a schedule of criteria lists pairs of a share removed and a criterion; "
            "the shares rise from 0 and stay below 1, as in [[0, 'combined'], [0.4, "
            f"'similarity_cosine']], not {criterion!r}"
        )
    for _, chosen in pairs:
        lookup(chosen)
    return pairs


def _is_share(start: object) -> bool:
    return isinstance(start, Real) and not isinstance(start, bool)


def described(criterion: Criteria) -> Any:
    """A criterion or a schedule as JSON, the same in every process.

    A name is described with what it stands for: users register their own.
    """
    if isinstance(criterion, str):
        return {criterion: describe(lookup(criterion), criterion)}
    if isinstance(criterion, Criterion):
        return describe(criterion, "criterion")
    return [[float(start), described(one)] for start, one in stages(criterion)]


def ranked_by(criterion: Criteria, chosen: AnyCriterion | None) -> dict[str, Any]:
    """The column that a schedule adds to the table of a run: the criterion of an iteration."""
    if isinstance(criterion, (str, Criterion)):
        return {}
    named = chosen is None or isinstance(chosen, str)
    return {"criterion": chosen if named else type(chosen).__qualname__}
