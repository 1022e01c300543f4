"""A scan of sensitivity: units of coupled layers alone, on paper, resumed, and what it refuses."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from networks import Residual
from torch import nn

from prunekit import mask, profile, rank, rebuild, select, sensitivity, trace
from prunekit.pruning.sensitivity import SCAN
from prunekit.storage.generators import seed_generators
from prunekit.training import Interrupted, evaluate

ONE_HOT = [(torch.eye(4).reshape(4, 4, 1, 1), torch.arange(4))]


class Other(nn.Sequential):
    """The same weights in a network of another class."""


def on_paper() -> nn.Sequential:
    """Each filter of the first layer decides one class; half of the second's do nothing.

    What has no score at all is taken for class 3.
    """
    first, second = (nn.Conv2d(4, n, 1, bias=False) for n in (4, 8))
    head = nn.Linear(8, 4)
    with torch.no_grad():
        first.weight.copy_(torch.eye(4).reshape(4, 4, 1, 1))
        second.weight.copy_(torch.eye(8, 4).reshape(8, 4, 1, 1))
        head.weight.copy_(torch.eye(4, 8))
        head.bias.copy_(torch.tensor([0, 0, 0, 0.5]))
    return nn.Sequential(first, second, nn.Flatten(), head)


def residual() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), Residual(8, 6, 1), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 4)).eval()


def test_one_layer_matters_and_another_does_not():
    scan = sensitivity(on_paper(), ONE_HOT, progress=False)
    table = scan.table.set_index(["unit", "share"])
    # Filters of equal norm leave in order: the first three classes lose theirs one by one.
    assert table.loc["0", "accuracy_lost"].tolist() == [0.25, 0.5, 0.75]
    # Two filters, then four, are zeros. Of six, two were not.
    assert table.loc["1", "accuracy_lost"].tolist() == [0, 0, 0.5]
    assert (table["accuracy"] == 1 - table["accuracy_lost"]).all()
    # Of 4 * 4, 8 * 4 and 4 * 8 weights and 4 biases:
    assert scan.unpruned == {"filters": 12, "parameters": 84, "macs": 80, "accuracy": 1}
    assert table.loc["0", "parameters"].tolist() == [3 * 12 + 36, 2 * 12 + 36, 12 + 36]
    assert table.loc["1", "macs"].tolist() == [16 + 6 * 8, 16 + 4 * 8, 16 + 2 * 8]
    assert table.loc["1", "filters"].tolist() == [4 + 6, 4 + 4, 4 + 2]
    assert table["layers"].unique().tolist() == [("0",), ("1",)]


def test_coupled_layers_are_pruned_together():
    model = residual()
    x = torch.randn(8, 3, 12, 12)
    batches = [(x, model(x).argmax(1))]
    scan = sensitivity(model, batches, "taylor", [0.5], progress=False)
    row = scan.table.set_index("unit").loc["0"]
    assert row["layers"] == ("0", "1.last")
    graph = trace(model, x)
    ranking = rank(model, batches, "taylor", graph=graph)
    coupled = ranking[ranking["layer"].isin(row["layers"])]
    remove = select(coupled, 4)
    assert len(remove["0"]) == len(remove["1.last"]) == 4
    small = rebuild(model, graph, remove)
    assert row["parameters"] == profile(small, x).parameters
    assert row["accuracy"] == evaluate(mask(model, graph, remove), batches).accuracy
    # By themselves: the two within the block are units of their own.
    assert scan.table["unit"].tolist() == ["0", "1.first", "1.middle"]


class Narrow(nn.Module):
    """A layer of one filter, a layer whose width its code writes, and a head for training."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.free = nn.Conv2d(4, 1, 1), nn.Conv2d(1, 6, 1)
        self.written, self.head = nn.Conv2d(6, 4, 1), nn.Linear(4, 4)
        self.helper = nn.Linear(6, 4)

    def forward(self, x):
        x = self.free(self.one(x))
        if self.training:
            return self.helper(x.mean((2, 3)))
        return self.head(self.written(x).reshape(-1, 4))


def test_what_cannot_be_pruned_is_named_with_its_reason():
    scan = sensitivity(Narrow(), ONE_HOT, shares=[0.1, 0.9], progress=False)
    assert scan.fixed.keys() == {"one", "written", "head", "helper"}
    assert "no channel to spare" in scan.fixed["one"]
    assert "a size that its code writes" in scan.fixed["written"]
    assert "input or output" in scan.fixed["head"]
    assert "in training only" in scan.fixed["helper"]
    # Of six channels a tenth is one, and nine tenths are five: one stays.
    assert scan.table["unit"].tolist() == ["free", "free"]
    assert scan.table["filters"].tolist() == [scan.unpruned["filters"] - n for n in (1, 5)]


class Halting(list):
    """Batches that end the process, or the scan, as they are passed over for the n-th time."""

    def __init__(self, batches, passes: int, halt) -> None:
        super().__init__(batches)
        self.passes, self.halt = passes, halt

    def __iter__(self):
        self.passes -= 1
        if not self.passes:
            self.halt()
        return super().__iter__()


