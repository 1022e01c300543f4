"""The fine-tunings of a run: settings of ``fit``, with the teachers that a study names."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from prunekit.checks.batches import Batches
from prunekit.data import Views
from prunekit.execution import device_of
from prunekit.storage import load
from prunekit.storage.files import read_state, write_tensors
from prunekit.storage.fingerprints import digest_of
from prunekit.study.tasks import Task
from prunekit.training import answers, fit

MODEL = "model.safetensors"
UNPRUNED = "unpruned"


@dataclass
class Distilled:
    """A fine-tuning with a teacher, or on views that teachers have answered."""

    settings: dict[str, Any]
    teacher: list[nn.Module] | None = field(default=None, repr=False)
    views: Views | None = field(default=None, repr=False)

    def __call__(self, model: nn.Module, loader: Batches, **more: Any) -> pd.DataFrame:
        seen = loader if self.views is None else self.views
        return fit(model, seen, teacher=self.teacher, **{"progress": False} | self.settings | more)


class Tuning:
    """What the settings of a fine-tuning mean in one run.

    Parameters
    ----------
    unpruned
        The network that the run begins to prune.
    results
        Where recorded networks lie.
    folder
        Of the run. What teachers said of its views is kept there, so that a
        run that is taken up again does not ask them again.
    """

    def __init__(self, unpruned: nn.Module, task: Task, results: Path, folder: Path) -> None:
        self.unpruned = copy.deepcopy(unpruned)
        self.task = task
        self.results = results
        self.folder = folder
        self._answered: dict[str, Views] = {}

    def of(
        self, settings: Mapping[str, Any] | Literal[False] | None
    ) -> Mapping[str, Any] | Distilled | None:
        """What :func:`prunekit.prune` takes, teachers by name made into networks."""
        if not settings:  # a file says false, as TOML has no null
            return None
        if not {"teacher", "views"} & set(settings):
            return settings
        plain = {key: value for key, value in settings.items() if key not in ("teacher", "views")}
        plain = self.task.taught(plain)
        names = settings.get("teacher", [])
        names = [names] if isinstance(names, str) else names
        if "views" in settings:
            return Distilled(plain, views=self._views(settings["views"], names))
        return Distilled(plain, teacher=[self._teacher(name)[0] for name in names])

    def _views(self, count: int, names: list[str]) -> Views:
        key = json.dumps([count, names])
        if key not in self._answered:
            said = [self._said(name, count) for name in names]
            views = self.task.views(count, self.task.size)
            self._answered[key] = views.answered(torch.stack(said).mean(0)) if said else views
        return self._answered[key]

    def _said(self, name: str, count: int) -> Tensor:
        teacher, size = self._teacher(name)
        asked = {"teacher": digest_of(teacher), "views": count, "input_size": size}
        path = self.folder / "answers" / f"{name.replace('/', '.')}-{count}.safetensors"
        if path.is_file():
            return read_state(path, asked, "asked", "teacher")[1]["scores"]
        scores = answers(teacher, self.task.views(count, size), progress=False)
        write_tensors({"scores": scores}, path, {"asked": json.dumps({"settings": asked})})
        return scores

    def _teacher(self, name: str) -> tuple[nn.Module, int]:
        """A network, and the side of the images it was trained with."""
        if name == UNPRUNED:
            return self.unpruned, self.task.size
        study, run = Path(name).parts
        record = json.loads((self.results / study / "provenance.json").read_text("utf-8"))
        size = record["runs"][run]["settings"]["input_size"]
        return load(self.results / name / MODEL).float().to(device_of(self.unpruned)), size
