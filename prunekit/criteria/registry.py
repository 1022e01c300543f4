"""The criteria known by name: each is registered once, beside its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from prunekit.checks import shown
from prunekit.criteria.base import Criterion, usable

Kind = TypeVar("Kind", bound=type[Criterion])


class About(NamedTuple):
    """What people read of a criterion: its name in figures and tables, and where it comes from."""

    label: str
    source: str = ""


#: The criteria known by name, in the order in which lists and figures show them.
CRITERIA: dict[str, Criterion] = {}
_ABOUT: dict[str, About] = {}


def register(name: str, *, label: str = "", source: str = "", **settings: Any) -> Callable:
    """Class decorator: from now on :func:`prunekit.rank` knows a criterion by ``name``.

    Parameters
    ----------
    label
        How figures and tables call it; the name without underscores by default.
    source
        The paper, with equation or section.
    settings
        Arguments of the class. A class may be registered under several names.

    Raises
    ------
    ValueError
        Another class has this name already.
    TypeError
        ``name`` is no string, or the class is not a criterion (see :class:`Criterion`).

    Examples
    --------
    >>> @register("least_weight", source="this page")
    ... class LeastWeight(Criterion):
    ...     def __call__(self, observation):
    ...         return observation.module.weight.detach().abs().flatten(1).amin(dim=1)
    >>> about("least_weight")
    About(label='least weight', source='this page')
    >>> del CRITERIA["least_weight"]
    """
    if not isinstance(name, str):
        raise TypeError(
            f'a criterion is registered by a name, @register("mine"), not {shown(name)}'
        )

    def add(kind: Kind) -> Kind:
        # A cell of a notebook that is run again defines the same class anew.
        known = type(CRITERIA.get(name))
        if name in CRITERIA and _path(known) != _path(kind):
            raise ValueError(f"a criterion is named {name!r} already: choose another name")
        CRITERIA[name] = usable(kind(**settings))
        _ABOUT[name] = About(label or _words(name), source)
        return kind

    return add


def _path(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def _words(name: str) -> str:
    return name.replace("_", " ")


def lookup(criterion: object) -> Criterion:
    """A criterion by its name; an object is given back. A name not known is a ValueError."""
    if isinstance(criterion, str):
        if criterion not in CRITERIA:
            known = ", ".join(CRITERIA)
            raise ValueError(f"no criterion is named {criterion!r}; there are {known}")
        criterion = CRITERIA[criterion]
    return usable(criterion)


def about(name: str) -> About:
    """What people read of a criterion; of any other name, itself without underscores."""
    return _ABOUT.get(name, About(_words(name)))


def overview() -> pd.DataFrame:
    """All criteria known by name.

    Returns
    -------
    DataFrame with the index ``name`` and the columns ``label``, ``needs``
    (what it looks at, as in :attr:`Criterion.needs`) and ``source``.

    Examples
    --------
    >>> overview().loc["combined", ["label", "needs"]].tolist()
    ['sum of scores', 'activations, gradients']
    """
    rows = {
        name: about(name)._asdict()
        | {"needs": ", ".join(dict.fromkeys(leaf.needs for leaf in criterion.leaves()))}
        for name, criterion in CRITERIA.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["label", "needs", "source"])
    return table.rename_axis("name")
