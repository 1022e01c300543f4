"""GoogLeNet in its CIFAR form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Filters of each Inception module: 1x1; 3x3 and those before it; 5x5 and those before it; pooled.
STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        *((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64)),
        *((112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128)),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def _normed(inputs: int, outputs: int, kernel: int = 1) -> list[nn.Module]:
    # A bias before a batch norm is subtracted again.
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class Inception(nn.Module):
    """Four branches side by side, whose maps are joined.

    The branch of 5x5 is two convolutions of 3x3, which see as far.
    """

    def __init__(
        self, inputs: int, one: int, before3: int, three: int, before5: int, five: int, pooled: int
    ) -> None:
        super().__init__()
        self.branch1 = nn.Sequential(*_normed(inputs, one))
        self.branch3 = nn.Sequential(*_normed(inputs, before3), *_normed(before3, three, 3))
        self.branch5 = nn.Sequential(
            *_normed(inputs, before5), *_normed(before5, five, 3), *_normed(five, five, 3)
        )
        self.branch_pool = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), *_normed(inputs, pooled))

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1, self.branch3, self.branch5, self.branch_pool)
        return torch.cat([branch(x) for branch in branches], 1)


class GoogLeNet(nn.Module):
    """A 3x3 stem and stages of Inception modules, with a pooling between stages.

    Takes images of shape (batch, 3, 32, 32) or larger.
    """

    def __init__(self, num_classes: int = 10, stages: tuple = STAGES, stem: int = 192) -> None:
        super().__init__()
        layers: list[nn.Module] = _normed(3, stem, 3)
        channels = stem
        for place, stage in enumerate(stages):
            if place:
                layers.append(nn.MaxPool2d(3, 2, padding=1))
            for filters in stage:
                layers.append(Inception(channels, *filters))
                one, _, three, _, five, pooled = filters
                channels = one + three + five + pooled
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


def googlenet(num_classes: int = 10) -> GoogLeNet:
    """GoogLeNet for images of 32x32 pixels: 6.2 M parameters, 1.5 G multiply-accumulates.

    The nine Inception modules of Szegedy et al. (2015), with batch norm. As in
    the usual CIFAR form, a single 3x3 convolution stands before them, 5x5
    convolutions are two of 3x3, and there are no auxiliary classifiers.

    Examples
    --------
    >>> sum(p.numel() for p in googlenet().parameters())
    6158346
    """
    return GoogLeNet(num_classes)
