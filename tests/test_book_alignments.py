"""Two ways to learn masks, compared: better, worse, a trade, or nothing shown."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from prunekit.book.alignments import at_equal_macs, judged


def difference(mean: float, half: float, seeds: int = 3) -> pd.Series:
    return pd.Series({"mean": mean, "low": mean - half, "high": mean + half, "seeds": seeds})


@pytest.mark.parametrize(
    ("accuracy", "macs", "said"),
    [
        (0.02, 0.00, "**Better**: ahead in accuracy, and behind in nothing."),
        (0.02, 0.02, "**Better**: ahead in accuracy and MACs removed, and behind in nothing."),
        (0.00, 0.02, "**Better**: ahead in MACs removed, and behind in nothing."),
        (0.00, 0.00, "**No difference shown** in accuracy or MACs removed."),
        (-0.02, 0.00, "**Worse**: behind in accuracy, and ahead in nothing."),
        (-0.02, 0.02, "**A trade**: ahead in MACs removed, behind in accuracy."),
    ],
)
def test_a_verdict_follows_from_both_aims(accuracy, macs, said):
    aims = {"accuracy": difference(accuracy, 0.01), "MACs removed": difference(macs, 0.01)}
    assert judged(aims) == said


def test_one_seed_is_no_verdict():
    aims = {"accuracy": difference(0.5, math.nan, 1), "MACs removed": difference(0.5, math.nan, 1)}
    assert judged(aims) == "One seed is no evidence yet."


def candidates(runs: dict[tuple[str, int], list[tuple[float, float]]]) -> pd.DataFrame:
    rows = [(*run, *candidate) for run, found in runs.items() for candidate in found]
    return pd.DataFrame(rows, columns=["variant", "seed", "macs_removed", "accuracy"])


RUNS = {
    ("both", 0): [(0.0, 0.9), (0.4, 0.8), (0.2, 0.1)],  # the last is beaten, and not on the way
    ("both", 1): [(0.0, 0.9), (0.8, 0.5)],
    ("mse", 0): [(0.0, 0.9), (0.5, 0.4)],
    ("mse", 1): [(0.1, 0.9), (0.6, 0.4)],
    ("third", 0): [(0.0, 0.9), (0.01, 0.9)],
}


def test_candidates_are_read_where_all_have_come():
    share, found = at_equal_macs(candidates(RUNS), "both", "mse")
    assert share == 0.4
    # 0.8 and 0.7 of one, 0.5 and 0.6 of the other: on straight lines between neighbours.
    assert found.iloc[0][["mean", "seeds"]].tolist() == pytest.approx([0.2, 2])


def test_where_nothing_is_shared_nothing_is_compared():
    share, found = at_equal_macs(candidates(RUNS), "both", "absent")
    assert share == 0.4 and found.empty
    share, found = at_equal_macs(candidates(RUNS), "absent", "missing")
    assert share == 0 and found.empty
