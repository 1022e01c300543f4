"""A small bundle, for the tests of what happens to bundles."""

from __future__ import annotations

import functools
import tarfile
from pathlib import Path

import torch
from torch import nn

from prunekit.deploy import bundle


def plain_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(1),
    ).eval()


def some_batch(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@functools.cache
def small_bundle(folder: Path) -> Path:
    """A bundle of one small network, for boards with Python; made once a session."""
    path = folder / "plain.tar.gz"
    x, model = some_batch(), plain_network()
    labels = model(x).argmax(1)
    bundle({"plain": model}, (x, labels), path, calibration=x, classes=list("abcd"), machines=())
    return path


def repacked(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as stored:
        stored.add(folder, "bundle")
    return path
