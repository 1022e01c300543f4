"""Anchors: the boxes from which a single-shot detector starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torchvision.ops import box_convert

from prunekit.checks import whole

LEAST, MOST = 0.2, 0.95  # scales of the first and the last map, in shares of the picture
RATIOS = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)


def shapes(maps: int) -> list[list[tuple[float, float]]]:
    """Width and height of the anchors at every place of each map.

    The scales of maps lie evenly between 0.2 and 0.95. On each map there is
    an anchor of that scale for each of the five ratios of width to height, and
    a square one of the geometric mean with the scale of the next map (Liu et
    al. 2016). The first map, the largest, has three: a square half as large,
    and the ratios 2 and 1/2.

    Examples
    --------
    >>> [len(of_map) for of_map in shapes(6)]
    [3, 6, 6, 6, 6, 6]
    >>> shapes(6)[0][0]
    (0.1, 0.1)
    """
    scales = [*torch.linspace(LEAST, MOST, maps, dtype=torch.float64).tolist(), 1.0]
    first = [(scales[0] / 2, 1.0), (scales[0], 2.0), (scales[0], 1 / 2)]
    others = [
        [*((scale, ratio) for ratio in RATIOS), (math.sqrt(scale * following), 1.0)]
        for scale, following in pairwise(scales[1:])
    ]
    return [
        [(scale * math.sqrt(ratio), scale / math.sqrt(ratio)) for scale, ratio in of_map]
        for of_map in [first, *others]
    ]


def ssd_anchors(maps: Sequence[int]) -> Tensor:
    """The anchors of a single-shot detector, in the order in which its heads answer.

    Parameters
    ----------
    maps
        Side of each map that a head reads, in places, the largest first.

    Returns
    -------
    Tensor of shape (anchors, 4), in shares of the picture. Map by map, row by
    row, place by place, shape by shape; some reach beyond the picture.

    Examples
    --------
    >>> ssd_anchors([19, 10, 5, 3, 2, 1]).shape
    torch.Size([1917, 4])
    """
    sides = [whole(f"maps[{index}]", side, least=1) for index, side in enumerate(maps)]
    if len(sides) < 2:
        raise ValueError(f"maps must name the sides of two maps or more, not {list(maps)}")
    anchors = []
    for side, of_map in zip(sides, shapes(len(sides)), strict=True):
        steps = (torch.arange(side, dtype=torch.float64) + 0.5) / side
        centres = torch.cartesian_prod(steps, steps).flip(1)[:, None]  # rows first
        sizes = torch.tensor(of_map, dtype=torch.float64)[None]
        parts = torch.broadcast_tensors(*centres.unbind(2), *sizes.unbind(2))
        anchors.append(torch.stack(parts, dim=2).flatten(0, 1))
    return box_convert(torch.cat(anchors), "cxcywh", "xyxy").float()
