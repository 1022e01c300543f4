"""What training a detector makes small, and what a ranking takes gradients of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from prunekit.detection.boxes import encode
from prunekit.detection.matching import match
from prunekit.detection.outputs import Output, checked_output

NEGATIVES = 3  # for each positive


def detection_loss(output: Output, targets: Tensor, anchors: Tensor) -> Tensor:
    """The loss of each picture, normalised by its own number of positive anchors.

    With n the number of anchors that answer for an object, and 1 if there are
    none, a picture's loss is the sum of the classification losses of these
    and of the 3 n negatives where it is largest, and of the smooth L1
    distances of the positives' offsets, divided by n (Liu et al. 2016). It
    does not depend on the other pictures of the batch: so the gradient that
    reaches a picture's maps is its own, as a Taylor expansion needs.

    The classification loss is the binary cross-entropy of every class, the
    background among them, since the scores of detections are sigmoids.

    Parameters
    ----------
    output
        Class scores before the sigmoid, of shape (pictures, anchors,
        classes), the first of them the background's; offsets from anchors, of
        shape (pictures, anchors, 4).
    targets
        As for :func:`prunekit.detection.match`.
    anchors
        Of shape (anchors, 4). ``functools.partial(detection_loss,
        anchors=anchors)`` is a ``loss`` for :func:`prunekit.rank`,
        :func:`prunekit.prune` and :func:`prunekit.training.fit`.

    Returns
    -------
    Tensor of shape (pictures,).

    Raises
    ------
    ValueError
        The anchors or classes are others than the output's, or the targets
        are of another shape.
    """
    scores, offsets = checked_output(output, anchors)
    labels, boxes = match(targets, anchors)
    if labels.amax() >= scores.shape[2]:
        raise ValueError(
            f"the targets hold class {labels.amax()}, and the model has {scores.shape[2]} with the "
            "background, numbered from 0"
        )
    positive = labels > 0
    truth = F.one_hot(labels, scores.shape[2]).to(scores.dtype)
    confidence = F.binary_cross_entropy_with_logits(scores, truth, reduction="none").sum(2)
    distance = F.smooth_l1_loss(offsets, encode(boxes, anchors.to(boxes)), reduction="none").sum(2)
    count = positive.sum(1).clamp(min=1)
    chosen = positive | _hardest(confidence.detach(), ~positive, NEGATIVES * count)
    return ((confidence * chosen).sum(1) + (distance * positive).sum(1)) / count


def _hardest(losses: Tensor, among: Tensor, counts: Tensor) -> Tensor:
    """For each row, true at as many of the largest ``among`` it as its count says."""
    order = losses.masked_fill(~among, -1).argsort(dim=1, descending=True, stable=True)
    first = torch.arange(losses.shape[1], device=losses.device) < counts[:, None]
    return torch.zeros_like(among).scatter_(1, order, first) & among
