"""Limits count all filters of a layer, also where some must stay and have no row."""

from __future__ import annotations

import pytest
import torch
from test_selection import PLAIN, WIDE
from torch import Tensor, nn
from torch.nn.functional import pad

from prunekit import rank, rebuild, select, trace
from prunekit.channels.units import units
from prunekit.selection import removable
from prunekit.widths import select_widths


class Padded(nn.Module):
    """A sum of 12 maps, with zeros for more, and of 18: the last 6 of these must stay."""

    def __init__(self):
        super().__init__()
        self.narrow = nn.Conv2d(3, 12, 1)
        self.wide = nn.Conv2d(3, 18, 1)
        self.last = nn.Linear(18, 4)

    def forward(self, x: Tensor) -> Tensor:
        both = pad(self.narrow(x), (0, 0, 0, 0, 0, 6)) + self.wide(x)
        return self.last(both.relu().mean((2, 3)))


MODEL, X = Padded().eval(), torch.randn(2, 3, 4, 4)
RANKING = rank(MODEL, [(X, None)], "weight_l1", progress=False)


def lost(**limits):
    return {name: len(gone) for name, gone in removable(RANKING, **limits).items()}


def test_a_ranking_tells_how_wide_its_layers_are():
    assert RANKING.groupby("layer")["filter"].size().to_dict() == {"narrow": 12, "wide": 12}
    assert RANKING.groupby("layer")["width"].unique().to_dict() == {"narrow": [12], "wide": [18]}


@pytest.mark.parametrize(
    ("limits", "going"),
    [
        ({"min_filters": 2}, 10),  # of the layer of 12
        ({"min_filters": {"wide": 15}}, 3),
        ({"min_filters": {"wide": 17, "narrow": 1}}, 1),
        ({"per_layer": {"wide": 0.25}}, 4),
        ({"per_layer": {"wide": 0.25, "narrow": 2}}, 2),
        ({"round_to": 6}, 6),
        ({"round_to": 3}, 9),
    ],
)
def test_filters_that_must_stay_count_among_those_that_stay(limits, going):
    assert lost(**limits) == {"narrow": going, "wide": going}
    selection = removable(RANKING, **limits)
    small = rebuild(MODEL, X, selection).eval()
    assert (small.narrow.out_channels, small.wide.out_channels) == (12 - going, 18 - going)


def test_layers_that_cannot_come_to_round_numbers_together_stay():
    assert lost(round_to=4) == {}  # 12 - 4 is one, 18 - 4 is none
    with pytest.raises(ValueError, match=r"only 0 of the 1 .* and a multiple of 4"):
        select(RANKING, 1, round_to=4)


def test_widths_as_floors_leave_room_for_all_that_is_to_go():
    graph = trace(MODEL, X)
    gone = select_widths(RANKING, {unit.name: 5 for unit in units(graph, "everywhere")}, graph)
    floors = {
        name: layer.filters - len(gone.get(name, ())) for name, layer in graph.prunable.items()
    }
    assert removable(RANKING, min_filters=floors) == gone


def test_without_the_column_a_layer_ends_with_its_last_row():
    assert removable(WIDE[2:], min_filters=3) == {"a": [2, 3], "b": [0]}  # five filters and four
    assert removable(PLAIN.assign(width=4)) == {"a": [0, 1], "b": [1, 2]}


def test_a_width_below_the_filters_is_refused():
    with pytest.raises(ValueError, match="a has filter 2, but the width 2"):
        select(PLAIN.assign(width=2), 1)
