"""One run of a study: start, train, prune, and fine-tune what is reported."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from prunekit.channels import trace
from prunekit.criteria.ranking import ranked_layers
from prunekit.data import Dataset, Loader, load_dataset
from prunekit.files import replacing, write_json
from prunekit.measure import profile
from prunekit.models import TinySqueezeNet, freeze_features, squeezenet
from prunekit.provenance import provenance
from prunekit.pruning import FineTune, prune
from prunekit.runs import digest_of
from prunekit.storage import load, save
from prunekit.training import Batches, evaluate, fit

MODEL = "model.safetensors"
DONE = "provenance.json"
TRAINING_SHARE = 0.3  # of a run's time, for the progress bar
BRANCH_SEED = 10_000  # apart from the seeds of a run's iterations, which are seed, seed + 1, ...
FRESH = {
    "imagenet": partial(squeezenet, pretrained=True),
    "random": squeezenet,
    "tiny": TinySqueezeNet,
}
Progress = Callable[[float], None]


@dataclass
class Distilled:
    """A fine-tuning whose teacher is the network before pruning."""

    settings: dict[str, Any]
    teacher: nn.Module = field(repr=False)

    def __call__(self, model: nn.Module, loader: Batches, **more: Any) -> None:
        fit(model, loader, teacher=self.teacher, **{"progress": False} | self.settings | more)


def carry_out(
    run: str,
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
    """
    if (folder / DONE).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    commits = _note_commit(folder / "commits.json", commit)
    dataset = load_dataset(settings["dataset"], stand_in=False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings["seed"])
    model = start(settings["start"], len(dataset.classes), results).to(device)
    starting_weights = digest_of(model)
    if settings["freeze"]:
        freeze_features(model)
    loaders = _Loaders(dataset, settings)
    pruning, training, finish = settings["prune"], settings["train"], settings["finish"]
    if training:
        history = fit(
            model,
            loaders.train,
            loaders.val,
            **training,
            checkpoint=folder / "training.safetensors",
            progress=False,
        )
        _write_table(history, folder / "history.csv")
    begun = TRAINING_SHARE if training else 0.0
    progress(begun)
    reporter = _Reporter(
        model, loaders, settings, folder, lambda share: progress(begun + (1 - begun) * share)
    )
    if pruning:
        history = prune(
            model,
            loaders.train,
            loaders.val,
            **pruning | {"fine_tune": _fine_tune(pruning["fine_tune"], model)},
            seed=settings["seed"],
            folder=folder,
            report=reporter if finish and "ratios" in finish else reporter.show,
            progress=False,
        )
        _write_table(history.table, folder / "table.csv")
        _write_table(history.pattern.reset_index(), folder / "pattern.csv")
        model = history.model
    if not (finish and "ratios" in finish):
        model = reporter.finish_last(model)
    reporter.write_tables()
    save(model, folder / MODEL)
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
    write_json(record | {"settings": settings, "starting_weights": starting_weights}, folder / DONE)
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
    return load(results / name / MODEL)


def refuse_missing_start(name: str, results: Path) -> None:
    """Raise the error of :func:`start`, without making the network."""
    if name not in FRESH and not (results / name / MODEL).is_file():
        raise FileNotFoundError(
            f"{results / name / MODEL} is not recorded: run the study {name.split('/')[0]!r} "
            f"first, or start from {', '.join(FRESH)}"
        )


class _Loaders:
    def __init__(self, dataset: Dataset, settings: dict[str, Any]) -> None:
        size, batch = settings["input_size"], settings["batch_size"]
        flip = dataset.name != "digits"
        self.train = Loader(dataset.train, batch, size=size, shuffle=True, augment=True, flip=flip)
        self.val = Loader(dataset.val, 250, size=size)
        self.test = Loader(dataset.test, 250, size=size)
        self.example_inputs = torch.zeros(1, 3, size, size)


