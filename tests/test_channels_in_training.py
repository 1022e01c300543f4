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


class Averaging(Noisy):
    """Follows the mean of each channel while it trains, in a way of its own."""

    def __init__(self, update) -> None:
        super().__init__()
        del self.strength
        self.update = update
        self.register_buffer("average", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.training:
            self.update(self, x.detach().mean((0, 2, 3)))
        return self.last(F.relu(x).mean((2, 3)))


def by_methods(net: nn.Module, mean: Tensor) -> None:
    net.average.mul_(0.9).add_(mean, alpha=0.1)


def by_operators(net: nn.Module, mean: Tensor) -> None:
    net.average *= 0.9
    net.average += 0.1 * mean


def anew(net: nn.Module, mean: Tensor) -> None:
    net.average = 0.9 * net.average + 0.1 * mean


@pytest.mark.parametrize("update", [by_methods, by_operators, anew])
def test_a_buffer_of_training_mode_only_is_cut_too(update):
    model = Averaging(update)
    model.average.copy_(torch.arange(8))
    small = prunekit.rebuild(model, X, {"conv": [0, 5]})
    assert small.average.tolist() == [1, 2, 3, 4, 6, 7]
    small.train()(X)
    assert not torch.equal(small.average, torch.tensor([1.0, 2, 3, 4, 6, 7]))


def test_a_buffer_that_nothing_reads_asks_nothing_of_training_mode():
    """Such as the weights of classes, beside a training mode that cannot be followed."""
    model = WithLoss()
    del model.strength
    model.register_buffer("of_classes", torch.ones(4))
    assert prunekit.rebuild(model, X, {"conv": [0]}).of_classes.shape == (4,)
