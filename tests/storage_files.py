"""Model files taken apart and put together again, for tests that change what is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from prunekit.storage import digest


class Everything(nn.Module):
    """A small network with every kind of entry that a description has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.twin, self.tied = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.tied.weight = self.twin.weight
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.register_buffer("shift", torch.rand(8, 1, 1))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(8, 3))

    def forward(self, x: Tensor, factor: float = 2.0) -> dict[str, Any]:
        x = torch.relu(self.norm(self.conv(x)))
        x = torch.cat([self.twin(x), self.tied(F.pad(x, (0, 0), value=-float("inf")))], dim=1)
        x = F.max_pool2d(x * self.scale + self.shift, 2, stride=2)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        x = x.reshape(batch, channels, height, width)[:, :, 1:, ...]
        x = x.to(torch.float32, memory_format=torch.contiguous_format)
        return {"scores": self.head(x.mean((2, 3))), "maps": (x, [factor])}


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors of a model file."""
    with safe_open(path, framework="pt") as stored:
        description = json.loads(stored.metadata()["prunekit"])
        return description, {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118


def write(
    path: Path, description: Any, tensors: dict[str, Tensor], sha256: str | None = "right"
) -> None:
    """A model file of any content, with the right digest, with another, or with none."""
    text = description if isinstance(description, str) else json.dumps(description)
    sha256 = digest(text, tensors) if sha256 == "right" else sha256
    header = {"prunekit": text} | ({"sha256": sha256} if sha256 else {})
    save_file(tensors, path, header)
