"""How many filters each layer keeps, and how many it may lose, by name or pattern."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import pandas as pd

from prunekit.checks.settings import Floor, PerLayer

LEAST = 2  # filters of a layer, where nobody says otherwise


def widths_of(ranking: pd.DataFrame) -> dict[str, int]:
    """Filters of each layer of a ranking, those that must stay and have no row among them."""
    layers = ranking.groupby("layer", sort=False)
    return dict(layers["width"].max() if "width" in ranking else layers["filter"].max() + 1)


def floors_of(
    layers: Iterable[str], min_filters: Floor, exclude: Iterable[str]
) -> dict[str, float]:
    """How many filters each layer keeps at least; a layer that keeps all is always below it.

    Raises
    ------
    ValueError
        A pattern matches no layer.
    """
    if not isinstance(min_filters, Mapping):
        floors: dict[str, float] = dict.fromkeys(layers, min_filters)
    else:
        floors = dict.fromkeys(layers, LEAST) | _by_layer(layers, min_filters, "min_filters")
    return floors | _by_layer(layers, dict.fromkeys(exclude, math.inf), "exclude")


def caps_of(widths: Mapping[str, int], per_layer: PerLayer | None) -> dict[str, int]:
    """How many filters may go of each layer that ``per_layer`` limits.

    Raises
    ------
    ValueError
        A pattern matches no layer.

    Examples
    --------
    >>> caps_of({"stem": 16, "block.0": 10, "block.1": 6}, {"block.*": 0.5, "*.1": 2})
    {'block.0': 5, 'block.1': 2}
    """
    limits = _by_layer(widths, per_layer or {}, "per_layer")
    # 0.29 of 100 are 29, and 28.999999999999996 in floating point.
    return {
        layer: limit if isinstance(limit, int) else math.floor(limit * widths[layer] + 1e-9)
        for layer, limit in limits.items()
    }


def _by_layer(
    layers: Iterable[str], by_pattern: Mapping[str, float], setting: str
) -> dict[str, float]:
    """The number of the last pattern that each layer matches."""
    found: dict[str, float] = {}
    for pattern, number in by_pattern.items():
        matches = [name for name in layers if fnmatchcase(name, pattern)]
        if not matches:
            raise ValueError(
                f"{setting}: no layer matches {pattern!r}; there are {', '.join(layers)}"
            )
        found |= dict.fromkeys(matches, number)
    return found