class _Reporter:
    """Fine-tunes and measures the networks that a run reports, on copies."""

    def __init__(
        self,
        original: nn.Module,
        loaders: _Loaders,
        settings: dict[str, Any],
        folder: Path,
        progress: Progress,
    ) -> None:
        self.original = original
        self.loaders = loaders
        self.settings = settings
        self.folder = folder
        self.progress = progress
        self.example_inputs = loaders.example_inputs.to(next(original.parameters()).device)
        self.layers = ranked_layers(trace(original, self.example_inputs))
        self.before = self._filters(original)
        (folder / "networks").mkdir(exist_ok=True)

    def __call__(self, model: nn.Module, rows: list[dict[str, Any]]) -> None:
        """Report every ratio that lies between this network and the next iteration's."""
        finish, pruning = self.settings["finish"], self.settings["prune"]
        total = int(self.before.sum())
        left = rows[-1]["filters"]
        for ratio in finish["ratios"]:
            goal = total - math.ceil(ratio * total - 1e-9)
            if not left - pruning["per_iteration"] < goal <= left or self._row(ratio).is_file():
                continue
            small = model
            if goal < left:
                small = prune(
                    model,
                    self.loaders.train,
                    self.loaders.val,
                    **pruning | {"ratio": 1 - goal / left, "fine_tune": None, "budget": "filters"},
                    seed=self.settings["seed"] + BRANCH_SEED + round(ratio * 1000),
                    progress=False,
                ).model
            self._finish(copy.deepcopy(small), ratio)
        self.show(model, rows)

    def show(self, model: nn.Module, rows: list[dict[str, Any]]) -> None:
        pruning = self.settings["prune"]
        budget = pruning.get("budget", "filters")
        self.progress((1 - rows[-1][budget] / rows[0][budget]) / pruning["ratio"] * 0.95)

    def finish_last(self, model: nn.Module) -> nn.Module:
        """Report the network at the run's end; a second time, read it back."""
        stored = self.folder / "last.safetensors"
        ratio = 1 - float(self._filters(model).sum()) / float(self.before.sum())
        if not stored.is_file() or not self._row(ratio).is_file():
            self._finish(model, ratio)
            save(model, stored)
        return load(stored)

    def _finish(self, model: nn.Module, ratio: float) -> None:
        begin = time.perf_counter()
        loaders = self.loaders
        row = {"ratio": ratio, "val_accuracy_before": evaluate(model, loaders.val).accuracy}
        fine_tune = (self.settings["finish"] or {}).get("fine_tune")
        checkpoint = self.folder / "fine_tuning.safetensors"
        if fine_tune:
            torch.manual_seed(self.settings["seed"] + BRANCH_SEED + round(ratio * 1000))
            longer = _fine_tune(fine_tune, self.original)
            if callable(longer):
                longer(model, loaders.train, checkpoint=checkpoint)
            else:
                fit(model, loaders.train, **longer, checkpoint=checkpoint, progress=False)
        test = evaluate(model, loaders.test)
        cost, filters = profile(model, self.example_inputs), self._filters(model)
        row |= {
            "filters": int(filters.sum()),
            "parameters": cost.parameters,
            "macs": cost.macs,
            "bytes": cost.bytes,
            "val_accuracy": evaluate(model, loaders.val).accuracy,
            "test_accuracy": test.accuracy,
            "test_loss": test.loss,
            "seconds": time.perf_counter() - begin,
        }
        removed = {name: int(n) for name, n in (self.before - filters).items()}
        write_json({"row": row, "removed": removed}, self._row(ratio))
        checkpoint.unlink(missing_ok=True)

    def write_tables(self) -> None:
        stored = [json.loads(p.read_text()) for p in sorted((self.folder / "networks").iterdir())]
        _write_table(pd.DataFrame([one["row"] for one in stored]), self.folder / "networks.csv")
        removed = [{"ratio": one["row"]["ratio"]} | one["removed"] for one in stored]
        _write_table(pd.DataFrame(removed), self.folder / "networks_pattern.csv")

    def _row(self, ratio: float) -> Path:
        return self.folder / "networks" / f"{ratio:.6f}.json"

    def _filters(self, model: nn.Module) -> pd.Series:
        return profile(model, self.example_inputs).layers.set_index("layer")["filters"][self.layers]


def _note_commit(path: Path, commit: str) -> list[str]:
    """The commits at which a run was taken up so far, in order, this one the last."""
    before = json.loads(path.read_text("utf-8")) if path.is_file() else []
    commits = [*(one for one in before if one != commit), commit]
    write_json(commits, path)
    return commits


def _seconds(folder: Path) -> float:
    """Wall time of a run, over all the times it was taken up."""
    tables = (folder / f"{name}.csv" for name in ("history", "table", "networks"))
    return sum(pd.read_csv(path)["seconds"].sum() for path in tables if path.is_file())


def _fine_tune(settings: dict[str, Any] | None, unpruned: nn.Module) -> FineTune:
    if settings is None or "teacher" not in settings:
        return settings
    return Distilled({k: v for k, v in settings.items() if k != "teacher"}, copy.deepcopy(unpruned))


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)
