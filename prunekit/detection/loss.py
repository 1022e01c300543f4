"""What training a detector makes small, and what a ranking takes gradients of."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from prunekit.checks import number
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

    Examples
    --------
    >>> anchors = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])
    >>> targets = torch.tensor([[[0.0, 0.0, 0.5, 0.5, 1, 0]]])
    >>> offsets = torch.zeros(1, 2, 4)
    >>> right = torch.tensor([[[-20.0, 20.0], [20.0, -20.0]]])  # of background and class 1
    >>> detection_loss((right, offsets), targets, anchors).round(decimals=4)
    tensor([0.])
    >>> detection_loss((-right, offsets), targets, anchors).round(decimals=4)
    tensor([80.])
    """
    return _by_targets(output, targets, anchors).of_pictures()


def detection_distillation(
    output: Output,
    targets: Tensor,
    said: Output,
    anchors: Tensor,
    *,
    teacher_weight: float = 0.5,
) -> Tensor:
    """The loss of each picture where a teacher has a say in what the anchors should answer.

    The anchors that count are those of :func:`detection_loss`: the positives,
    and the negatives where its classification loss is largest. On them the
    classification loss is mixed with the binary cross-entropy against the
    sigmoids of the teacher's scores, and on the positives the distance to the
    objects with the L1 distance to the teacher's offsets.

    Parameters
    ----------
    output, targets, anchors
        As for :func:`detection_loss`. ``functools.partial(
        detection_distillation, anchors=anchors)`` is a ``loss`` for
        :func:`prunekit.training.fit` beside a teacher.
    said
        What a teacher with the same anchors and classes gives for the same
        pictures.
    teacher_weight
        Share of the teacher, from 0 to 1; the targets have the rest.

    Returns
    -------
    Tensor of shape (pictures,).

    Raises
    ------
    ValueError
        As :func:`detection_loss`, or the teacher's output is of other shapes.
    """
    share = number("teacher_weight", teacher_weight, least=0, most=1)
    scores, offsets = checked_output(output, anchors)
    said_scores, said_offsets = checked_output(said, anchors)
    if said_scores.shape != scores.shape:
        raise ValueError(
            f"the teacher gives scores of shape {tuple(said_scores.shape)}, and the model of "
            f"{tuple(scores.shape)}: they must be alike"
        )
    own = _by_targets(output, targets, anchors)
    confidence = _confidence(scores, said_scores.sigmoid())
    distance = F.l1_loss(offsets, said_offsets, reduction="none").sum(2)
    return own._replace(
        confidence=(1 - share) * own.confidence + share * confidence,
        distance=(1 - share) * own.distance + share * distance,
    ).of_pictures()


class _Losses(NamedTuple):
    """Losses of shape (pictures, anchors), and which of them count."""

    confidence: Tensor
    distance: Tensor
    positive: Tensor
    chosen: Tensor

    def of_pictures(self) -> Tensor:
        counted = (self.confidence * self.chosen).sum(1) + (self.distance * self.positive).sum(1)
        return counted / self.positive.sum(1).clamp(min=1)


def _by_targets(output: Output, targets: Tensor, anchors: Tensor) -> _Losses:
    scores, offsets = checked_output(output, anchors)
    labels, boxes = match(targets, anchors)
    if labels.amax() >= scores.shape[2]:
        raise ValueError(
            f"the targets hold class {labels.amax()}, and the model has {scores.shape[2]} with the "
            "background, numbered from 0"
        )
    positive = labels > 0
    confidence = _confidence(scores, F.one_hot(labels, scores.shape[2]).to(scores.dtype))
    distance = F.smooth_l1_loss(offsets, encode(boxes, anchors.to(boxes)), reduction="none").sum(2)
    count = NEGATIVES * positive.sum(1).clamp(min=1)
    chosen = positive | _hardest(confidence.detach(), ~positive, count)
    return _Losses(confidence, distance, positive, chosen)


def _confidence(scores: Tensor, truth: Tensor) -> Tensor:
    """The classification loss of each anchor."""
    return F.binary_cross_entropy_with_logits(scores, truth, reduction="none").sum(2)


def _hardest(losses: Tensor, among: Tensor, counts: Tensor) -> Tensor:
    """For each row, true at as many of the largest ``among`` it as its count says."""
    order = losses.masked_fill(~among, -1).argsort(dim=1, descending=True, stable=True)
    first = torch.arange(losses.shape[1], device=losses.device) < counts[:, None]
    return torch.zeros_like(among).scatter_(1, order, first) & among
