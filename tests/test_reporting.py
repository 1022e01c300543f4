"""One run of a study: what it reports, and what it leaves when it is interrupted."""

from __future__ import annotations

import itertools
import json
from functools import partial
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from loops import SMALL_STUDY, network

from prunekit import prune
from prunekit.criteria import WeightNorm
from prunekit.data import Loader
from prunekit.study import read_study
from prunekit.study.reporting import Reporter
from prunekit.study.tasks import Classification
from prunekit.study.tuning import Tuning
from prunekit.study.work import DONE, MODEL, carry_out


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
        "batch_norm": None,
        "prune": pruning | {"criterion": criterion},
        "finish": {"ratios": [0.6]},
    }
    x = torch.zeros(1, 3, 32, 32)
    task = SimpleNamespace(train=noise, val=noise, test=noise, example_inputs=x, options={})
    task.numbers, task.judged = ("accuracy",), partial(Classification.judged, None)
    task.metadata = {}
    model = network()
    tuning = Tuning(model, task, tmp_path, tmp_path)
    reporter = Reporter(model, task, tuning, settings, tmp_path, lambda share: None)
    seen = []

    def report(model, rows):
        seen.append((1 - rows[-1]["parameters"] / rows[0]["parameters"], rows[-1]["filters"]))
        reporter(model, rows)

    prune(model, noise, noise, "weight_l1", report=report, progress=False, **pruning)
    share, filters = seen[-2]
    # Of the parameters more than half are gone before the last iteration, of the filters less.
    assert 0.5 < share < 0.6
    assert filters > seen[0][1] / 2
    assert Noted.asked


@pytest.fixture
def interrupting(monkeypatch):
    """The third pass over any loader of a run is interrupted."""
    passes = []

    class Interrupting(Loader):
        def __iter__(self):
            passes.append(self)
            if len(passes) == 3:
                raise KeyboardInterrupt
            return super().__iter__()

    monkeypatch.setattr("prunekit.study.tasks.Loader", Interrupting)


def test_a_run_that_is_interrupted_in_training_is_not_recorded(tmp_path, interrupting):
    (tmp_path / "small.toml").write_text(SMALL_STUDY.format(ratio=0.4))
    settings = read_study(tmp_path / "small.toml").runs["small-seed0"]
    settings["train"]["epochs"] = 3
    folder, options = tmp_path / "run", {"threads": 1, "command": "", "commit": ""}
    with pytest.raises(KeyboardInterrupt):
        carry_out(settings, folder, tmp_path, progress=lambda share: None, **options)
    assert (folder / "training.safetensors").is_file()
    assert not (folder / DONE).exists()
    assert not (folder / MODEL).exists()


def test_the_time_of_a_fine_tuning_counts_the_epochs_before_it_was_interrupted(
    tmp_path, interrupting, monkeypatch
):
    hours = itertools.count(step=3600)
    clock = SimpleNamespace(perf_counter=lambda: next(hours))
    monkeypatch.setattr("prunekit.training.fitting.time", clock)
    (tmp_path / "tuned.toml").write_text(
        'dataset = "digits"\ninput_size = 16\nstart = "tiny"\n'
        "finish = { fine_tune = { epochs = 3, lr = 0.01 } }\n"
    )
    settings = read_study(tmp_path / "tuned.toml").runs["tuned-seed0"]
    folder, options = tmp_path / "run", {"threads": 1, "command": "", "commit": ""}
    options["progress"] = lambda share: None
    with pytest.raises(KeyboardInterrupt):
        carry_out(settings, folder, tmp_path, **options)
    carry_out(settings, folder, tmp_path, **options)
    record = json.loads((folder / DONE).read_text())
    for seconds in (*pd.read_csv(folder / "networks.csv")["seconds"], record["seconds"]):
        assert 3 * 3600 <= seconds < 4 * 3600
