"""The networks that a run of a study reports."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from loops import network

from prunekit import prune
from prunekit.criteria import WeightNorm
from prunekit.study.reporting import Reporter


class Noted(WeightNorm):
    """A criterion that notes that it was asked."""

    asked = False

    def __call__(self, observation):
        type(self).asked = True
        return super().__call__(observation)


def test_a_schedule_is_read_by_the_budget_also_between_two_iterations(noise, tmp_path):
    criterion = [(0, "weight_l1"), (0.5, Noted(2))]
    pruning = {"ratio": 0.69, "per_iteration": 30, "budget": "parameters", "fine_tune": None}
    settings = {
        "seed": 0,
        "prune": pruning | {"criterion": criterion},
        "finish": {"ratios": [0.6]},
    }
    loaders = SimpleNamespace(
        train=noise, val=noise, test=noise, example_inputs=torch.zeros(1, 3, 32, 32)
    )
    reporter = Reporter(network(), loaders, settings, tmp_path, progress=lambda share: None)
    seen = []

    def report(model, rows):
        seen.append((1 - rows[-1]["parameters"] / rows[0]["parameters"], rows[-1]["filters"]))
        reporter(model, rows)

    prune(network(), noise, noise, "weight_l1", report=report, progress=False, **pruning)
    share, filters = seen[-2]
    # Of the parameters more than half are gone before the last iteration, of the filters less.
    assert 0.5 < share < 0.6
    assert filters > seen[0][1] / 2
    assert Noted.asked
