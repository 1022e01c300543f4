"""The heap of chapter 9 takes what `select` takes, state by state."""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.book.heap import heap_states
from prunekit.selection import select

TOY = pd.DataFrame(
    {
        "layer": list("aaaabbbcc"),
        "filter": [0, 1, 2, 3, 0, 1, 2, 0, 1],
        "score": [0.62, 0.35, 0.81, 0.27, 0.44, 0.12, 0.93, 0.08, 0.19],
    }
)


def is_heap(entries):
    return all(entries[(i - 1) // 2] <= entry for i, entry in enumerate(entries) if i)


def taken(state):
    return {(entry.layer, entry.filter) for entry in state.taken}


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 6), min_size=1, max_size=4),
    seed=st.integers(0, 2**16),
    floor=st.integers(1, 3),
)
def test_the_drawn_heap_takes_what_select_takes(sizes, seed, floor):
    table = pd.DataFrame(
        [(f"layer{i}", index) for i, size in enumerate(sizes) for index in range(size)],
        columns=["layer", "filter"],
    )
    table["score"] = np.random.default_rng(seed).permutation(len(table)) / 10
    possible = sum(max(0, size - floor) for size in sizes)
    if not possible:
        return
    count = 1 + seed % possible
    states = heap_states(table, count, floor)
    chosen = select(table, count, min_filters=floor)
    assert taken(states[-1]) == {(layer, i) for layer, filters in chosen.items() for i in filters}


def test_the_drawn_heap_is_that_of_heapq():
    states = heap_states(TOY, count=3)
    built = next(i for i, state in enumerate(states) if state.note.startswith("No parent"))
    expected = list(states[0].heap)
    heapq.heapify(expected)
    assert list(states[built].heap) == expected
    for _ in range(len(TOY) - len(states[-1].heap)):
        heapq.heappop(expected)
    assert list(states[-1].heap) == expected
    assert is_heap(states[-1].heap)


def test_a_floor_keeps_the_lowest_scores_of_a_small_layer():
    last = heap_states(TOY, count=3, min_filters=2)[-1]
    assert [entry.name for entry in last.taken] == ["b1", "a3", "a1"]
    assert [entry.name for entry in last.kept] == ["c0", "c1"]


def test_each_step_changes_only_the_positions_in_focus():
    states = heap_states(TOY, count=1)
    for before, after in itertools.pairwise(states):
        if len(before.heap) == len(after.heap):
            changed = {
                i
                for i, pair in enumerate(zip(before.heap, after.heap, strict=True))
                if pair[0] != pair[1]
            }
            assert changed <= set(after.focus)
