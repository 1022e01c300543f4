"""The heap over all layers: lowest first, never below a floor, coupled filters as one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit import select
from prunekit.selection import removable


def table(*rows):
    return pd.DataFrame(rows, columns=["layer", "filter", "score", "group"])


PLAIN = table(
    ("a", 0, 0.1, 1), ("a", 1, 0.2, 2), ("a", 2, 0.3, 3), ("b", 0, 0.6, 4), ("b", 1, 0.4, 5),
    ("b", 2, 0.5, 6),
)  # fmt: skip
COUPLED = table(
    ("a", 0, 0.1, 1), ("a", 1, 0.3, 2), ("a", 2, 0.5, 3), ("b", 0, 0.1, 1), ("b", 1, 0.3, 2),
    ("b", 2, 0.5, 3), ("c", 0, 0.2, 4), ("c", 1, 0.4, 5), ("c", 2, 0.6, 6),
)  # fmt: skip


def test_lowest_scores_go_first_across_layers():
    assert select(PLAIN, 3, min_filters=1) == {"a": [0, 1], "b": [1]}


def test_the_floor_passes_over_a_layer():
    selection = select(PLAIN, 2, min_filters=2)
    assert selection == {"a": [0], "b": [1]}


@pytest.mark.parametrize(
    ("floors", "taken"),
    [
        ({"a": 3}, {"b": [1]}),
        ({"b": 1}, {"a": [0], "b": [1, 2]}),
        ({"*": 1, "a": 2}, {"a": [0], "b": [1, 2]}),
        ({"a": 2, "*": 1}, {"a": [0, 1], "b": [1, 2]}),
    ],
)
def test_floors_by_name_the_last_that_matches(floors, taken):
    """Layers that no pattern names keep two."""
    assert removable(PLAIN, min_filters=floors) == taken


def test_coupled_filters_go_together_and_count_once():
    selection = select(COUPLED, 2)
    assert selection == {"a": [0], "b": [0], "c": [0]}
    assert (selection.groups, selection.filters) == (2, 3)


def test_one_layer_at_its_floor_holds_the_whole_group():
    narrow = pd.concat([COUPLED[COUPLED["layer"] != "b"], table(("b", 0, 0.1, 1))])
    assert select(narrow, 1, min_filters=1) == {"c": [0]}


@pytest.mark.parametrize("exclude", [("a",), ["?"], "a"])
def test_excluded_layers_keep_all_their_filters(exclude):
    if exclude == ["?"]:
        assert removable(COUPLED, exclude=exclude) == {}
    else:
        assert select(COUPLED, 1, exclude=exclude) == {"c": [0]}


def test_equal_scores_leave_in_the_order_of_the_ranking():
    level = PLAIN.assign(score=0.5)
    assert select(level, 2, min_filters=1) == {"a": [0, 1]}
    assert select(level.iloc[::-1], 2, min_filters=1) == {"b": [1, 2]}


def test_group_0_stays_and_a_missing_group_column_means_alone():
    assert select(PLAIN.assign(group=[0, 1, 2, 3, 4, 5]), 1) == {"a": [1]}
    assert select(PLAIN.drop(columns="group"), 2) == {"a": [0], "b": [1]}


def test_asking_for_too_much_says_how_much_there_is():
    with pytest.raises(ValueError, match="only 2 of the 3"):
        select(PLAIN, 3)
    assert removable(PLAIN).groups == 2


@pytest.mark.parametrize(
    ("ranking", "options", "message"),
    [
        (PLAIN, {"count": 0}, "count"),
        (PLAIN, {"min_filters": 0}, "min_filters"),
        (PLAIN, {"min_filters": {"conv*": 3}}, r"min_filters: no layer matches 'conv\*'"),
        (PLAIN, {"min_filters": {"a": 0}}, r"min_filters\['a'\] must be at least 1, not 0"),
        (PLAIN, {"round_to": 0}, "round_to must be at least 1, not 0"),
        (PLAIN, {"count": 5, "min_filters": 1, "round_to": 2}, "at least 1, and a multiple of 2"),
        (PLAIN, {"exclude": ["conv*"]}, r"no layer matches 'conv\*'"),
        (PLAIN.drop(columns="score"), {}, "no column score"),
        (PLAIN.assign(score=np.nan), {}, "filter 0 of a has the score nan"),
        (PLAIN.assign(filter=0), {}, "filter 0 of a is listed more than once"),
    ],
)
def test_bad_input_is_named(ranking, options, message):
    with pytest.raises(ValueError, match=message):
        select(ranking, **({"count": 1} | options))


WIDE = table(
    *(("a", index, score, index + 1) for index, score in enumerate((0.1, 0.9, 0.2, 0.3, 0.8))),
    *(("b", index, 0.25 + index / 2, index + 6) for index in range(4)),
)


def test_round_numbers_are_reached_by_bundles_of_lowest_mean():
    # First bundles: filter 0 of a (5 to 4 left, mean 0.1); 0 and 1 of b (4 to 2, mean 0.5).
    # The next of a: filters 2 and 3 (4 to 2, mean 0.25).
    options = {"min_filters": 1, "round_to": 2}
    assert select(WIDE, 1, **options) == {"a": [0]}
    assert select(WIDE, 2, **options) == select(WIDE, 3, **options) == {"a": [0, 2, 3]}
    assert select(WIDE, 4, **options) == {"a": [0, 2, 3], "b": [0, 1]}
    assert removable(WIDE, **options).groups == 5
    assert removable(WIDE, min_filters=3, round_to=2) == {"a": [0]}


def test_filters_that_must_stay_count_towards_a_round_number():
    # Layer a has filters 0 to 4, of which 0 and 1 must stay and have no row.
    assert removable(WIDE[2:], min_filters=1, round_to=4) == {"a": [2]}


def test_coupled_layers_come_to_round_numbers_together():
    wide = pd.concat([WIDE, WIDE[WIDE["layer"] == "b"].assign(layer="c")])
    assert select(wide, 3, min_filters=1, round_to=2) == {"a": [0, 2, 3]}
    assert select(wide, 5, min_filters=1, round_to=2) == {"a": [0, 2, 3], "b": [0, 1], "c": [0, 1]}
    uneven = pd.concat([wide, table(("c", 4, 0.0, 10))])
    assert removable(uneven, min_filters=1, round_to=2) == {"a": [0, 2, 3]}


@st.composite
def rankings(draw):
    """Up to four layers of up to six filters; scores tie often; groups cross layers."""
    widths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    places = [(f"l{n}", index) for n, width in enumerate(widths) for index in range(width)]
    groups = draw(st.lists(st.integers(0, 12), min_size=len(places), max_size=len(places)))
    value = draw(st.lists(st.integers(0, 5), min_size=13, max_size=13))
    return table(
        *((*place, float(value[group]), group) for place, group in zip(places, groups, strict=True))
    )


def by_sorting(ranking, floor):
    """The order in which groups leave, found by sorting once and looking at each in turn."""
    left = Counter(ranking["layer"])
    movable = ranking[ranking["group"] != 0].groupby("group", sort=False)
    order = movable["score"].mean().sort_values(kind="stable")
    leaving = []
    for group in order.index:
        lost = Counter(movable.get_group(group)["layer"])
        if all(left[layer] - count >= floor for layer, count in lost.items()):
            left.subtract(lost)
            leaving.append(group)
    return leaving


@settings(deadline=None)
@given(rankings(), st.integers(1, 3), st.data())
def test_select_agrees_with_sorting(ranking, floor, data):
    leaving = by_sorting(ranking, floor)
    assert removable(ranking, min_filters=floor).groups == len(leaving)
    if not leaving:
        return
    count = data.draw(st.integers(1, len(leaving)))
    selection = select(ranking, count, min_filters=floor)
    gone = ranking[ranking["group"].isin(leaving[:count])]
    assert {name: sorted(part) for name, part in gone.groupby("layer")["filter"]} == selection
    assert (selection.groups, selection.filters) == (count, len(gone))


@settings(deadline=None)
@given(rankings(), st.integers(1, 3))
def test_no_layer_that_loses_filters_falls_below_the_floor(ranking, floor):
    widths = Counter(ranking["layer"])
    for layer, filters in removable(ranking, min_filters=floor).items():
        assert widths[layer] - len(filters) >= floor
        assert filters == sorted(set(filters))


@given(rankings(), st.integers(1, 3), st.integers(1, 4))
def test_layers_that_lose_filters_keep_a_round_number(ranking, floor, round_to):
    widths = ranking.groupby("layer")["filter"].max() + 1
    limits = {"min_filters": floor, "round_to": round_to}
    everything = removable(ranking, **limits)
    for layer, filters in everything.items():
        assert (widths[layer] - len(filters)) % round_to == 0
    before: dict[str, list[int]] = {}
    for count in range(1, everything.groups + 1):
        selection = select(ranking, count, **limits)
        assert selection.groups >= count
        assert all(set(before[layer]) <= set(selection[layer]) for layer in before)
        before = selection
    if round_to == 1:
        assert everything == removable(ranking, min_filters=floor)
