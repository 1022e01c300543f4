"""The networks a run reports: pruned to a ratio, fine-tuned longer, measured once on test."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from prunekit.channels import trace
from prunekit.checks.batches import Batches
from prunekit.criteria.ranking import ranked_layers
from prunekit.data import Dataset, Loader
from prunekit.execution import device_of
from prunekit.measure import profile
from prunekit.pruning import prune
from prunekit.pruning.budgets import left
from prunekit.pruning.checkpoint import mixed_seed
from prunekit.pruning.plan import FineTune
from prunekit.pruning.schedule import criterion_at
from prunekit.storage import load, save
from prunekit.storage.files import replacing, write_json
from prunekit.training import evaluate, fit

Progress = Callable[[float], None]


@dataclass
class Distilled:
    """A fine-tuning whose teacher is the network before pruning."""

    settings: dict[str, Any]
    teacher: nn.Module = field(repr=False)

    def __call__(self, model: nn.Module, loader: Batches, **more: Any) -> None:
        fit(model, loader, teacher=self.teacher, **{"progress": False} | self.settings | more)


class Loaders:
    """Batches of a run's data, at its input size, all of it on one device."""

    def __init__(self, dataset: Dataset, settings: dict[str, Any], device: torch.device) -> None:
        size, batch = settings["input_size"], settings["batch_size"]
        flip = dataset.name != "digits"
        train, val, test = (p.to(device) for p in (dataset.train, dataset.val, dataset.test))
        self.train = Loader(train, batch, size=size, shuffle=True, augment=True, flip=flip)
        self.val = Loader(val, 250, size=size)
        self.test = Loader(test, 250, size=size)
        self.example_inputs = torch.zeros(1, 3, size, size)


class Reporter:
    """Fine-tunes and measures the networks that a run reports, on copies."""

    def __init__(
        self,
        original: nn.Module,
        loaders: Loaders,
        settings: dict[str, Any],
        folder: Path,
        progress: Progress,
    ) -> None:
        self.original = original
        self.loaders = loaders
        self.settings = settings
        self.folder = folder
        self.progress = progress
        self.example_inputs = loaders.example_inputs.to(device_of(original))
        self.layers = ranked_layers(trace(original, self.example_inputs))
        self.before = self._filters(original)
        self.budget = (settings["prune"] or {}).get("budget", "filters")
        (folder / "networks").mkdir(exist_ok=True)

    def __call__(self, model: nn.Module, rows: list[dict[str, Any]]) -> None:
        """Report every ratio from the network before the last iteration to this one.

        A ratio is a share of what ``prune.budget`` names. How far an iteration
        goes is known only when it is over, since coupled filters go together.
        So the network before it is kept on disk.
        """
        total, now = rows[0][self.budget], rows[-1][self.budget]
        end = None if self.budget == "filters" else self.settings["prune"]["ratio"]
        kept = self.folder / "before.safetensors"
        for ratio in self.settings["finish"]["ratios"]:
            goal = self._goal(total, ratio)
            if goal >= now and not self._row(ratio).is_file():
                # The last iteration takes no more than it must, but costs seldom land on a share.
                there = goal == now or ratio == end
                begun = self._begun(ratio)
                if not begun.is_file():
                    small = model if there else self._pruned_to(goal, total, load(kept), ratio)
                    save(small, begun)
                self._finish(load(begun).to(self.example_inputs.device), ratio)
        save(model, kept)
        self.show(model, rows)

    def _goal(self, total: int, ratio: float) -> float:
        """How much of the budget may be left: filters are counted in whole numbers."""
        if self.budget == "filters":
            return total - math.ceil(ratio * total - 1e-9)
        return (1 - ratio + 1e-9) * total

    def _pruned_to(self, goal: float, total: int, model: nn.Module, ratio: float) -> nn.Module:
        """``model``, the network before an iteration, pruned until at most ``goal`` is left."""
        pruning = self.settings["prune"]
        here = left(model, self.layers, self.example_inputs)[self.budget]
        options = {
            "criterion": criterion_at(pruning["criterion"], 1 - here / total),
            "ratio": 1 - goal / here,
            "fine_tune": None,
        }
        return prune(
            model.to(self.example_inputs.device),
            self.loaders.train,
            self.loaders.val,
            **pruning | options,
            seed=self._branch_seed(ratio),
            progress=False,
        ).model

    def show(self, model: nn.Module, rows: list[dict[str, Any]]) -> None:
        removed = 1 - rows[-1][self.budget] / rows[0][self.budget]
        self.progress(removed / self.settings["prune"]["ratio"] * 0.95)

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
        checkpoint = self._row(ratio).with_suffix(".safetensors")
        if fine_tune:
            torch.manual_seed(self._branch_seed(ratio))
            longer = fine_tuning(fine_tune, self.original)
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
        self._begun(ratio).unlink(missing_ok=True)

    def write_tables(self) -> None:
        stored = [
            json.loads(p.read_text("utf-8"))
            for p in sorted((self.folder / "networks").glob("*.json"))
        ]
        write_table(pd.DataFrame([one["row"] for one in stored]), self.folder / "networks.csv")
        removed = [{"ratio": one["row"]["ratio"]} | one["removed"] for one in stored]
        write_table(pd.DataFrame(removed), self.folder / "networks_pattern.csv")

    def _branch_seed(self, ratio: float) -> int:
        """Apart from the seeds of a run's iterations, which are numbered far lower."""
        return mixed_seed(self.settings["seed"], 1_000_000 + round(ratio * 1000))

    def _row(self, ratio: float) -> Path:
        return self.folder / "networks" / f"{ratio:.6f}.json"

    def _begun(self, ratio: float) -> Path:
        """Where a network is kept while it is fine-tuned.

        Pruned again on another machine, it might differ in the last bits, and
        the fine-tuning would not go on.
        """
        return self.folder / "networks" / f"{ratio:.6f}-begun.safetensors"

    def _filters(self, model: nn.Module) -> pd.Series:
        return profile(model, self.example_inputs).layers.set_index("layer")["filters"][self.layers]


def fine_tuning(settings: dict[str, Any] | None, unpruned: nn.Module) -> FineTune:
    """What :func:`prunekit.prune` takes, ``teacher = "unpruned"`` made into that network."""
    if settings is None or "teacher" not in settings:
        return settings
    return Distilled({k: v for k, v in settings.items() if k != "teacher"}, copy.deepcopy(unpruned))


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV whole or not at all."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)
