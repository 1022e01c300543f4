"""Small pruning runs, and a small study, that several tests share."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from safetensors import safe_open
from torch import nn

import prunekit
from prunekit import prune
from prunekit.data import Loader, load_dataset
from prunekit.models import TinySqueezeNet
from prunekit.pruning.loop import CHECKPOINT
from prunekit.storage.files import write_tensors

FILTERS = 184  # of TinySqueezeNet, the classifier's outputs left out
SMALL_STUDY = """
title = "Two runs in small"
dataset = "digits"
batch_size = 64
start = "tiny"
seeds = [0, 1]
train = {{ epochs = 1, lr = 0.02 }}

[prune]
criterion = "weight_l1"
ratio = {ratio}
per_iteration = 40
fine_tune = {{ epochs = 0.25, lr = 0.01 }}

[finish]
ratios = [0.0, 0.3]
fine_tune = {{ epochs = 0.25, lr = 0.01 }}
"""


def network() -> nn.Module:
    torch.manual_seed(0)
    return TinySqueezeNet()


def dropping_more(model: nn.Module) -> nn.Module:
    """The same weights, and another rate of dropout."""
    other = copy.deepcopy(model)
    other.classifier[0].p = 0.9
    return other


def striding_less(model: nn.Module) -> nn.Module:
    """The same weights, and another stride."""
    other = copy.deepcopy(model)
    other.features[0].stride = (1, 1)
    return other


def bent_otherwise(model: nn.Module) -> nn.Module:
    """The same weights, and another activation."""
    other = copy.deepcopy(model)
    other.features[1] = nn.Tanh()
    return other


def frozen(model: nn.Module) -> nn.Module:
    """The same weights, of which the first ones do not learn."""
    other = copy.deepcopy(model)
    other.features[0].requires_grad_(False)
    return other


def written_before(path: Path, key: str) -> None:
    """Make a file one from before it said what a network is beside its state dictionary."""
    with safe_open(path, framework="pt") as stored:
        record = json.loads(stored.metadata()[key])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    del record["settings"]["network"], record["settings"]["frozen"]
    record["settings"].pop("precision", None)
    for name in ("frozen", "training", "buffers"):
        record.pop(name, None)
    write_tensors(tensors, path, {key: json.dumps(record)})


def digits_loaders():
    dataset = load_dataset("digits")
    train = Loader(dataset.train[:160], 32, shuffle=True, augment=True, flip=False)
    return train, Loader(dataset.val, 64)


def quickly(noise, **options):
    """Prune by weights, without fine-tuning."""
    settings = {"criterion": "weight_l1", "ratio": 0.5, "per_iteration": 40, "fine_tune": None}
    settings |= {"model": network(), "train_loader": noise, "val_loader": noise, "progress": False}
    return prune(**(settings | options))


def on_digits(digits, folder=None, **options):
    """Three iterations with fine-tuning: the run that gets killed."""
    settings = {"ratio": 0.6, "per_iteration": 40, "fine_tune": {"epochs": 1, "lr": 0.02}}
    settings |= {"criterion": "combined", "rank_batches": 2, "progress": False, "seed": 3}
    return prune(network(), *digits, folder=folder, **(settings | options))


def interrupted_at(row: int) -> Callable[[nn.Module, list], None]:
    """A report that stops the run as Ctrl-C does, when its table has so many rows."""

    def report(model: nn.Module, rows: list) -> None:
        if len(rows) == row:
            raise KeyboardInterrupt

    return report


def assert_same_run(history, expected):
    columns = expected.table.columns.drop("seconds")
    pd.testing.assert_frame_equal(history.table[columns], expected.table[columns])
    pd.testing.assert_frame_equal(history.pattern, expected.pattern)
    assert history.removed == expected.removed
    assert history.stopped == expected.stopped
    weights = history.model.state_dict()
    assert weights.keys() == expected.model.state_dict().keys()
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(weights[name], tensor), name


def run_until_killed(folder):
    """What the child does: it dies while the second iteration is being written."""
    torch.set_num_threads(1)
    write, path = prunekit.pruning.checkpoint.write_tensors, Path(folder) / CHECKPOINT

    def write_or_die(tensors, target, metadata):
        if path.is_file():
            path.with_suffix(".part").write_bytes(b"half a file")
            os.kill(os.getpid(), signal.SIGKILL)
        write(tensors, target, metadata)

    prunekit.pruning.checkpoint.write_tensors = write_or_die
    on_digits(digits_loaders(), folder)
