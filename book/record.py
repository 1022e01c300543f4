"""Carry out an experiment of squeezenet_cifar10.toml and record it under book/results.

    python book/record.py fine_tuned    # all layers trained on from ImageNet weights
    python book/record.py combined_90   # the fine-tuned network pruned to 10 % of its filters

The runs are those of a study, and one that was stopped goes on likewise. Two things a study does
not do: a run goes on from another, and the mean of their networks may be kept. So an experiment is
recorded in a folder of its own, as one network with its tables and ``provenance.json``.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

import prunekit
from prunekit.storage.files import write_json, write_table
from prunekit.storage.provenance import current_commit
from prunekit.study import Study, read_study
from prunekit.study.tasks import Classification
from prunekit.study.work import DONE, MODEL, carry_out
from prunekit.training import evaluate

BOOK = Path(__file__).parent
RESULTS = BOOK / "results"
UNFINISHED = BOOK.parent / "_build" / "unfinished"


def runs_of(study: Study, experiment: str) -> list[dict[str, Any]]:
    """Settings of the runs that make up an experiment: ``name``, ``name.2``, and so on."""
    return [run for run in study.runs.values() if experiment_of(run) == experiment]


def experiment_of(run: dict[str, Any]) -> str:
    return run["variant"].partition(".")[0]


def record(study: Study, experiment: str, seed: int, results: Path, unfinished: Path) -> None:
    """Carry out the runs of an experiment, and keep what came of it.

    Parameters
    ----------
    results
        Folder of recorded results; these go to ``results / study.name / experiment``.
    unfinished
        Folder for the state of the runs.
    """
    command, commit = f"python book/record.py {experiment} --seed {seed}", current_commit()
    runs = runs_of(study, experiment)
    ends: dict[str, Path] = {}
    for number, run in enumerate(runs):
        settings = run | {"seed": seed + number}
        if run["start"] in ends:
            settings["start"] = ends[run["start"]].resolve().as_posix()
        ends[run["variant"]] = folder = unfinished / f"{run['variant']}-seed{seed}"
        carry_out(
            settings,
            folder,
            results,
            threads=study.threads,
            command=command,
            commit=commit,
            progress=lambda share, run=run["variant"]: print(f"{run}: {share:.0%}"),
        )
    _keep(runs, list(ends.values()), results / study.name / experiment)


def _keep(runs: list[dict[str, Any]], ends: list[Path], folder: Path) -> None:
    """Write one folder of what the folders of an experiment's runs hold."""
    records = [json.loads((end / DONE).read_text("utf-8")) for end in ends]
    first, last = runs[0], records[-1]
    networks = [prunekit.load(end / MODEL) for end in ends]
    dataset = Classification.load(first)
    loaders = Classification(dataset, first, networks[0])
    candidates = {"last": networks[-1], "mean of cycle ends": _mean(networks)}
    accuracies = {name: evaluate(net, loaders.val).accuracy for name, net in candidates.items()}
    kept = max(accuracies, key=accuracies.__getitem__)  # of equals the first, the last network
    test = evaluate(candidates[kept], loaders.test)
    for name in ("history", "table", "pattern"):
        paths = [end / f"{name}.csv" for end in ends]
        if paths[0].is_file():
            table = pd.concat(map(pd.read_csv, paths), ignore_index=True)
            write_table(_counted_on(table) if name == "history" else table, folder / f"{name}.csv")
    prunekit.save(candidates[kept], folder / MODEL, {"classes": dataset.classes})
    facts = {
        "seed": records[0]["seed"],
        "seconds": round(sum(record["seconds"] for record in records), 1),
        "settings": _settings(runs),
        "weights": first["start"],
        "validation_accuracy": accuracies,
        "kept": kept,
        "stage_commits": [record["commit"] for record in records],
        "batch_size": first["batch_size"],
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
    }
    write_json(last | facts, folder / DONE)


def _settings(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """As a card shows them: of pruning, or of one training after another."""
    size = {"input_size": runs[0]["input_size"]}
    if runs[0]["prune"]:
        return runs[0]["prune"] | size
    stages = [run["train"] for run in runs]
    total = {"epochs": sum(stage["epochs"] for stage in stages)}
    return {"stages": stages} | total | {"lr": max(stage["lr"] for stage in stages)} | size


def _counted_on(history: pd.DataFrame) -> pd.DataFrame:
    """Epochs of several trainings numbered as those of one."""
    return history.assign(epoch=range(1, len(history) + 1))


def _mean(models: list[nn.Module]) -> nn.Module:
    """A network whose every weight is the mean of the same weight of ``models``."""
    result = copy.deepcopy(models[-1])
    with torch.no_grad():
        for mean, *single in zip(*(m.parameters() for m in (result, *models)), strict=True):
            mean.copy_(torch.stack(single).mean(dim=0))
    return result


def main() -> None:
    study = read_study(BOOK / "squeezenet_cifar10.toml")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = list(dict.fromkeys(map(experiment_of, study.runs.values())))
    parser.add_argument("experiment", choices=names)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    record(study, options.experiment, options.seed, RESULTS, UNFINISHED)


if __name__ == "__main__":
    main()
