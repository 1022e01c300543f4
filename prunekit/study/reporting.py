"""The networks a run reports: pruned to a ratio, fine-tuned longer, measured once on test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from prunekit.channels import trace
from prunekit.criteria.ranking import ranked_layers
from prunekit.execution import device_of
from prunekit.measure import profile
from prunekit.pruning import prune
from prunekit.pruning.budgets import left
from prunekit.pruning.schedule import criterion_at, reached
from prunekit.repair import fold_batch_norm
from prunekit.storage import load, save
from prunekit.storage.files import write_json, write_table
from prunekit.storage.generators import mixed_seed
from prunekit.study.at_once import grafted
from prunekit.study.tasks import Task
from prunekit.study.tuning import MODEL, Distilled, Tuning
from prunekit.training import fit

Progress = Callable[[float], None]


class Reporter:
    """Fine-tunes and measures the networks that a run reports, on copies."""

    def __init__(
        self,
        original: nn.Module,
        task: Task,
        tuning: Tuning,
        settings: dict[str, Any],
        folder: Path,
        progress: Progress,
    ) -> None:
        self.task = task
        self.tuning = tuning
        self.settings = settings
        self.folder = folder
        self.progress = progress
        self.example_inputs = task.example_inputs.to(device_of(original))
        self.layers = ranked_layers(trace(original, self.example_inputs))
        self.reported_layers = [reported_name(layer) for layer in self.layers]
        self.before = self._filters(self.as_reported(original))
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
            if reached(1 - now / total, ratio) and not self._row(ratio).is_file():
                # The last iteration takes no more than it must, but costs seldom land on a share.
                there = ratio == end or not reached(1 - (now + 1) / total, ratio)
                begun = self._begun(ratio)
                if not begun.is_file():
                    small = model if there else self._pruned_to(ratio, total, load(kept))
                    self._keep(small, begun)
                self._finish(load(begun).to(self.example_inputs.device), ratio)
        self._keep(model, kept)
        self.show(model, rows)

    def as_reported(self, model: nn.Module) -> nn.Module:
        """The network as it would be used: a batch norm that was put in for the run is folded."""
        return fold_batch_norm(model) if self.settings["batch_norm"] else model

    def _pruned_to(self, ratio: float, total: int, model: nn.Module) -> nn.Module:
        """``model``, the network before an iteration, pruned to a ratio of the total."""
        pruning = self.settings["prune"]
        here = left(model, self.layers, self.example_inputs)[self.budget]
        options = {
            "criterion": criterion_at(pruning["criterion"], 1 - here / total),
            "ratio": 1 - (1 - ratio) * total / here,
            "fine_tune": None,
        }
        return prune(
            model.to(self.example_inputs.device),
            self.task.train,
            self.task.val,
            **pruning | self.task.options | options,
            seed=self._branch_seed(ratio),
            progress=False,
        ).model

    def _keep(self, model: nn.Module, path: Path) -> None:
        save(model, path, self.task.metadata, example_inputs=self.example_inputs)

    def show(self, model: nn.Module, rows: list[dict[str, Any]]) -> None:
        removed = 1 - rows[-1][self.budget] / rows[0][self.budget]
        self.progress(removed / self.settings["prune"]["ratio"] * 0.95)

    def finish_last(self, model: nn.Module) -> None:
        """Report the network at the run's end, if that is not done."""
        now = self._filters(self.as_reported(model))
        ratio = 1 - float(now.sum()) / float(self.before.sum())
        if not (self.folder / MODEL).is_file() or not self._row(ratio).is_file():
            self._finish(model, ratio)

    def _finish(self, model: nn.Module, ratio: float) -> None:
        begin = time.perf_counter()
        task = self.task
        decides = task.numbers[0]
        row = {"ratio": ratio, f"val_{decides}_before": task.judged(model, task.val)[decides]}
        checkpoint = self._row(ratio).with_suffix(".safetensors")
        torch.manual_seed(self._branch_seed(ratio))
        longer = self.tuning.of((self.settings["finish"] or {}).get("fine_tune"))
        before = time.perf_counter()
        model, epochs = self._trained(model, longer, checkpoint)
        begin += time.perf_counter() - before - epochs
        model = self.as_reported(model)
        held_out, test = (task.judged(model, part) for part in (task.val, task.test))
        cost, filters = profile(model, self.example_inputs), self._filters(model)
        row |= {
            "filters": int(filters.sum()),
            "parameters": cost.parameters,
            "macs": cost.macs,
            "bytes": cost.bytes,
            **{f"val_{name}": held_out[name] for name in task.numbers},
            **{f"test_{name}": value for name, value in test.items()},
            "seconds": time.perf_counter() - begin,
        }
        removed = {name: int(n) for name, n in (self.before - filters).items()}
        self._keep(model, self.folder / kept_at(ratio, self.settings))
        write_json({"row": row, "removed": removed}, self._row(ratio))
        checkpoint.unlink(missing_ok=True)
        self._begun(ratio).unlink(missing_ok=True)

    def _trained(
        self, model: nn.Module, how: Mapping[str, Any] | Distilled | None, checkpoint: Path
    ) -> tuple[nn.Module, float]:
        """The network after its last training, and the seconds of all epochs of it.

        Where it was interrupted and goes on, a clock would miss those before.
        """
        task = self.task
        if isinstance(how, Distilled):
            history = how(model, task.train, checkpoint=checkpoint)
        elif how is not None:
            settings = {**task.options, **how}
            history = fit(model, task.train, **settings, checkpoint=checkpoint, progress=False)
        elif self.settings.get("graft"):
            model, history = grafted(model, task, self.settings["graft"], self.folder)
        else:
            return model, 0.0
        return model, float(history["seconds"].sum())

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
        layers = profile(model, self.example_inputs).layers.set_index("layer")
        return layers["filters"][self.reported_layers]


def kept_at(ratio: float, settings: dict[str, Any]) -> str:
    """Where a reported network lies in its run's folder: the last where starts are looked for."""
    ratios = (settings["finish"] or {}).get("ratios", [ratio])
    return MODEL if ratio == max(ratios) else f"{ratio:g}/{MODEL}"


def reported_name(layer: str) -> str:
    """That of a convolution once the batch norm put behind it is folded."""
    return layer.removesuffix(".conv")
