"""Sizes that a removal changes: right where they size what shrinks with them, else held."""

import math

import pytest
import torch
import torch.nn.functional as F
from networks import Between, some_of_every_layer
from torch import nn

import prunekit

X = torch.randn(2, 3, 6, 6, dtype=torch.double)


def check(model: nn.Module, x: torch.Tensor, groups: dict[str, int]) -> None:
    """The first law, and how many groups of channels of each layer can go."""
    model = model.double().eval()
    graph = prunekit.trace(model, x)
    found = {name: len(set(layer.groups) - {0}) for name, layer in graph.prunable.items()}
    assert found == groups
    for seed in range(3):
        remove = some_of_every_layer(graph, 1.0, seed)
        small, masked = prunekit.rebuild(model, x, remove), prunekit.mask(model, x, remove)
        for inputs in (x, torch.randn_like(x)):
            torch.testing.assert_close(small(inputs), masked(inputs))


def regroup(x, half):
    """Two groups, shuffled."""
    return x.view(2, 2, half, 36).transpose(1, 2).reshape(2, half * 2, 6, 6)


# What is done to 8 channels, and in how many groups they can still go.
SHRINKING = {
    "a number of groups": (lambda x: x.view(2, x.shape[1] // 4, -1, 6, 6).flatten(1, 2), 2),
    "members of a group": (lambda x: x.view(2, -1, x.shape[1] // 4, 6, 6).flatten(1, 2), 2),
    "two ratios": (lambda x: x.view(2, x.size(1) // 2, 2, -1).view(2, x.size(1), 6, 6), 4),
    "back by a product": (lambda x: regroup(x, x.shape[1] // 2), 4),
    "channels as a batch": (lambda x: x.view(2 * x.shape[1], 36).relu().view(x.shape), 8),
    "a quotient of numbers": (lambda x: x.reshape(2, x.numel() // 72, 6, 6), 8),
    "its own size": (lambda x: x.expand(x.shape[0], x.shape[1], 6, 6), 8),
    "a mean stretched": (lambda x: x.mean((2, 3), keepdim=True).expand(x.shape) * x, 8),
    # torch.fx follows a sum of shapes, but does not iterate over one.
    "a shape put together": (lambda x: x.view(x.shape[:2] + (36,)).view(x.shape), 8),  # noqa: RUF005
    "two halves, swapped": (lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), 4),
    "a slice beyond the end": (lambda x: x[:, :99], 8),
    "a tensor that picks pixels": (lambda x: x[:, :, torch.tensor([0, 2, 1, 5, 4, 3])], 8),
    "a dimension that is dropped if 1": (
        lambda x: x.mean((2, 3)).squeeze()[:, :, None, None] * x,
        6,
    ),
}
HELD = {
    "divided by": lambda x: x / x.shape[1],
    "multiplied by": lambda x: x * x.size(1),
    "subtracted from": lambda x: x.shape[1] - x,
    "a root": lambda x: x * x.size(1) ** -0.5,
    "a root by math": lambda x: x / math.sqrt(x.shape[-3]),
    "compared": lambda x: x * (x.shape[1] > 4),
    "a share of all numbers": lambda x: x.sum((2, 3), keepdim=True) / x.numel() + x,
    "a mean by hand": lambda x: x + x.sum(1, keepdim=True) / x.shape[1],
    "a remainder": lambda x: x + x.shape[1] % 3,
    "a quotient with a rest": lambda x: x + x.shape[1] // 3,
    "numbered": lambda x: x * torch.arange(x.shape[1], device=x.device).view(-1, 1, 1),
    "counted by ones": lambda x: x * torch.ones(x.shape[1], device=x.device).sum(),
    "a size of maps": lambda x: F.interpolate(F.interpolate(x, size=x.shape[1]), size=6),
    "a size of means": lambda x: F.interpolate(F.adaptive_avg_pool2d(x, x.shape[1] // 2), size=6),
    "a width of padding": lambda x: F.pad(x, (0, x.shape[1]))[..., :6],
    "a border's value": lambda x: F.pad(x, (1, 1), value=x.shape[1])[..., 1:7],
    "normalised over": lambda x: F.layer_norm(x, x.shape[1:]),
    "a number of parts": lambda x: torch.cat(x.chunk(x.shape[1] // 4, 1)[::-1], 1),
    "a size of parts": lambda x: torch.cat(x.split(x.shape[1] // 2, 1)[::-1], 1),
    "where to cut": lambda x: torch.cat([x[:, x.shape[1] // 2 :], x[:, : x.shape[1] // 2]], 1),
    "a length to cut": lambda x: x.narrow(1, 0, 8),
    "a length to stretch to": lambda x: x.expand(-1, 8, -1, -1),
    "chosen by a list": lambda x: x[:, [1, 0, 2, 3, 4, 5, 7, 6]],
    "copied around the ends": lambda x: around(x, "circular"),
    "mirrored at the ends": lambda x: around(x, "reflect"),
    "repeated at the ends": lambda x: around(x, "replicate"),
    "cropped": lambda x: F.pad(x, (0, 0, 0, 0, 1, -1)),
}


def around(x, mode):
    """Pads the channels by one at either end, and has a mean of the neighbours."""
    padded = F.pad(x, (0, 0, 0, 0, 1, 1), mode=mode)
    return padded[:, :-2] + padded[:, 2:]


@pytest.mark.parametrize("kind", SHRINKING)
def test_a_size_shrinks_with_the_channels_that_it_counts(kind):
    operation, groups = SHRINKING[kind]
    check(Between(operation), X, {"first": groups, "second": 6})


@pytest.mark.parametrize("kind", HELD)
def test_channels_stay_where_their_number_is_a_value(kind):
    check(Between(HELD[kind]), X, {"second": 6})
