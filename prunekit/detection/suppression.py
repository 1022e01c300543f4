"""From a network's output to boxes with scores."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from prunekit.checks import checked, number, whole
from prunekit.detection.boxes import decode
from prunekit.detection.outputs import Output, checked_output

OVERLAP = 0.6  # intersection over union of boxes above which the less likely one goes
# How many pictures away a box may reach when overlaps are counted. Sides grow with the exponential
# of an offset: one box without end would take the digits of all others in the batch.
_FAR = 100.0


class Detections(NamedTuple):
    """The objects found in a batch of pictures, all in one list.

    Ordered by picture, then by descending score.

    Attributes
    ----------
    pictures : int64 tensor of shape (detections,)
        The number of the picture.
    labels : int64 tensor of shape (detections,)
        The class, numbered from 1.
    scores : tensor of shape (detections,), between 0 and 1
    boxes : tensor of shape (detections, 4)
        ``(x1, y1, x2, y2)`` in shares of the picture.
    """

    pictures: Tensor
    labels: Tensor
    scores: Tensor
    boxes: Tensor

    def of(self, picture: int) -> Detections:
        """Those of one picture."""
        chosen = self.pictures == picture
        return Detections(*(part[chosen] for part in self))


@checked(
    min_score=partial(number, least=0, most=1),
    overlap=partial(number, least=0, most=1),
    most=partial(whole, least=1),
)
def detect(
    output: Output,
    anchors: Tensor,
    *,
    min_score: float = 0.01,
    overlap: float = OVERLAP,
    most: int = 100,
) -> Detections:
    """Decode a network's output, and keep of boxes that overlap the one of the highest score.

    Parameters
    ----------
    output
        As for :func:`prunekit.detection.detection_loss`.
    min_score
        Boxes of lower scores are not looked at. Average precision needs a low
        one, 0.01; to show boxes to a person, 0.5 is usual.
    overlap
        Intersection over union above which the box of the lower score goes,
        if both are of one class.
    most
        How many detections a picture may have.

    Raises
    ------
    ValueError
        The anchors are others than the output's, the output holds NaN or an
        infinite offset, or a setting is out of range.
    TypeError
        The output is no pair of tensors, or a setting is no number.

    Examples
    --------
    Two boxes that are one and the same, and one apart:

    >>> anchors = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])
    >>> scores = torch.tensor([[[0.0, 2.0], [0.0, 1.0], [0.0, 0.0]]])  # background, class 1
    >>> found = detect((scores, torch.zeros(1, 3, 4)), anchors)
    >>> found.scores.tolist() == torch.tensor([2.0, 0.0]).sigmoid().tolist()
    True
    >>> found.boxes
    tensor([[0.0000, 0.0000, 0.5000, 0.5000],
            [0.5000, 0.5000, 1.0000, 1.0000]])
    """
    scores, offsets = checked_output(output, anchors)
    if scores.isnan().any() or not offsets.isfinite().all():
        raise ValueError("the model's outputs are NaN or infinite: there is nothing to detect")
    scores, kinds = scores[..., 1:].sigmoid(), scores.shape[2] - 1
    pictures, places, classes = (scores >= min_score).nonzero(as_tuple=True)
    scores = scores[pictures, places, classes]
    boxes = decode(offsets[pictures, places], anchors.to(offsets)[places])
    groups = pictures * kinds + classes
    # batched_nms moves groups apart, and counts on coordinates that are not negative.
    near = boxes.double().clamp(-_FAR, _FAR) + _FAR
    kept = batched_nms(near, scores.double(), groups, overlap)
    # Only now: two boxes that reach beyond the picture overlap more once they are cut.
    boxes = clip_boxes_to_image(boxes, (1, 1))
    found = Detections(pictures, classes + 1, scores, boxes)
    return _first(Detections(*(part[kept] for part in found)), most)


def _first(found: Detections, most: int) -> Detections:
    """Sorted by picture; of each, no more than ``most``. They come by descending score."""
    order = found.pictures.argsort(stable=True)
    pictures = found.pictures[order]
    start = torch.searchsorted(pictures, pictures)  # where those of the same picture begin
    order = order[torch.arange(len(order), device=order.device) - start < most]
    return Detections(*(part[order] for part in found))
