"""MobileNetV2 in its CIFAR form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Expansion, channels, blocks and stride of each stage. ImageNet's has stride 2 in the second.
STAGES = (
    *((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


def _normed(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return [conv, nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each map by itself, project by 1x1 without activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.body = nn.Sequential(
            *_normed(inputs, hidden),
            nn.ReLU6(inplace=True),
            *_normed(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.ReLU6(inplace=True),
            *_normed(hidden, outputs),
        )
        self.shortcut = None
        if stride == 1:
            same = inputs == outputs
            self.shortcut = nn.Identity() if same else nn.Sequential(*_normed(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return y if self.shortcut is None else y + self.shortcut(x)


class MobileNetV2(nn.Module):
    """Seven stages of inverted residuals between a 3x3 stem and a 1x1 convolution.

    Takes images of shape (batch, 3, 32, 32) or larger.
    """

    def __init__(self, num_classes: int = 10, stages: tuple = STAGES, last: int = 1280) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_normed(3, 32, 3), nn.ReLU6(inplace=True)]
        channels = 32
        for expansion, width, blocks, stride in stages:
            for block in range(blocks):
                step = stride if block == 0 else 1
                layers.append(InvertedResidual(channels, width, step, expansion))
                channels = width
        layers += [*_normed(channels, last), nn.ReLU6(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


def mobilenet_v2(num_classes: int = 10) -> MobileNetV2:
    """MobileNetV2 for images of 32x32 pixels: 2.3 M parameters, 91 M multiply-accumulates.

    Sandler et al. (2018), with the strides of the stem and of the second
    stage set to 1. As in the usual CIFAR form, a block of stride 1 that
    changes the number of channels has a 1x1 convolution as its shortcut,
    which the ImageNet form lacks. Its first block expands by 1, in three
    convolutions like the others.

    Examples
    --------
    >>> sum(p.numel() for p in mobilenet_v2().parameters())
    2296922
    """
    return MobileNetV2(num_classes)
