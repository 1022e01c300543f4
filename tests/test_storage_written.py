"""Layers of a class that a file cannot name come back as layers, and can be pruned again."""

import pytest
import torch
import torch.nn.functional as F
from test_channels_sizes import X, check
from test_channels_written import SamePadding, Standardised
from torch import nn

import prunekit


class OwnLinear(nn.Linear):
    pass


class Plain(nn.Module):
    """Layers that a file can hold by their tensors only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.depthwise = SamePadding(3, 8, 3, 2), SamePadding(8, 8, 3, groups=8)
        self.second = nn.Sequential(SamePadding(8, 6, 1, bias=False), nn.BatchNorm2d(6))
        self.head = OwnLinear(6, 4)

    def forward(self, x):
        x = self.second(torch.relu(self.depthwise(self.first(x))))
        return self.head(x.mean((2, 3)))


class Twice(Plain):
    """One layer called twice, in a second place by another function."""

    def forward(self, x):
        x = super().forward(x)
        return x + F.linear(x @ self.head.weight, self.head.weight, self.head.bias)


def reloaded(model, folder):
    prunekit.save(model, folder / "model.safetensors", example_inputs=X)
    return prunekit.load(folder / "model.safetensors")


def test_a_loaded_network_is_pruned_as_the_one_that_was_saved(tmp_path):
    torch.manual_seed(0)
    model = Plain().double().eval()
    loaded = reloaded(model, tmp_path)
    assert type(loaded.depthwise) is nn.Conv2d
    assert (loaded.depthwise.groups, loaded.first.stride) == (8, (2, 2))
    torch.testing.assert_close(loaded(X), model(X), rtol=0, atol=0)
    check(loaded, X, {"first": 8, "depthwise": 8, "second.0": 6})
    small = prunekit.rebuild(loaded, X, {"first": [1, 4], "second.0": [0]})
    again = reloaded(small, tmp_path)
    torch.testing.assert_close(again(X), small(X), rtol=0, atol=0)
    assert again.depthwise.groups == 6
    check(again, X, {"first": 6, "depthwise": 6, "second.0": 5})


@pytest.mark.parametrize(
    ("model", "free"),
    [
        (Twice(), {"first": 8, "depthwise": 8}),
        (nn.Sequential(Standardised(3, 8, 1), nn.Conv2d(8, 2, 1)), {}),
    ],
)
def test_what_is_more_than_one_call_stays_as_it_was_written(tmp_path, model, free):
    torch.manual_seed(0)
    model = model.double().eval()
    loaded = reloaded(model, tmp_path)
    torch.testing.assert_close(loaded(X), model(X), rtol=0, atol=0)
    check(loaded, X, free)
    torch.testing.assert_close(reloaded(loaded, tmp_path)(X), model(X), rtol=0, atol=0)


def test_what_was_loaded_without_its_class_is_no_longer_of_that_class(tmp_path):
    small = prunekit.rebuild(reloaded(Plain().double().eval(), tmp_path), X, {"first": [1, 4]})
    prunekit.save(small, tmp_path / "small.safetensors", example_inputs=X)
    with pytest.raises(ValueError, match="'first' is a Conv2d in the file, not a SamePadding"):
        prunekit.load(tmp_path / "small.safetensors", into=Plain())
