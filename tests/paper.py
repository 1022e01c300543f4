"""A network small enough to compute its scores on paper, and one that writes in place."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Paper(nn.Module):
    """Three 1x1 filters, ReLU, two linear outputs averaged over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 1, bias=False)
        self.relu = nn.ReLU()
        self.head = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -1.0, 2.0]).view(3, 1, 1, 1))
            self.head.weight.copy_(torch.tensor([[1.0, 2, 0], [-1, 0, 4]]).view(2, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.conv(x))).mean(dim=(2, 3))


def output_of_class(output: Tensor, y: Tensor) -> Tensor:
    """A loss whose derivatives are the head's weights: the output of the example's class."""
    return output.gather(1, y.unsqueeze(1)).sum()


# Two examples of two positions:    x = (1, -3), class 0        x = (1, 0), class 1
# maps  r = relu(w x)                (1, 0) (0, 3) (2, 0)         (1, 0) (0, 0) (2, 0)
# slope dC/dr = head / 2 positions    1/2     1      0             -1/2    0      2
# L2 norm of r                         1      3      2               1     0      2
# mean over positions of slope x r    1/4    3/2     0             -1/4    0      2
IMAGES = torch.tensor([[[[1.0, -3.0]]], [[[1.0, 0.0]]]])
CLASSES = torch.tensor([0, 1])


def batches(*sizes: int):
    return list(zip(IMAGES.split(sizes), CLASSES.split(sizes), strict=True))


class InPlace(nn.Module):
    """Everything written in place that can be, and maps that a later layer overwrites."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        y = self.second(x)
        y += x
        y = torch.relu_(y)
        return self.head(y.mean((2, 3)))
