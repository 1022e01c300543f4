"""Boxes, and how a network names one: by its offset from an anchor.

A box is ``(x1, y1, x2, y2)`` in shares of the picture's width and height, so
that resizing the picture leaves it as it is. Overlap is
``torchvision.ops.box_iou``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_convert

#: What offsets of (x, y, width, height) are multiplied by, so that all vary alike (Liu et al. 2016,
#: whose "variances" 0.1 and 0.2 are the inverse of these).
SCALES = (10.0, 10.0, 5.0, 5.0)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Offsets that lead from anchors to boxes (Ren et al. 2015, eq. 2), scaled.

    Parameters
    ----------
    boxes, anchors
        Of shape (..., 4), in shares of the picture, each of a positive width
        and height.

    Returns
    -------
    Tensor of the broadcast shape: the centre's offset in x and y, in widths
    and heights of the anchor, and the logarithms of the ratios of widths and
    heights, all multiplied by :data:`SCALES`.

    Examples
    --------
    >>> anchor = torch.tensor([0.0, 0.0, 0.5, 0.5])
    >>> encode(anchor + torch.tensor([0.25, 0.0, 0.25, 0.0]), anchor)
    tensor([5., 0., 0., 0.])
    """
    boxes, anchors = (box_convert(b, "xyxy", "cxcywh") for b in (boxes, anchors))
    centres = (boxes[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    sizes = (boxes[..., 2:] / anchors[..., 2:]).log()
    return torch.cat([centres, sizes], dim=-1) * boxes.new_tensor(SCALES)


def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
    """The boxes to which offsets lead from anchors: the inverse of :func:`encode`.

    Boxes may reach beyond the picture.

    Examples
    --------
    >>> anchor = torch.tensor([0.0, 0.0, 0.5, 0.5])
    >>> decode(torch.tensor([5.0, 0.0, 0.0, 0.0]), anchor)
    tensor([0.2500, 0.0000, 0.7500, 0.5000])
    """
    anchors = box_convert(anchors, "xyxy", "cxcywh")
    offsets = offsets / offsets.new_tensor(SCALES)
    centres = anchors[..., :2] + offsets[..., :2] * anchors[..., 2:]
    sizes = anchors[..., 2:] * offsets[..., 2:].exp()
    return box_convert(torch.cat([centres, sizes], dim=-1), "cxcywh", "xyxy")
