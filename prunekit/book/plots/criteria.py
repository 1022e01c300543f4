"""Names, colours and markers of criteria: the one place that every figure asks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import Any, NamedTuple

from prunekit.book.plots.style import PALETTE
from prunekit.criteria import CRITERIA, about


class Look(NamedTuple):
    """How a criterion appears: its name for people, and its colour and marker in every figure."""

    label: str
    colour: str
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """As options of a line."""
        return {"color": self.colour, "marker": self.marker, "label": self.label}


#: Colours and markers of the criteria that the chapters draw.
FIXED = {
    "activation_l2": (PALETTE[0], "o"),
    "taylor": (PALETTE[1], "s"),
    "combined": (PALETTE[2], "D"),
    "combined_ranks": (PALETTE[3], "^"),
    "taylor_signed": (PALETTE[4], "v"),
    "weight_l1": (PALETTE[5], "P"),
    "weight_l2": ("#004444", "p"),
    "random": ("#666666", "X"),
    "bn_scale": ("#663311", "*"),
    "fpgm": ("#99BB66", "h"),
    "apoz": ("#AA5544", "<"),
    "hrank": ("#4433FF", ">"),
    "similarity_cosine": ("#AA55FF", "d"),
    "similarity_pearson": ("#4400AA", "H"),
    "similarity_filters": ("#440066", "8"),
}
#: For all others that are registered, in their order: like none above and none of each other.
SPARE = (
    *(("#000000", "x"), ("#664477", "+"), ("#222244", "1"), ("#00EEAA", "2")),
    *(("#99EE66", "3"), ("#EEDD00", "4"), ("#AA88FF", "|"), ("#332211", "_")),
)


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name that is drawn in one figure, no two of one colour while colours last.

    That of a registered criterion is the same in every figure. Any other name
    gets one that is not shown.

    Examples
    --------
    >>> [look.label for look in looks_of(["taylor", "largest_value"]).values()]
    ['Taylor', 'largest value']
    """
    names = dict.fromkeys(names)
    spare = cycle(SPARE)
    registered = {name: FIXED.get(name) or next(spare) for name in CRITERIA}
    shown = {registered[name] for name in names if name in registered}
    free = cycle([look for look in (*FIXED.values(), *SPARE) if look not in shown] or SPARE)
    return {name: Look(about(name).label, *(registered.get(name) or next(free))) for name in names}


def label_of(name: str) -> str:
    """The name of a criterion for people; of anything else, its own without underscores."""
    return about(name).label


def colour_of(name: str) -> str:
    """The colour of a criterion, in every figure the same."""
    return looks_of([name])[name].colour
