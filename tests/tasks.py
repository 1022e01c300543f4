"""Tasks that are no classification of one image, as small as can be, each learnt in seconds."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UShaped(nn.Module):
    """Two classes at each position: down once, up again, with what was seen before the way down."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.deep = nn.Sequential(
            *(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            nn.ConvTranspose2d(16, 8, 2, stride=2),
        )
        self.last = nn.Conv2d(16, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return self.last(torch.cat([first, self.deep(first)], 1))


def squares(pictures: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of four noisy pictures of a bright square, with masks of where it is."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(1, 9, (pictures, 2, 1), generator=generator)
    inside = (torch.arange(16) >= corner) & (torch.arange(16) < corner + 6)
    masks = (inside[:, 0, :, None] & inside[:, 1, None, :]).long()
    noise = 0.5 * torch.randn(pictures, 16, 16, generator=generator)
    return list(zip((masks + noise)[:, None].split(4), masks.split(4), strict=True))


def by_pixel(output: Tensor, masks: Tensor) -> Tensor:
    """One value a picture: the mean of the cross-entropy of its pixels."""
    return F.cross_entropy(output, masks, reduction="none").mean((1, 2))


def mean_iou(model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Intersection over union, the mean over both classes, and the share of right pixels."""
    pairs = torch.zeros(4)
    for x, masks in loader:
        pairs += torch.bincount((2 * masks + model(x).argmax(1)).flatten(), minlength=4)
    table = pairs.view(2, 2)
    union = table.sum(0) + table.sum(1) - table.diagonal()
    iou = (table.diagonal() / union).mean()
    return {"mean_iou": iou.item(), "pixels": (table.trace() / table.sum()).item()}


class TwoInputs(nn.Module):
    """Three classes, from a picture and a depth map of half its size."""

    def __init__(self) -> None:
        super().__init__()
        self.picture, self.depth = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(1, 8, 3, padding=1)
        self.both = nn.Sequential(nn.Conv2d(16, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Linear(6, 3)

    def forward(self, picture: Tensor, depth: Tensor, scale: float = 1.0) -> Tensor:
        seen = F.max_pool2d(self.picture(picture).relu(), 2), self.depth(depth).relu() * scale
        return self.head(self.both(torch.cat(seen, 1)).mean((2, 3)))


def two_inputs(form: type) -> list[tuple]:
    """Batches for :class:`TwoInputs`, whose inputs come as a tuple, a list or a dictionary."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(2):
        x = torch.randn(6, 3, 8, 8, generator=generator)
        depth = torch.randn(6, 1, 4, 4, generator=generator)
        inputs = {"depth": depth, "picture": x} if form is dict else form((x, depth))
        batches.append((inputs, torch.arange(6) % 3))
    return batches
