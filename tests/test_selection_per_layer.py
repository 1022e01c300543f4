"""What each layer may lose in one selection: counts and shares, by name or pattern."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_selection import COUPLED, PLAIN, rankings, table
from torchvision.models.resnet import BasicBlock, ResNet

from prunekit import rank, rebuild, select
from prunekit.selection import removable


@pytest.mark.parametrize(
    ("per_layer", "taken"),
    [
        ({"a": 1}, {"a": [0], "b": [1, 2]}),
        ({"a": 0}, {"b": [1, 2]}),
        ({"*": 1}, {"a": [0], "b": [1]}),
        ({"*": 1, "b": 2}, {"a": [0], "b": [1, 2]}),
        ({"b": 2, "*": 1}, {"a": [0], "b": [1]}),
        ({"*": 0.34}, {"a": [0], "b": [1]}),
        ({"*": 0.33}, {}),  # of three filters, a third would be more
        ({"a": 0.67, "b": np.float32(0.4)}, {"a": [0, 1], "b": [1]}),
        ({"a": 100}, {"a": [0, 1], "b": [1, 2]}),
        ({}, {"a": [0, 1], "b": [1, 2]}),
        (None, {"a": [0, 1], "b": [1, 2]}),
    ],
)
def test_the_last_pattern_that_matches_says_how_many(per_layer, taken):
    assert removable(PLAIN, min_filters=1, per_layer=per_layer) == taken


def test_the_rest_comes_from_other_layers():
    assert select(PLAIN, 2, min_filters=1) == {"a": [0, 1]}
    assert select(PLAIN, 2, min_filters=1, per_layer={"a": 1}) == {"a": [0], "b": [1]}


def test_the_stricter_of_floor_and_cap_counts():
    assert removable(PLAIN, min_filters={"a": 1, "b": 3}, per_layer={"*": 1}) == {"a": [0]}
    assert removable(PLAIN, min_filters=2, per_layer={"*": 2}) == {"a": [0], "b": [1]}


def test_a_group_goes_only_if_every_layer_may_lose_it():
    assert removable(COUPLED, min_filters=1, per_layer={"b": 1}) == {
        "a": [0], "b": [0], "c": [0, 1],
    }  # fmt: skip
    assert removable(COUPLED, min_filters=1, per_layer={"b": 0}) == {"c": [0, 1]}


def test_a_group_that_takes_two_filters_of_a_layer_counts_twice():
    pairs = table(*(("a", f, f // 2, 1 + f // 2) for f in range(8)))
    assert removable(pairs, min_filters=1, per_layer={"a": 3}) == {"a": [0, 1]}


def test_a_share_is_of_all_filters_of_a_layer_also_of_those_that_must_stay():
    kept = table(*(("a", f, 0.1 * f, f) for f in range(4, 10)))  # 0 to 3 have no row
    assert removable(kept, min_filters=1, per_layer={"a": 0.3}) == {"a": [4, 5, 6]}


def test_a_share_is_not_rounded_down_by_floating_point():
    wide = table(*(("a", f, f, f + 1) for f in range(100)))
    assert len(removable(wide, min_filters=1, per_layer={"a": 0.29})["a"]) == 29


def test_bundles_for_round_numbers_are_not_split_by_a_cap():
    wide = table(*(("a", f, f, f + 1) for f in range(8)))
    assert removable(wide, min_filters=1, round_to=4, per_layer={"a": 5}) == {"a": [0, 1, 2, 3]}
    assert removable(wide, min_filters=1, round_to=4, per_layer={"a": 3}) == {}


def test_too_many_asked_for_names_the_limits():
    with pytest.raises(ValueError, match=r"only 2 of the 3 .* at most \{'\*': 1\}"):
        select(PLAIN, 3, min_filters=1, per_layer={"*": 1})


@settings(deadline=None)
@given(rankings(), st.integers(0, 3), st.floats(0.05, 0.95))
def test_no_layer_loses_more_than_it_may(ranking, cap, share):
    widths = ranking.groupby("layer")["filter"].max() + 1
    first = ranking["layer"].iloc[0]
    lost = removable(ranking, min_filters=1, per_layer={"*": share, first: cap})
    for layer, filters in lost.items():
        assert len(filters) <= (cap if layer == first else share * widths[layer] + 1e-9)


def test_a_third_of_every_layer_of_a_residual_network():
    torch.manual_seed(0)
    model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=4).eval()
    x = torch.randn(2, 3, 32, 32)
    ranking = rank(model, [(x, None)], "weight_l1", progress=False)
    remove = removable(ranking, per_layer={"*": 1 / 3})
    widths = ranking.groupby("layer", sort=False)["filter"].size()
    counts = pd.Series({layer: len(filters) for layer, filters in remove.items()})
    assert counts.equals((widths // 3).rename(None).rename_axis(None))
    assert rebuild(model, x, remove)(x).shape == (2, 4)
