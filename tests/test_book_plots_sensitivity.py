"""The figure of a scan shows every number of its table, units in order of execution."""

from __future__ import annotations

import pandas as pd
import pytest
from figures import readable

from prunekit.book.plots.sensitivity import sensitivity_map

COLUMNS = ["unit", "layers", "share", "accuracy_lost"]


def scan(*units: str) -> pd.DataFrame:
    rows = [
        (unit, (unit, "partner") if unit == "z" else (unit,), share, share * (place - 1) / 10)
        for place, unit in enumerate(units)
        for share in (0.25, 0.5)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_every_number_stands_in_its_cell_and_coupled_layers_are_counted():
    ax, _bar = readable(sensitivity_map(scan("z", "a", "m"))).axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["z +1", "a", "m"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["25", "50"]
    shown = [text.get_text() for text in ax.texts]
    assert shown == ["-2.5", "-5.0", "0.0", "0.0", "2.5", "5.0"]
    assert ax.images[0].get_clim() == (0, 5)


def test_many_units_have_room():
    readable(sensitivity_map(scan(*(f"layer{place}.0.conv1" for place in range(40)))))


def test_a_scan_of_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        sensitivity_map(pd.DataFrame(columns=COLUMNS))
