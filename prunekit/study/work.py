"""One run of a study: start, train, prune, and fine-tune what is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from prunekit.detection import pedestrian_detector, ssdlite_squeezenet, tiny_ssdlite
from prunekit.models import (
    CIFAR_MODELS,
    TinySqueezeNet,
    efficientnet_lite0,
    freeze_features,
    remove_final_relu,
    squeezenet,
)
from prunekit.pruning import prune
from prunekit.repair import insert_batch_norm
from prunekit.storage import load
from prunekit.storage.files import write_json, write_table
from prunekit.storage.fingerprints import digest_of
from prunekit.storage.provenance import provenance
from prunekit.study.at_once import aligned, narrowed
from prunekit.study.reporting import Progress, Reporter, reported_name
from prunekit.study.tasks import task_of
from prunekit.study.tuning import MODEL, Tuning
from prunekit.training import fit

DONE = "provenance.json"
TRAINING_SHARE = 0.3  # of a run's time, for the progress bar
FRESH: dict[str, Callable[[int], nn.Module]] = {
    "imagenet": partial(squeezenet, pretrained=True),
    "random": squeezenet,
    "tiny": TinySqueezeNet,
    **CIFAR_MODELS,
    "efficientnet_lite0": partial(efficientnet_lite0, pretrained=True),
    "pedestrian": lambda classes: pedestrian_detector(),
    "ssdlite_squeezenet": lambda classes: ssdlite_squeezenet(classes + 1, pretrained=True),
    "tiny_ssdlite": lambda classes: tiny_ssdlite(classes + 1),  # the background is one
}


def carry_out(
    settings: dict[str, Any],
    folder: Path,
    results: Path,
    *,
    threads: int,
    command: str,
    commit: str,
    progress: Progress,
) -> None:
    """Do one run, or the rest of it, and leave its tables in ``folder``.

    Parameters
    ----------
    settings
        One of :attr:`prunekit.study.Study.runs`.
    folder
        Of this run alone. It holds the state between iterations; when the
        run is complete, ``provenance.json`` is written there last.
    results
        Where recorded networks lie, for ``start``.
    progress
        Called with the share of the run that is done.

    Raises
    ------
    ValueError
        ``folder`` holds a run of other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_other_settings(folder / "settings.json", settings)
    if (folder / DONE).is_file():
        return
    torch.set_num_threads(threads)
    commits = _note_commit(folder / "commits.json", commit)
    kind = task_of(settings["dataset"])
    dataset = kind.load(settings)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings["seed"])
    model = start(settings["start"], len(dataset.classes), results).to(device)
    starting_weights = digest_of(model)
    if settings.get("fresh"):
        for module in model.modules():
            if callable(renew := getattr(module, "reset_parameters", None)):
                renew()
    if settings["freeze"]:
        freeze_features(model)
    if settings["final_relu"] is False:
        remove_final_relu(model)
    task = kind(dataset, settings, model)
    if settings["batch_norm"]:
        model = insert_batch_norm(model, task.train)
    pruning, training, finish = settings["prune"], settings["train"], settings["finish"]
    if training:
        history = fit(
            model,
            task.train,
            task.val,
            **task.options | training,
            checkpoint=folder / "training.safetensors",
            progress=False,
        )
        write_table(history, folder / "history.csv")
    begun = TRAINING_SHARE if training else 0.0
    progress(begun)
    tuning = Tuning(model, task, results, folder)
    reporter = Reporter(
        model,
        task,
        tuning,
        settings,
        folder,
        lambda share: progress(begun + (1 - begun) * share),
    )
    if pruning:
        history = prune(
            model,
            task.train,
            task.val,
            **task.options | pruning | {"fine_tune": tuning.of(pruning["fine_tune"])},
            seed=settings["seed"],
            folder=folder,
            report=reporter if finish and "ratios" in finish else reporter.show,
            progress=False,
        )
        write_table(history.table, folder / "table.csv")
        pattern = history.pattern.rename(columns=reported_name)
        write_table(pattern.reset_index(), folder / "pattern.csv")
        model = history.model
    elif settings["widths"]:
        model = narrowed(model, task, settings["widths"])
    elif settings["align"]:
        model = aligned(model, task, settings["align"], folder)
    if not (finish and "ratios" in finish):
        reporter.finish_last(model)
    reporter.write_tables()
    record = provenance(
        seed=settings["seed"],
        data=dataset.name,
        data_sha256=dataset.fingerprint(),
        command=command,
        seconds=_seconds(folder),
        commit=commit,
    )
    if len(commits) > 1:
        record["earlier_commits"] = commits[:-1]
    record |= {"classes": len(dataset.classes), "settings": settings}
    write_json(record | {"starting_weights": starting_weights}, folder / DONE)
    progress(1.0)


def start(name: str, classes: int, results: Path) -> nn.Module:
    """The network a run begins with.

    Raises
    ------
    FileNotFoundError
        ``name`` is a recorded network that is not there.
    """
    refuse_missing_start(name, results)
    if name in FRESH:
        return FRESH[name](classes)
    return load(results / name / MODEL).float()  # some are kept in half precision


def is_there(name: str, results: Path) -> bool:
    """Whether a run could begin with the network of this name."""
    return name in FRESH or (results / name / MODEL).is_file()


def refuse_missing_start(name: str, results: Path) -> None:
    """Raise the error of :func:`start`, without making the network."""
    if not is_there(name, results):
        raise FileNotFoundError(
            f"{results / name / MODEL} is not recorded: run the study {name.split('/')[0]!r} "
            f"first, with keep_model, or start from {', '.join(FRESH)}. If it is recorded without "
            "its networks, move its folder away before"
        )


def _refuse_other_settings(path: Path, settings: dict[str, Any]) -> None:
    if not path.is_file():
        write_json(settings, path)
    elif _said(json.loads(path.read_text("utf-8"))) != _said(json.loads(json.dumps(settings))):
        raise ValueError(
            f"{path.parent} holds an unfinished run of other settings: remove it, or give the new "
            "study another name"
        )


def _said(settings: dict[str, Any]) -> dict[str, Any]:
    """Without what is left at None, as is a key that came to be after the run began."""
    return {key: value for key, value in settings.items() if value is not None}


def _note_commit(path: Path, commit: str) -> list[str]:
    """The commits at which a run was taken up so far, in order, this one the last."""
    before = json.loads(path.read_text("utf-8")) if path.is_file() else []
    commits = [*(one for one in before if one != commit), commit]
    write_json(commits, path)
    return commits


def _seconds(folder: Path) -> float:
    """Wall time of what a run kept, over all the times it was taken up."""
    tables = (folder / f"{name}.csv" for name in ("history", "table", "candidates", "networks"))
    return sum(pd.read_csv(path)["seconds"].sum() for path in tables if path.is_file())
