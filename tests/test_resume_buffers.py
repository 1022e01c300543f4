"""What no state dictionary holds is resumed too: buffers that are not persistent, and modes."""

from __future__ import annotations

import pytest
import torch
from loops import interrupted_at
from torch import nn

from prunekit import prune
from prunekit.grafting import fit_grafted
from prunekit.grafting import training as grafted
from prunekit.storage.fingerprints import digest_of
from prunekit.training import fit
from prunekit.training.checkpoint import TrainingState


class Following(nn.Module):
    """A network with a running mean of its maps that is not persistent."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 4, 1)
        self.register_buffer("mean", torch.zeros(8, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(self.scale * x)))
        if self.training:
            self.mean = self.mean / 2 + x.detach().mean((0, 2, 3)).view(-1, 1, 1) / 2
        return self.last(x - self.mean).mean((2, 3))


def network(scale: float = 1.0) -> Following:
    torch.manual_seed(0)
    return Following(scale).train()


@pytest.fixture
def batches():
    torch.manual_seed(1)
    return [(torch.randn(8, 3, 6, 6), torch.arange(8) % 4) for _ in range(2)]


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for name, tensor in (*one.named_parameters(), *one.named_buffers()):
        assert torch.equal(tensor, dict((*other.named_parameters(), *other.named_buffers()))[name])
    modes = [[part.training for part in model.modules()] for model in (one, other)]
    assert modes[0] == modes[1]


def tune(model, loader):
    """A training of one's own, which leaves the network in evaluation mode."""
    fit(model, loader, lr=0.1, progress=False)
    model.eval()


def test_a_pruning_run_keeps_buffers_and_modes(batches, tmp_path):
    options = {"criterion": "weight_l1", "ratio": 0.5, "per_iteration": 2, "progress": False}
    options |= {"fine_tune": tune}
    unbroken = prune(network(), batches, batches, **options).model
    assert not unbroken.training
    with pytest.raises(KeyboardInterrupt):
        prune(network(), batches, batches, folder=tmp_path, report=interrupted_at(2), **options)
    for _ in range(2):  # resumed, and then read back
        assert_same(unbroken, prune(network(), batches, batches, folder=tmp_path, **options).model)


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_a_training_keeps_buffers(batches, tmp_path, monkeypatch, average):
    unbroken, stopped, resumed = network(), network(), network()
    settings = {"epochs": 3, "lr": 0.1, "average": average, "progress": False}
    fit(unbroken, batches, batches, **settings)
    settings["checkpoint"] = tmp_path / "training.safetensors"
    write = TrainingState.write

    def write_and_stop(self, *given):
        write(self, *given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingState, "write", write_and_stop)
        fit(stopped, batches, batches, **settings)
    fit(resumed, batches, batches, **settings)
    assert_same(unbroken, resumed)


def test_a_grafted_training_keeps_buffers(batches, tmp_path, monkeypatch):
    unbroken, stopped, resumed = ([network(), network()] for _ in range(3))
    settings = {"epochs": 2, "calibration": 0, "progress": False}
    fit_grafted(unbroken, batches, **settings)
    write = grafted._write

    def write_and_stop(*given):
        write(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(grafted, "_write", write_and_stop)
        fit_grafted(stopped, batches, folder=tmp_path, **settings)
    fit_grafted(resumed, batches, folder=tmp_path, **settings)
    for one, other in zip(unbroken, resumed, strict=True):
        assert_same(one, other)


def test_networks_that_differ_in_such_a_buffer_alone_are_told_apart(batches, tmp_path):
    options = {"criterion": "weight_l1", "ratio": 0.5, "fine_tune": None, "progress": False}
    prune(network(), batches, batches, folder=tmp_path, **options)
    with pytest.raises(ValueError, match="starting_weights"):
        prune(network(-7.0), batches, batches, folder=tmp_path, **options)


def test_digests_of_networks_without_such_buffers_are_those_of_their_state(batches):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    assert digest_of(model) == digest_of(model.state_dict())
    assert digest_of(network()) != digest_of(network().state_dict())
