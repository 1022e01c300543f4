"""Names, colours and markers of criteria: the one place that every figure asks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import NamedTuple

from prunekit.book.plots.style import PALETTE
from prunekit.criteria import CRITERIA


class Look(NamedTuple):
    """How a criterion appears: its name for people, and its colour and marker in every figure."""

    label: str
    colour: str
    marker: str

    @property
    def line(self) -> dict[str, str]:
        """As options of a line."""
        return {"color": self.colour, "marker": self.marker, "label": self.label}


LOOKS = {
    "activation_l2": Look("L2 of maps", PALETTE[0], "o"),
    "taylor": Look("Taylor", PALETTE[1], "s"),
    "combined": Look("sum of scores", PALETTE[2], "D"),
    "combined_ranks": Look("sum of ranks", PALETTE[3], "^"),
    "taylor_signed": Look("Taylor, signed", PALETTE[4], "v"),
    "weight_l1": Look("L1 of weights", PALETTE[5], "P"),
    "weight_l2": Look("L2 of weights", "#004444", "p"),
    "random": Look("random", "#666666", "X"),
    "bn_scale": Look("scale of batch norm", "#663311", "*"),
    "fpgm": Look("FPGM", "#99BB66", "h"),
    "apoz": Look("APoZ", "#AA5544", "<"),
    "hrank": Look("HRank", "#4433FF", ">"),
    "similarity_cosine": Look("similarity (cosine)", "#AA55FF", "d"),
    "similarity_pearson": Look("similarity (Pearson)", "#4400AA", "H"),
    "similarity_filters": Look("similarity of filters", "#440066", "8"),
}
#: For criteria that a reader registers.
SPARE = (("#000000", "o"), ("#664477", "s"), ("#222244", "D"))


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name that is drawn in one figure, no two of one colour while colours last.

    Examples
    --------
    >>> [look.label for look in looks_of(["taylor", "largest_value"]).values()]
    ['Taylor', 'largest value']
    """
    looks = {name: LOOKS.get(name) for name in names}
    free = [(look.colour, look.marker) for look in LOOKS.values() if look not in looks.values()]
    # A registered criterion resembles no other; what is none may look like one that is not shown.
    spare, free = cycle([*SPARE, *free]), cycle([*free, *SPARE])
    for name, look in looks.items():
        if look is None:
            pair = next(spare if name in CRITERIA else free)
            looks[name] = Look(name.replace("_", " "), *pair)
    return looks


def label_of(name: str) -> str:
    """The name of a criterion for people; of anything else, its own without underscores."""
    return looks_of([name])[name].label


def colour_of(name: str) -> str:
    """The colour of a criterion, in every figure the same."""
    return looks_of([name])[name].colour
