"""Experiments of one network: several runs, each going on from the one before."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import prunekit
from prunekit.study import read_study
from prunekit.study.engine import run_study

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))
import record  # noqa: E402

RECORDED = ROOT / "book" / "results" / "squeezenet_cifar10"
DECLARED = """
dataset = "digits"
input_size = 32
start = "tiny"

[[variants]]
name = "cycles"
train = { epochs = 1, lr = 0.02 }

[[variants]]
name = "cycles.2"
start = "cycles"
train = { epochs = 2, lr = 0.01 }

[[variants]]
name = "cut"
start = "small/cycles"
prune = { criterion = "weight_l1", ratio = 0.2, per_iteration = 20, fine_tune = { epochs = 0.2 } }
"""


@pytest.fixture
def study(tmp_path):
    (tmp_path / "small.toml").write_text(DECLARED)
    return read_study(tmp_path / "small.toml")


def facts_of(folder: Path) -> dict:
    return json.loads((folder / "provenance.json").read_text("utf-8"))


def test_a_run_goes_on_from_the_one_before_and_the_better_of_end_and_mean_is_kept(study, tmp_path):
    where = (tmp_path / "results", tmp_path / "unfinished")
    record.record(study, "cycles", 3, *where)
    folder, ends = where[0] / "small" / "cycles", sorted(where[1].iterdir())
    assert pd.read_csv(folder / "history.csv")["epoch"].tolist() == [1, 2, 3]
    facts, first, second = map(facts_of, (folder, *ends))
    assert (facts["seed"], first["seed"], second["seed"]) == (3, 3, 4)
    assert facts["kept"] == max(facts["validation_accuracy"], key=facts["validation_accuracy"].get)
    assert facts["settings"]["epochs"] == 3 and facts["settings"]["lr"] == 0.02
    weights, *of_ends = (
        next(prunekit.load(path / "model.safetensors").parameters()) for path in (folder, *ends)
    )
    mean = torch.stack(of_ends).mean(dim=0)
    kept = mean if facts["kept"] == "mean of cycle ends" else of_ends[-1]
    assert torch.equal(weights, kept) and not torch.equal(*of_ends)

    record.record(study, "cut", 0, *where)
    cut = where[0] / "small" / "cut"
    table = pd.read_csv(cut / "table.csv")
    assert table["filters"].iloc[-1] <= 0.8 * table["filters"].iloc[0]
    assert facts_of(cut)["weights"] == "small/cycles" and (cut / "pattern.csv").is_file()


def test_a_run_that_is_over_is_not_repeated(study, tmp_path, monkeypatch):
    where = (tmp_path / "results", tmp_path / "unfinished")
    carry_out, calls = record.carry_out, []

    def killed_in_the_second(settings, folder, *rest, **named):
        calls.append(settings["variant"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        carry_out(settings, folder, *rest, **named)

    monkeypatch.setattr(record, "carry_out", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        record.record(study, "cycles", 0, *where)
    assert not where[0].exists()
    done = {p: p.stat().st_mtime_ns for p in (where[1] / "cycles-seed0").glob("*.safetensors")}
    record.record(study, "cycles", 0, *where)
    assert done == {path: path.stat().st_mtime_ns for path in done} and done
    assert len(pd.read_csv(where[0] / "small" / "cycles" / "history.csv")) == 3


def test_runs_that_start_from_one_another_are_not_run_as_a_study(study, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cycles/model\.safetensors is not recorded"):
        run_study(study, tmp_path / "results", tmp_path / "unfinished", command="")


@pytest.mark.parametrize("experiment", ["fine_tuned", "combined_90"])
def test_what_is_declared_is_what_was_recorded(experiment):
    study = read_study(ROOT / "book" / "squeezenet_cifar10.toml")
    runs = record.runs_of(study, experiment)
    recorded, declared = facts_of(RECORDED / experiment)["settings"], record._settings(runs)
    if "stages" in declared:
        smoothing = recorded.pop("label_smoothing")
        recorded["stages"] = [s | {"label_smoothing": smoothing} for s in recorded["stages"]]
    assert declared == recorded
    assert facts_of(RECORDED / experiment)["batch_size"] == runs[0]["batch_size"]
