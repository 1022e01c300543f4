"""Knees: two rules, found on validation, read on test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from curves import networks_table
from hypothesis import given
from hypothesis import strategies as st

from prunekit.book import BOOK, knees, starts


@pytest.fixture
def networks():
    return networks_table()


@given(
    drops=st.lists(st.floats(0, 0.1), min_size=2, max_size=8),
    limits=st.tuples(st.floats(0.001, 0.3), st.floats(0.001, 0.3)),
)
def test_a_larger_allowance_never_stops_earlier(drops, limits):
    x, y = np.linspace(0, 0.95, len(drops) + 1), 0.9 - np.cumsum([0, *drops])
    strict, loose = (knees.knee_within(x, y, limit) for limit in sorted(limits))
    assert 0 <= strict <= loose <= 0.95


def test_knees_of_the_thesis_by_rule():
    thesis = pd.read_csv(BOOK / "thesis_accuracy.csv", index_col=0).iloc[:-1]
    within = [knees.knee_within(thesis.index, thesis[column], 1) for column in thesis]
    assert within == [67, 70]


def test_knee_of_a_chord_does_not_depend_on_units():
    x, y = np.array([0, 0.3, 0.6, 0.9]), np.array([0.9, 0.88, 0.85, 0.2])
    assert knees.knee_of_chord(x, y) == 0.6
    assert knees.knee_of_chord(100 * x, 5 + 100 * y) == 60
    with pytest.raises(ValueError, match="no knee"):
        knees.knee_of_chord([0, 1, 2], [1, 2, 1])
    with pytest.raises(ValueError, match="no lower than it begins"):
        knees.knee_of_chord([0, 0.25, 0.5, 0.75, 1], [0.8, 0.9, 0.91, 0.85, 0.82])


def test_a_curve_that_comes_back_has_its_knee_where_it_first_falls():
    assert knees.knee_within([0, 0.2, 0.4, 0.6], [0.9, 0.88, 0.9, 0.5]) == pytest.approx(0.1)


def test_knees_are_found_on_validation_and_read_on_test(networks):
    held_out = networks["test_accuracy"].mask(networks["ratio"] == 0.5, 0.88)
    table = knees.knees(networks.assign(val_accuracy=held_out)).set_index(["variant", "seed"])
    row = table.loc[("taylor", 1)]
    # Validation falls from 0.90 to 0.88 at 0.5: one point is lost half way, and as much on test.
    assert row["within"] == pytest.approx(0.25)
    assert row["accuracy_lost"] == pytest.approx(0.01)
    # On test the combination lost nothing there, and even gained.
    assert table.loc[("combined", 0), "accuracy_lost"] == pytest.approx(-0.005)


def test_losses_are_counted_from_the_start_and_not_from_what_trained_longer(networks):
    accuracies = {"val_accuracy": [0.92, 0.93], "test_accuracy": [0.91, 0.95]}
    start = pd.DataFrame(accuracies, index=[0, 1])
    lost = starts.relative(networks, start).set_index(["variant", "seed", "ratio"])
    assert lost.loc[("taylor", 1, 0.5), "accuracy_lost"] == pytest.approx(0.95 - 0.88)
    assert lost.loc[("random", 0, 0.0), "accuracy_lost"] == 0
    within = knees.knees(networks, start=start).set_index(["variant", "seed"])["within"]
    assert within[("combined", 0)] == pytest.approx(0.5)  # validation, 0.92, falls to 0.91 there


def test_knees_of_runs_that_lack_the_unpruned_network(networks):
    table = knees.knees(networks).set_index(["variant", "seed"])
    # Taylor, seed 0: 0.90 at 0.5 and 0.84 at 0.8; 0.89 is reached a sixth of the way.
    assert table.loc[("taylor", 0), "within"] == pytest.approx(0.55)
    assert table.loc[("random", 0), "within"] == pytest.approx(0.05)
