"""Two ways to learn masks, compared: better, worse, a trade, or nothing shown."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from prunekit.adversarial import discriminator_loss
from prunekit.book.alignments import (
    CANNOT_TELL,
    TELLS,
    at_equal_macs,
    compared,
    judged,
    told,
    told_in_words,
)


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


def test_a_verdict_says_how_it_came_about():
    networks = pd.DataFrame(
        {
            "variant": ["both"] * 2 + ["mse"] * 2,
            "seed": [0, 1] * 2,
            "ratio": [0.3, 0.4, 0.5, 0.6],
            "test_accuracy": [0.90, 0.91, 0.80, 0.81],
            "macs_removed": [0.4, 0.5, 0.4, 0.5],
        }
    )
    said = compared(networks, candidates(RUNS), "both", "mse")
    assert said.startswith("**Better**: ahead in accuracy, and behind in nothing. Each by itself: ")
    assert "accuracy **ahead** (+10.0 points, +10.0 to +10.0); MACs removed **tied**" in said
    assert "lost 40% of the MACs, accuracy on validation images: **tied** (+20.0" in said
    assert compared(networks, candidates(RUNS), "both", "absent") == ""
    one_seed = networks[networks["seed"] == 0]
    said = compared(one_seed, candidates(RUNS), "both", "mse")
    assert said == "One seed is no evidence yet."


def test_what_a_discriminator_can_reach_is_what_the_library_gives_at_best():
    """Over all beliefs about alike outputs, and about the student's where all can be told."""
    logits = torch.linspace(-6, 6, 2001, dtype=torch.double)
    alike = [discriminator_loss(lambda outputs, at=at: at, logits, logits) for at in logits]
    assert min(alike).item() == pytest.approx(CANNOT_TELL, abs=1e-5)
    one = torch.ones(1, 1, dtype=torch.double)

    def certain(outputs, at):
        return 60 * one if (outputs > 0).all() else at * one

    apart = [discriminator_loss(lambda x, at=at: certain(x, at), one, -one) for at in logits]
    assert min(apart).item() == pytest.approx(TELLS, abs=1e-5)


def test_how_much_was_told_is_read_at_the_last_epoch():
    halfway = (CANNOT_TELL + TELLS) / 2
    rows = {"variant": "both", "seed": [0, 0, 1, 1]}
    found = pd.DataFrame(rows | {"discriminator_loss": [TELLS, halfway, 2, CANNOT_TELL]})
    assert told_in_words(found, "both") == "0% to 50%"
    assert told_in_words(found[found["seed"] == 0], "both") == "50%"
    assert told(9) == 0 and told(0) == 1
