"""The residual networks for CIFAR-10."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Widen(nn.Module):
    """A shortcut without parameters: every second pixel, and zeros for the new channels.

    The zeros are buffers of one number a channel, half of them before the
    channels of the input and half after, so that they can be sliced like
    any other tensor when a network is pruned.
    """

    before: Tensor
    after: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        before = (outputs - inputs) // 2
        self.every_second = nn.MaxPool2d(1, stride=2)
        self.register_buffer("before", torch.zeros(1, before, 1, 1))
        self.register_buffer("after", torch.zeros(1, outputs - inputs - before, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.every_second(x)
        size = x.size(0), -1, x.size(2), x.size(3)
        return torch.cat([self.before.expand(*size), x, self.after.expand(*size)], dim=1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around which the input is carried and added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else Widen(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem and three stages of ``blocks`` basic blocks, of 16, 32 and 64 channels.

    He et al. (2016), section 4.2, with the shortcuts of option A: 6 n + 2
    layers for n blocks a stage. Takes images of shape (batch, 3, 32, 32) or
    larger.

    Examples
    --------
    >>> ResNet(blocks=1)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential

    def __init__(self, blocks: int, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = {"layer1": (16, 16), "layer2": (16, 32), "layer3": (32, 64)}
        for name, (inputs, outputs) in widths.items():
            first = BasicBlock(inputs, outputs)
            others = (BasicBlock(outputs, outputs) for _ in range(blocks - 1))
            self.add_module(name, nn.Sequential(first, *others))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.pool(x), 1))


def resnet20(num_classes: int = 10) -> ResNet:
    """ResNet-20 for CIFAR-10: 0.27 M parameters, 41 M multiply-accumulates.

    Examples
    --------
    >>> sum(p.numel() for p in resnet20().parameters())
    269722
    """
    return ResNet(3, num_classes)


def resnet56(num_classes: int = 10) -> ResNet:
    """ResNet-56 for CIFAR-10: 0.85 M parameters, 125 M multiply-accumulates."""
    return ResNet(9, num_classes)


def resnet110(num_classes: int = 10) -> ResNet:
    """ResNet-110 for CIFAR-10: 1.73 M parameters, 253 M multiply-accumulates."""
    return ResNet(18, num_classes)
