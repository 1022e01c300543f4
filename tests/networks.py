"""Networks that the tests build: random ones, and small ones with one awkward part each."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

import prunekit


class Residual(nn.Module):
    """x + conv(bn(relu(conv(x))))"""

    def __init__(self, channels: int, hidden: int, groups: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.middle = nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups)
        self.last = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.first(x)))
        y = nn.functional.hardswish(self.middle(y))
        y = self.last(y)
        y += x
        return torch.relu(y)


class Branches(nn.Module):
    """Branches of unequal width, concatenated."""

    def __init__(self, channels: int, widths: list[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, width, kernel, padding=kernel // 2)
            for width, kernel in zip(widths, (1, 3, 5), strict=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.sigmoid(branch(x)) for branch in self.branches], 1)


class Shuffle(nn.Module):
    """Half of the channels goes through a convolution, then two groups are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels // 2, channels // 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        x = torch.cat([left, torch.relu(self.conv(right))], dim=1)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous()
        return x.view(batch, channels, height, width)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(channels, hidden, 1)
        self.grow = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.grow(torch.relu(self.shrink(gate))))


class Hourglass(nn.Module):
    """Down by a strided convolution, up by a transposed one."""

    def __init__(self, channels: int, hidden: int, groups: int, affine: bool) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, hidden, 2, stride=2)
        self.norm = nn.InstanceNorm2d(hidden, affine=affine)
        self.up = nn.ConvTranspose2d(hidden, hidden, 2, stride=2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.up(self.norm(self.down(x))))


class Finer(nn.Module):
    """Sub-pixel maps, made and brought back to the old size."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, hidden * 4, 1)
        self.shuffle = nn.PixelShuffle(2)
        self.upsample = nn.Upsample(scale_factor=2)
        self.pool = nn.AvgPool2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.upsample(self.shuffle(self.conv(x))))


class Recurrent(nn.Module):
    """One convolution used twice, with a norm over positions between its uses."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.softplus(self.conv(x))
        return self.conv(torch.softmax(y.flatten(2), dim=2).view(x.shape) + y)


class Sequences(nn.Module):
    """One-dimensional: a signal, normalised over time, then over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 6, 3, padding=1)
        self.over_time = nn.LayerNorm(10)
        self.second = nn.ConvTranspose1d(6, 4, 3, padding=1)
        self.over_channels = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.over_time(self.first(x))
        return self.head(self.over_channels(self.second(x).mean(dim=2)))


class Volumes(nn.Module):
    """Three-dimensional, two inputs, outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(2, 4, 1)
        self.norm = nn.BatchNorm3d(4)
        self.up = nn.ConvTranspose3d(4, 6, 2, stride=2)
        self.mask, self.label = nn.Conv3d(6, 1, 1), nn.Linear(6, 2)

    def forward(self, a, b):
        x = self.up(torch.relu(self.norm(self.left(a) + self.right(b))))
        return {"mask": self.mask(x), "label": self.label(x.mean(dim=(2, 3, 4)))}


class TwoPlaces(nn.Module):
    """One convolution under two names, and outputs in a nest."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.alias = self.shared
        self.heads = nn.ModuleList([nn.Conv2d(6, 2, 1), nn.Conv2d(6, 1, 1)])

    def forward(self, x):
        x = torch.relu(self.alias(torch.relu(self.shared(self.stem(x)))))
        return self.heads[0](x), [self.heads[1](x)]


class Between(nn.Module):
    """Does something between two convolutions of 8 and 6 filters, before a third."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        return self.head(self.second(self.operation(self.first(x))))


class RandomNetwork(nn.Module):
    """A stem, some blocks, and a classifier on flattened maps or on their means."""

    def __init__(self, blocks: list[nn.Module], channels: int, flatten: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(*blocks)
        self.flatten = flatten
        self.pool = nn.AdaptiveAvgPool2d(2 if flatten else 1)
        self.head = nn.Linear(channels * (4 if flatten else 1), 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.body(x)), 1))


@st.composite
def random_networks(draw: st.DrawFn) -> RandomNetwork:
    """Networks in float64 whose every parameter and statistic is random and not zero."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    channels = draw(st.integers(2, 5)) * 2
    blocks: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels)]
    kinds = ["conv", "residual", "branches", "shuffle", "gate", "depthwise", "grouped", "norm"]
    kinds += ["hourglass", "finer", "recurrent"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4)):
        if kind == "conv":
            wider = draw(st.integers(2, 6)) * 2
            blocks += [nn.Conv2d(channels, wider, 3, padding=1), nn.LeakyReLU(), nn.MaxPool2d(2, 1)]
            channels = wider
        elif kind == "residual":
            hidden = draw(st.integers(1, 4)) * 2
            blocks.append(Residual(channels, hidden, draw(st.sampled_from([1, 2, hidden]))))
        elif kind == "branches":
            widths = draw(st.lists(st.integers(2, 5), min_size=2, max_size=3))
            blocks.append(Branches(channels, widths))
            channels = sum(widths)
            if channels % 2:
                blocks.append(nn.Conv2d(channels, channels + 1, 1))
                channels += 1
        elif kind == "shuffle":
            blocks.append(Shuffle(channels))
        elif kind == "gate":
            blocks.append(Gate(channels, 3))
        elif kind == "depthwise":
            multiplier = draw(st.integers(1, 2))
            blocks.append(nn.Conv2d(channels, channels * multiplier, 3, padding=1, groups=channels))
            channels *= multiplier
        elif kind == "hourglass":
            hidden = draw(st.integers(1, 4)) * 2
            groups = draw(st.sampled_from([1, 2, hidden]))
            blocks.append(Hourglass(channels, hidden, groups, affine=draw(st.booleans())))
            blocks.append(nn.Upsample((8, 8)))
            channels = hidden
        elif kind == "finer":
            channels_after = draw(st.integers(1, 3)) * 2
            blocks += [Finer(channels, channels_after), nn.Upsample((8, 8), mode="bilinear")]
            channels = channels_after
        elif kind == "recurrent":
            blocks.append(Recurrent(channels))
        elif kind == "grouped":
            blocks.append(nn.Conv2d(channels, channels, 3, padding=1, groups=2))
        else:
            affine = draw(st.booleans())
            blocks += [nn.GroupNorm(2, channels, affine=affine), nn.PReLU(channels)]
    return randomise(RandomNetwork(blocks, channels, draw(st.booleans()))).double().eval()


def randomise(model: nn.Module) -> nn.Module:
    """Give batch norms statistics and weights of a trained network's kind."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return model


def some_of_every_layer(graph: prunekit.ChannelGraph, share: float, seed: int) -> dict:
    """Name up to ``share`` of each layer's dependency groups, leaving every layer one."""
    generator = np.random.default_rng(seed)
    gone: set[int] = set()
    remove = {}
    for name, layer in graph.prunable.items():
        free = np.setdiff1d(layer.groups, [0, *gone])
        count = min(int(len(free) * share * generator.random() + 0.5), len(free) - 1)
        chosen = generator.choice(free, max(count, 0), replace=False)
        trial = gone | set(chosen.tolist())
        if not any(np.isin(other.groups, list(trial)).all() for other in graph.layers.values()):
            gone = trial
            remove[name] = np.flatnonzero(np.isin(layer.groups, chosen)).tolist()
    return remove
