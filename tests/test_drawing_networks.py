"""Networks that draw random numbers in evaluation mode, too: what is seeded is repeatable."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from prunekit import prune, sensitivity
from prunekit.training import fit
from prunekit.training.checkpoint import TrainingState


class Drawing(nn.Module):
    """With a dropout that is always on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Linear(72, 4, bias=False)

    def forward(self, x):
        return self.last(F.dropout(torch.relu(self.first(x)), 0.5, training=True).flatten(1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Drawing().eval()


@pytest.fixture
def batches(model):
    x = torch.randn(64, 3, 5, 5)
    return [(x, model(x).argmax(1))]


def test_a_training_that_was_stopped_draws_what_an_unbroken_one_does(
    model, batches, tmp_path, monkeypatch
):
    whole, stopped, resumed = (copy.deepcopy(model) for _ in range(3))
    settings = {"epochs": 2, "lr": 0.1, "progress": False}
    torch.manual_seed(5)
    fit(whole, batches, batches, **settings)
    settings["checkpoint"] = tmp_path / "training.safetensors"
    write = TrainingState.write

    def write_and_stop(self, *given):
        write(self, *given)
        raise KeyboardInterrupt

    torch.manual_seed(5)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingState, "write", write_and_stop)
        fit(stopped, batches, batches, **settings)
    fit(resumed, batches, batches, **settings)
    assert torch.equal(whole.first.weight, resumed.first.weight)


def test_a_row_of_sensitivity_does_not_depend_on_the_rows_before(model, batches):
    whole = sensitivity(model, batches, shares=[0.25, 0.5, 0.75], progress=False).table
    alone = sensitivity(model, batches, shares=[0.75], progress=False).table
    assert whole["accuracy"].iloc[-1] == alone["accuracy"].item()


def test_the_first_row_of_pruning_depends_on_the_seed_and_not_on_what_was_drawn(model, batches):
    found = []
    for drawn in (1, 2):
        torch.manual_seed(drawn)
        options = {"ratio": 0.3, "fine_tune": None, "progress": False}
        table = prune(model, batches, batches, "weight_l1", seed=3, **options).table
        found.append(table["accuracy_after"].tolist())
    assert found[0] == found[1]
