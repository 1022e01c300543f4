"""A pruning run on disk: one file that an iteration replaces as it ends."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunekit.selection import Selection
from prunekit.storage.files import detached_copies, put_back, read_state, tensors_of, write_tensors
from prunekit.storage.fingerprints import frozen_in
from prunekit.surgery import rebuild


@dataclass
class Run:
    """A pruning run between two iterations.

    Attributes
    ----------
    rows : list of dict
        The table so far.
    removed : list of Selection
        What each iteration removed.
    rebuilt : int
        How many of these removals ``model`` has seen.
    stopped : str
        Empty while the run goes on.
    """

    model: nn.Module
    rows: list[dict[str, Any]]
    removed: list[Selection] = field(default_factory=list)
    rebuilt: int = 0
    stopped: str = ""

    def share_removed(self, budget: str) -> float:
        """What share is gone of what a budget counts."""
        return 1 - self.rows[-1][budget] / self.rows[0][budget]

    def write(self, path: Path, settings: dict[str, Any]) -> None:
        """Replace the file at ``path`` by this state, weights and record in one."""
        tensors = tensors_of(self.model)
        record = {
            "settings": settings,
            "rows": self.rows,
            "removed": [{"filters": dict(one), "groups": one.groups} for one in self.removed],
            "rebuilt": self.rebuilt,
            "stopped": self.stopped,
            "frozen": frozen_in(self.model),
            "training": [name for name, one in self.model.named_modules() if one.training],
            "buffers": [name for name in tensors if name not in self.model.state_dict()],
        }
        write_tensors(detached_copies(tensors), path, {"prunekit-run": json.dumps(record)})


def resume(path: Path, settings: dict[str, Any], model: nn.Module, example_inputs: tuple) -> Run:
    """Read a run back: the recorded removals are made again, then the weights are loaded.

    The same ones are frozen as when it was written, and modules in the same mode.

    Raises
    ------
    ValueError
        The file is damaged or of a run with other settings.
    """
    record, tensors = read_state(path, settings, "prunekit-run", "pruning run")
    removed = [Selection(one["filters"], one["groups"]) for one in record["removed"]]
    small = copy.deepcopy(model)
    for selection in removed[: record["rebuilt"]]:
        small = rebuild(small, example_inputs, selection)
    added = tensors.keys() - small.state_dict().keys() - set(record.get("buffers", []))
    for name in added:  # a repair gave this layer a bias
        layer, _, bias = name.rpartition(".")
        setattr(small.get_submodule(layer), bias, nn.Parameter(torch.empty_like(tensors[name])))
    put_back(small, tensors)
    # Files from before do not say these.
    if "frozen" in record:
        for name, weight in small.named_parameters():
            weight.requires_grad_(name not in record["frozen"])
    if "training" in record:
        for name, module in small.named_modules():
            module.training = name in record["training"]
    plain_layout(small)
    return Run(small, record["rows"], removed, record["rebuilt"], record["stopped"])


def plain_layout(model: nn.Module) -> None:
    """Fresh contiguous tensors, so that a resumed run computes on the layout of an unbroken one.

    Fine-tuning leaves weights channels-last, which a file does not keep; the
    layout decides which kernels run, and those differ in the last bits.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
