"""A pruned network is fine-tuned by Lightning and by Accelerate, as the page says it is."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import prunekit

PAGE = ROOT / "book" / "practitioners.md"
EXTRA = "pip install prunekit[trainers]"


class Net(nn.Module):
    """Two layers whose channels meet in a sum."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width))
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 2 * width, 3, stride=2)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.head(F.relu(self.last(F.relu(x + self.conv(x)))).mean((2, 3)))


def code_of(trainer: str) -> str:
    """The block of the page that imports a trainer."""
    blocks = re.findall(
        r"^```\{code-block\} python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    (code,) = (block for block in blocks if re.search(rf"^(import|from) {trainer}\b", block))
    return code


@pytest.fixture
def names() -> dict[str, Any]:
    """What the code before this section has made, in small."""
    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.images[:600], dtype=torch.float32)[:, None] / 8 - 1
    y = torch.tensor(digits.target[:600])
    train = DataLoader(TensorDataset(x[:500], y[:500]), batch_size=25, shuffle=True)
    val = DataLoader(TensorDataset(x[500:], y[500:]), batch_size=50)
    model = Net()
    prunekit.training.fit(model, train, epochs=4, lr=0.1, progress=False)
    modules = {"torch": torch, "nn": nn, "F": F, "prunekit": prunekit}
    return modules | {"model": model, "train": train, "val": val}


@pytest.mark.parametrize("trainer", ["lightning", "accelerate"])
def test_a_run_is_fine_tuned_by_it(trainer, names, tmp_path, monkeypatch):
    pytest.importorskip(trainer, reason=EXTRA)
    monkeypatch.chdir(tmp_path)
    model, x = names["model"], next(iter(names["val"]))[0]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    exec(compile(code_of(trainer), str(PAGE), "exec"), names)
    history = names[f"tuned_by_{trainer}"]
    table, small = history.table, history.model
    assert history.stopped == "ratio" and len(table) == 3
    assert (table["accuracy_after"] - table["accuracy_before"]).iloc[1:].sum() > 0.05
    assert table["accuracy_after"].iloc[-1] > table["accuracy_after"].iloc[0] - 0.1
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    # A plain network again: nothing of the trainer hangs on it.
    assert type(small) is Net and "forward" not in vars(small)
    prunekit.save(small, tmp_path / "small.safetensors")
    again = prunekit.load(tmp_path / "small.safetensors", into=Net())
    with torch.inference_mode():
        torch.testing.assert_close(again.eval()(x), small.eval()(x))