def killed(folder: str) -> None:
    """What the child does: it dies in the midst of a scan."""
    loader = Halting(ONE_HOT, 8, lambda: os.kill(os.getpid(), signal.SIGKILL))
    sensitivity(on_paper(), loader, "random", folder=folder, progress=False)


def test_a_killed_scan_ends_as_an_unbroken_one(tmp_path):
    unbroken = sensitivity(on_paper(), ONE_HOT, "random", progress=False)
    script = "import test_sensitivity, sys; test_sensitivity.killed(sys.argv[1])"
    child = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=Path(__file__).parent)
    assert child.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [SCAN]
    passes = Halting(ONE_HOT, 0, None)
    resumed = sensitivity(on_paper(), passes, "random", folder=tmp_path, progress=False)
    pd.testing.assert_frame_equal(resumed.table, unbroken.table)
    assert resumed.unpruned == unbroken.unpruned and resumed.fixed == unbroken.fixed
    whole = Halting(ONE_HOT, 0, None)
    sensitivity(on_paper(), whole, "random", folder=tmp_path / "other", progress=False)
    assert passes.passes > whole.passes  # counted down: fewer networks were judged
    done = sensitivity(on_paper(), ONE_HOT, "random", folder=tmp_path, progress=False)
    pd.testing.assert_frame_equal(done.table, unbroken.table)


def test_ctrl_c_keeps_the_rows_so_far(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    loader = Halting(ONE_HOT, 8, interrupt)
    with pytest.raises(Interrupted, match="interrupted after") as raised:
        sensitivity(on_paper(), loader, folder=tmp_path, progress=False)
    so_far = raised.value.history.table
    assert 0 < len(so_far) < 6
    table = sensitivity(on_paper(), ONE_HOT, folder=tmp_path, progress=False).table
    pd.testing.assert_frame_equal(table[: len(so_far)], so_far)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"criterion": "weight_l2"}, "criterion"),
        ({"shares": [0.5]}, "shares"),
        ({"seed": 1}, "seed"),
        ({"loader": [(ONE_HOT[0][0], ONE_HOT[0][1].flip(0))]}, "data"),
        ({"train_loader": [(ONE_HOT[0][0] + 1, ONE_HOT[0][1])]}, "ranked_on"),
        ({"model": on_paper().double().float().requires_grad_(False)}, None),
        ({"model": nn.Sequential(*on_paper()[:3], nn.Linear(8, 4))}, "starting_weights"),
        ({"model": Other(*on_paper())}, "network"),
    ],
)
def test_a_folder_of_another_scan_is_left_as_it_was(tmp_path, changed, named):
    given = {"model": on_paper(), "loader": ONE_HOT, "folder": tmp_path, "progress": False}
    sensitivity(**given)
    before = (tmp_path / SCAN).read_bytes()
    if named is None:
        sensitivity(**given | changed)
    else:
        with pytest.raises(ValueError, match=f"with other settings: .*{named}"):
            sensitivity(**given | changed)
    assert (tmp_path / SCAN).read_bytes() == before


def test_a_damaged_file_is_left_as_it_was(tmp_path):
    (tmp_path / SCAN).write_bytes(b"half a file")
    with pytest.raises(ValueError, match="is damaged"):
        sensitivity(on_paper(), ONE_HOT, folder=tmp_path, progress=False)
    assert (tmp_path / SCAN).read_bytes() == b"half a file"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shares": []}, ValueError, "shares is empty"),
        ({"shares": 0.5}, TypeError, "shares must be a list of shares, .* not 0.5"),
        ({"shares": "half"}, TypeError, "shares must be a list of shares"),
        ({"shares": [0, 0.5]}, ValueError, "a share in shares must be above 0 and below 1, not 0"),
        ({"shares": [float("nan")]}, ValueError, "a share in shares .* not nan"),
        ({"criterion": "best"}, ValueError, "no criterion is named 'best'"),
        ({"loader": []}, ValueError, "loader gave no batch"),
        ({"loader": iter(ONE_HOT)}, TypeError, "loader is an iterator"),
        ({"train_loader": 3}, TypeError, "train_loader must give batches"),
        ({"seed": 0.5}, TypeError, "seed must be a whole number"),
        ({"model": nn.Flatten()}, ValueError, "no filter of Flatten may be removed"),
        ({"model": nn.Linear}, TypeError, "model must be a torch.nn.Module"),
    ],
)
def test_bad_input_is_named_and_writes_nothing(tmp_path, options, error, message):
    given = {"model": on_paper(), "loader": ONE_HOT, "progress": False}
    with pytest.raises(error, match=message):
        sensitivity(**given | {"folder": tmp_path / "scan"} | options)
    assert not (tmp_path / "scan").exists()


def test_the_model_given_is_untouched():
    model = residual().train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = torch.randn(8, 3, 12, 12)
    sensitivity(model, [(x, torch.arange(8) % 4)], shares=[0.5], progress=False)
    assert model.training
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_the_generators_of_the_caller_are_left_as_they_were():
    model = on_paper()
    seed_generators(5)
    expected = torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002
    seed_generators(5)
    sensitivity(model, ONE_HOT, "random", shares=[0.5], progress=False)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected  # noqa: NPY002
