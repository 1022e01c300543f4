"""Which anchor answers for which object."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from prunekit.checks import checked, number

#: What the columns of targets hold. Rows of -1 fill up pictures with fewer objects.
COLUMNS = ("x1", "y1", "x2", "y2", "class", "difficult")
#: A least overlap. Zero is none: boxes that lie apart have it.
least_overlap = partial(number, above=0, most=1)


class Matches(NamedTuple):
    """What each anchor should answer.

    Attributes
    ----------
    labels : int64 tensor of shape (pictures, anchors)
        The class of the object; 0 is the background.
    boxes : tensor of shape (pictures, anchors, 4)
        The object's box; the anchor itself where there is none.
    """

    labels: Tensor
    boxes: Tensor


@checked(overlap=least_overlap)
def match(targets: Tensor, anchors: Tensor, *, overlap: float = 0.5) -> Matches:
    """Give every anchor the object that it overlaps most, if that is enough.

    The best anchor of each object answers for it however little they overlap;
    of objects with the same best anchor, the one that overlaps it most.

    Parameters
    ----------
    targets
        Of shape (pictures, objects, 6), with the columns :data:`COLUMNS`:
        boxes in shares of the picture, classes numbered from 1.
    anchors
        Of shape (anchors, 4).
    overlap
        Least intersection over union of an anchor and its object.

    Raises
    ------
    ValueError
        The targets are of another shape, or ``overlap`` is out of range.
    TypeError
        ``overlap`` is no number.

    Examples
    --------
    >>> anchors = torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]])
    >>> targets = torch.tensor([[[0.0, 0.0, 0.4, 1.0, 3, 0]]])  # an object of class 3
    >>> match(targets, anchors).labels
    tensor([[3, 0]])
    """
    refuse_other_targets(targets)
    present = targets[..., 4] > 0
    anchors = anchors.to(targets)
    iou = box_iou(targets[..., :4], anchors)
    if not targets.shape[1]:
        none = torch.zeros(len(targets), len(anchors), dtype=torch.long, device=targets.device)
        return Matches(none, anchors.expand(len(targets), -1, -1))
    best = torch.zeros_like(iou, dtype=torch.bool).scatter_(2, iou.argmax(2, keepdim=True), True)
    # A best anchor goes before any that merely overlaps, and no overlap is above 1.
    most, which = (iou + 2 * best).masked_fill(~present[..., None], -1).max(dim=1)
    own = targets.gather(1, which[..., None].expand(-1, -1, targets.shape[2]))
    positive = most >= overlap
    labels = torch.where(positive, own[..., 4], 0).long()
    return Matches(labels, torch.where(positive[..., None], own[..., :4], anchors))


def refuse_other_targets(targets: Tensor) -> None:
    """A ValueError unless targets are of shape (pictures, objects, 6)."""
    if targets.dim() != 3 or targets.shape[2] != len(COLUMNS) or not targets.is_floating_point():
        raise ValueError(
            f"targets must be floats of shape (pictures, objects, {len(COLUMNS)}) with the columns "
            f"{', '.join(COLUMNS)}, not {targets.dtype} of shape {tuple(targets.shape)}"
        )
