"""What a network does in training mode only: it loses channels along with the rest."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunekit


class Noisy(nn.Module):
    """Noise while training, as much of it for each channel as has been learned."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.strength = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.training:
            x = x + self.strength * self.noise(x)
        return self.last(F.relu(x).mean((2, 3)))

    def noise(self, x: Tensor) -> Tensor:
        return torch.randn_like(x)


class DroppedPaths(Noisy):
    """Whole examples without the noise."""

    def noise(self, x: Tensor) -> Tensor:
        return x.new_empty(len(x), 1, 1, 1).bernoulli_(0.5)


class WithLoss(Noisy):
    """Computes its loss in training, for which it asks labels."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        scores = self.last(F.relu(self.conv(x)).mean((2, 3)))
        return F.cross_entropy(scores, labels) if self.training else scores


X = torch.randn(4, 3, 8, 8)


@pytest.mark.parametrize("kind", [Noisy, DroppedPaths])
def test_a_parameter_of_training_mode_only_is_cut_too(kind):
    small = prunekit.rebuild(kind(), X, {"conv": [0, 5]})
    assert small.strength.shape == (6, 1, 1)
    small.train()(X).sum().backward()
    assert small.strength.grad is not None


def test_a_training_mode_that_cannot_be_followed_is_refused_by_the_parameter_it_is_asked_for():
    with pytest.raises(prunekit.TraceError, match=r"in training mode, .* parameter 'strength'"):
        prunekit.trace(WithLoss(), X)
    without = WithLoss()
    del without.strength
    assert list(prunekit.trace(without, X).prunable) == ["conv"]


def test_training_mode_is_not_followed_for_a_single_number():
    model = WithLoss()
    model.strength = nn.Parameter(torch.ones(1))
    assert list(prunekit.trace(model, X).prunable) == ["conv"]
