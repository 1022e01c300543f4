"""A layer's weights by ridge regression on patches of what it reads."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from prunekit.channels.kinds import LINEAR, kind_of

PLACES = 64  # of each image's maps: neighbours are alike, so more of them say little more
CHUNK = 64  # images whose patches are in memory at a time
RIDGE = 0.1  # of the variance of one patch: too little to see with many patches, firm with few
ROUNDING = 1e-10  # of the mean square


def at_places(maps: Tensor) -> Tensor:
    """Maps of shape (images, filters, positions) at some places: (images × places, filters)."""
    places = _places(len(maps), maps.shape[2]).to(maps.device)
    chosen = maps.gather(2, places.unsqueeze(1).expand(-1, maps.shape[1], -1))
    return chosen.transpose(1, 2).flatten(0, 1)


def fit(layer: Any, x: Tensor, lacking: Tensor, positions: int) -> tuple[Tensor, Tensor]:
    """The weight and bias that best add to a layer's output what it lacks.

    Parameters
    ----------
    layer
        A linear layer, or a convolution that is not transposed.
    x
        What the layer read.
    lacking : tensor of shape (images × places, filters)
        By how much its output falls short :func:`at_places`.
    positions
        How many a map of its output has.
    """
    groups = getattr(layer, "groups", 1)
    lacking = lacking.unflatten(1, (groups, -1)).transpose(0, 1).double()
    places = _places(len(x), positions).to(x.device)
    chunks = zip(x.split(CHUNK), places.split(CHUNK), strict=True)
    patches = (_patches(layer, *chunk) for chunk in chunks)
    change, mean = _ridge_regression(patches, lacking, width=layer.weight[0].numel())
    constant = (lacking.mean(1, keepdim=True) - mean @ change).flatten()
    if layer.bias is not None:
        constant = constant + layer.bias
    return layer.weight + change.mT.reshape(layer.weight.shape), constant


def _places(images: int, positions: int) -> Tensor:
    """The positions of each image's maps to look at: drawn at random, but always the same."""
    if positions <= PLACES:
        return torch.arange(positions).expand(images, -1)
    generator = torch.Generator().manual_seed(0)
    return torch.rand(images, positions, generator=generator).topk(PLACES).indices


def _ridge_regression(
    patches: Iterable[Tensor], lacking: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """What to add to each group's weights, (groups, width, filters), and the mean patch.

    Both in float64. The ridge pulls the change to zero: an input that says
    nothing about what is lacking keeps its weight.
    """
    rows, lacking = lacking.shape[1], lacking - lacking.mean(1, keepdim=True)
    if rows < width:  # the same solution, by way of a matrix of rows instead of one of inputs
        inputs = torch.cat(list(patches), 1).double()
        mean = inputs.mean(1, keepdim=True)
        inputs = inputs - mean
        return inputs.mT @ _solve_ridged(inputs @ inputs.mT, lacking, mean, rows), mean
    patches = iter(patches)
    first = next(patches)
    about = first.mean(1, keepdim=True)  # near the mean, so that float32 sums keep their digits
    gram = cross = total = torch.zeros(())
    done = 0
    for part in chain([first], patches):
        there = lacking[:, done : done + part.shape[1]]
        part = part - about
        gram = gram + (part.mT @ part).double()
        cross = cross + (part.mT @ there.to(part.dtype)).double()
        total = total + part.sum(1, keepdim=True, dtype=torch.float64)
        done += part.shape[1]
    gram = gram - total.mT @ total / rows
    mean = about + total / rows
    return _solve_ridged(gram, cross, mean, rows), mean


def _solve_ridged(gram: Tensor, right: Tensor, mean: Tensor, rows: int) -> Tensor:
    variance = gram.diagonal(dim1=-2, dim2=-1).sum(-1) / rows
    # Inputs that are constant up to rounding have a variance, but say nothing.
    ridge = RIDGE * variance + rows * ROUNDING * mean.square().mean((-2, -1))
    ridge = ridge.clamp_min(torch.finfo(gram.dtype).tiny).view(-1, 1, 1)
    return torch.linalg.solve(gram + ridge * torch.eye(gram.shape[-1]).to(gram), right)


def _patches(layer: Any, x: Tensor, places: Tensor) -> Tensor:
    """What a layer reads for its output at some places: (groups, rows, inputs of a group)."""
    x = x if x.dtype == torch.float64 else x.float()
    image = torch.arange(len(x), device=x.device).unsqueeze(1)
    if kind_of(layer) is LINEAR:
        return x.reshape(len(x), -1, x.shape[-1])[image, places].flatten(0, 1).unsqueeze(0)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    windows = F.pad(x, _padding(layer), mode)
    extents = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    for dim, (kernel, stride, dilation) in enumerate(extents, start=2):
        windows = windows.unfold(dim, (kernel - 1) * dilation + 1, stride)[..., ::dilation]
    at: tuple[Any, ...] = torch.unravel_index(places, windows.shape[2 : x.dim()])
    return (
        windows[image, :, *at]
        .flatten(0, 1)
        .unflatten(1, (layer.groups, -1))
        .flatten(2)
        .transpose(0, 1)
    )


def _padding(conv: Any) -> list[int]:
    """As F.pad takes it: before and after, the last dimension first."""
    if conv.padding == "valid":
        return [0] * 2 * len(conv.kernel_size)
    if conv.padding == "same":
        sizes = zip(reversed(conv.kernel_size), reversed(conv.dilation), strict=True)
        both = [dilation * (kernel - 1) for kernel, dilation in sizes]
        return [amount for total in both for amount in (total // 2, total - total // 2)]
    return [amount for amount in reversed(conv.padding) for _ in range(2)]
