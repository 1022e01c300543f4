"""Pictures of people drawn by the computer, to try a detector on where there are no photographs."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from prunekit.checks import checked, whole
from prunekit.detection.data import BoxSet

MOST = 3  # people in a picture


@checked(
    pictures=partial(whole, least=1), size=partial(whole, least=32), seed=partial(whole, least=0)
)
def draw_people(pictures: int, *, size: int = 96, seed: int = 0) -> BoxSet:
    """Pictures with one to three people in dark clothes, before a wall and two boxes.

    Whoever is drawn later stands in front. The boxes that stand about have
    any colour, are as wide as they are high, or wider, and have no head.

    Parameters
    ----------
    size
        Side of a picture in pixels.

    Examples
    --------
    >>> drawn = draw_people(4, size=64)
    >>> drawn.images.shape, drawn.targets.shape
    (torch.Size([4, 3, 64, 64]), torch.Size([4, 3, 6]))
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    def colours(count: int, low: float, high: float) -> Tensor:
        return uniform(low, high, pictures, count, 3, 1, 1)

    places = (torch.arange(size) + 0.5) / size
    x, y = places.view(1, 1, size), places.view(1, size, 1)
    images = uniform(100, 220, pictures, 3, 1, 1).expand(-1, -1, size, size).clone()
    paint = colours(2, 0, 255)
    for thing in range(2):
        height = uniform(0.08, 0.25, pictures, 1, 1)
        half = 0.5 * height * uniform(1.0, 2.5, pictures, 1, 1)
        middle, top = uniform(0, 1, pictures, 1, 1), uniform(0.2, 0.8, pictures, 1, 1)
        inside = ((x - middle).abs() < half) & (y > top) & (y < top + height)
        images = torch.where(inside[:, None], paint[:, thing], images)
    targets = torch.full((pictures, MOST, 6), -1.0)
    count = torch.randint(1, MOST + 1, (pictures,), generator=generator)
    clothes, skin = colours(MOST, 0, 80), colours(MOST, 180, 255)
    for person in range(MOST):
        height = uniform(0.25, 0.6, pictures, 1, 1)
        half = 0.5 * height * uniform(0.3, 0.45, pictures, 1, 1)
        middle = half + uniform(0, 1, pictures, 1, 1) * (1 - 2 * half)
        top = uniform(0, 1, pictures, 1, 1) * (1 - height)
        there = (count > person).view(-1, 1, 1)
        beside, below = (x - middle).abs(), y - top
        radius = 0.5 * half
        head = beside.square() + (below - radius).square() < radius.square()
        body = (beside < half) & (below > 2 * radius) & (below < height)
        for part, colour in ((body, clothes), (head, skin)):
            images = torch.where((part & there)[:, None], colour[:, person], images)
        box = torch.cat([middle - half, top, middle + half, top + height], 1).squeeze(2)
        known = torch.tensor([1.0, 0.0]).expand(pictures, 2)
        targets[:, person] = torch.where(there[:, 0], torch.cat([box, known], 1), -1.0)
    noise = 12 * torch.randn(images.shape, generator=generator)
    return BoxSet((images + noise).clamp(0, 255).byte(), targets)
