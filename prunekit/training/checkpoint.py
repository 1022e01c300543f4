"""Training on disk: one file that an epoch replaces as it ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunekit.storage.files import read_state, write_tensors


@dataclass
class TrainingState:
    """Everything the next epoch depends on: weights, momentum, schedule, generator, rows so far."""

    model: nn.Module
    optimizer: torch.optim.SGD
    scheduler: torch.optim.lr_scheduler.LRScheduler
    rows: list[dict[str, float]] = field(default_factory=list)

    def write(self, path: Path, settings: dict[str, Any]) -> None:
        """Replace the file at ``path`` by this state."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            if state.get("momentum_buffer") is not None:
                tensors[f"momentum.{number}"] = state["momentum_buffer"]
        tensors = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
        tensors["generator"] = torch.get_rng_state()
        group = {k: v for k, v in self.optimizer.param_groups[0].items() if k != "params"}
        record = {
            "settings": settings,
            "rows": self.rows,
            "group": group,
            "schedule": self.scheduler.state_dict(),
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
        self.model.load_state_dict(
            {name.removeprefix("model."): t for name, t in tensors.items() if "model." in name[:6]}
        )
        group = self.optimizer.param_groups[0]
        group.update(record["group"])
        for number, parameter in enumerate(group["params"]):
            if (momentum := tensors.get(f"momentum.{number}")) is not None:
                # The parameter's own memory layout, which decides the kernels of an unbroken run.
                buffer = torch.empty_like(parameter).copy_(momentum)
                self.optimizer.state[parameter]["momentum_buffer"] = buffer
        self.scheduler.load_state_dict(record["schedule"])
        torch.set_rng_state(tensors["generator"])
        self.rows.extend(record["rows"])
