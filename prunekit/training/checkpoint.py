"""Training on disk: one file that an epoch replaces as it ends."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils._pytree import tree_map

from prunekit.execution import device_of
from prunekit.storage.files import (
    beginning_with,
    detached_copies,
    put_back,
    read_state,
    tensors_of,
    write_tensors,
)


@dataclass
class TrainingState:
    """Everything the next epoch depends on: weights, momentum, schedule, generators, rows so far.

    ``average`` is the moving average of the weights, where one is kept.
    """

    model: nn.Module
    optimizer: torch.optim.SGD
    scheduler: torch.optim.lr_scheduler.LRScheduler
    average: AveragedModel | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def trained(self) -> list[Tensor]:
        """The parameters that learn, in the optimiser's order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def write(self, path: Path, settings: dict[str, Any]) -> None:
        """Replace the file at ``path`` by this state."""
        tensors = {f"model.{name}": tensor for name, tensor in tensors_of(self.model).items()}
        if self.average is not None:
            followed = tensors_of(self.average)
            tensors |= {f"average.{name}": tensor for name, tensor in followed.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            if state.get("momentum_buffer") is not None:
                tensors[f"momentum.{number}"] = state["momentum_buffer"]
        tensors = detached_copies(tensors)
        tensors["generator"] = torch.get_rng_state()
        if (device := device_of(self.model)).type == "cuda":
            tensors["generator.cuda"] = torch.cuda.get_rng_state(device)
        groups = [
            {k: v for k, v in group.items() if k != "params"}
            for group in self.optimizer.param_groups
        ]
        record = {
            "settings": settings,
            "rows": self.rows,
            "groups": groups,
            "schedule": self.scheduler.state_dict(),
            "numpy": tree_map(_plain, np.random.get_state(legacy=False)),  # noqa: NPY002
            "python": random.getstate(),
        }
        write_tensors(tensors, path, {"prunekit-training": json.dumps(record)})

    def read(self, path: Path, settings: dict[str, Any]) -> None:
        """Take over the state that the file at ``path`` holds.

        Raises
        ------
        ValueError
            The file is damaged or of a training with other settings.
        """
        record, tensors = read_state(path, settings, "prunekit-training", "training")
        put_back(self.model, beginning_with("model.", tensors))
        if self.average is not None:
            put_back(self.average, beginning_with("average.", tensors))
        for group, stored in zip(self.optimizer.param_groups, record["groups"], strict=True):
            group.update(stored)
        for number, parameter in enumerate(self.trained):
            if (momentum := tensors.get(f"momentum.{number}")) is not None:
                # The parameter's own memory layout, which decides the kernels of an unbroken run.
                buffer = torch.empty_like(parameter).copy_(momentum)
                self.optimizer.state[parameter]["momentum_buffer"] = buffer
        self.scheduler.load_state_dict(record["schedule"])
        self._draw_on(record, tensors)
        self.rows.extend(record["rows"])

    def _draw_on(self, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Let the generators go on where they were; files from before hold that of torch only."""
        torch.set_rng_state(tensors["generator"])
        device = device_of(self.model)
        if device.type == "cuda" and "generator.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["generator.cuda"], device)
        if "numpy" in record:
            np.random.set_state(record["numpy"])  # noqa: NPY002
            version, numbers, gauss = record["python"]
            random.setstate((version, tuple(numbers), gauss))


def _plain(value: Any) -> Any:
    """An array as JSON knows it."""
    return value.tolist() if isinstance(value, np.ndarray) else value
