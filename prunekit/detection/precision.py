"""How good detections are: average precision and miss rate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from prunekit.checks import checked, whole
from prunekit.detection.matching import least_overlap, refuse_other_targets
from prunekit.detection.suppression import Detections


@dataclass(frozen=True)
class PrecisionCurve:
    """What becomes of detections of one class as the score that counts is lowered.

    Attributes
    ----------
    true : int64 array of shape (thresholds,)
        Detections so far that found an object. Equal scores share one
        threshold.
    false : int64 array of shape (thresholds,)
        Those that did not.
    objects : int
        How many there are to find, the difficult ones left out.
    pictures : int
    """

    true: np.ndarray
    false: np.ndarray
    objects: int
    pictures: int

    @property
    def recall(self) -> float:
        """Share of the objects found at the lowest score; NaN if there are none."""
        return self._found[-1] / self.objects if self.objects else float("nan")

    @property
    def _found(self) -> np.ndarray:
        return np.concatenate([[0], self.true])

    def average_precision(self, points: int | None = None) -> float:
        """Area below the curve of precision over recall; NaN if there is no object.

        The precision at a recall is the highest at this or any higher recall.

        Parameters
        ----------
        points
            None for the whole area, as PASCAL VOC has counted since 2010. 11
            for the mean over recalls of 0, 0.1, ..., 1, as it did before
            (Everingham et al. 2010, eq. 1).
        """
        if not self.objects:
            return float("nan")
        precision = self.true / np.maximum(self.true + self.false, 1)
        best = np.concatenate([np.maximum.accumulate(precision[::-1])[::-1], [0.0]])
        if points is None:
            return float(np.diff(self._found) @ best[:-1]) / self.objects
        # In whole numbers: 3 of 10 objects are a recall of 0.3, whose float is below 3 * 0.1.
        steps = np.arange(whole("points", points, least=2)) * self.objects
        return float(best[np.searchsorted(self.true * (points - 1), steps)].mean())

    def log_average_miss_rate(self) -> float:
        """Geometric mean of the share missed, at 0.01 to 1 false detections a picture.

        Nine rates that lie evenly on a logarithmic scale are looked up
        (Dollár et al. 2012); lower is better. Where even the highest score
        makes more false detections, everything is missed. NaN if there is no
        object.
        """
        if not self.objects:
            return float("nan")
        rates = np.logspace(-2, 0, 9) * self.pictures
        allowed = np.searchsorted(self.false, rates * (1 + 1e-9), side="right")
        missed = 1 - self._found[allowed] / self.objects
        return float(np.exp(np.log(np.maximum(missed, 1e-10)).mean()))


@checked(label=partial(whole, least=1), overlap=least_overlap)
def precision_curve(
    detections: Detections, targets: Tensor, *, label: int = 1, overlap: float = 0.5
) -> PrecisionCurve:
    """Judge the detections of one class as PASCAL VOC does.

    Each detection belongs to the object of its class and picture that it
    overlaps most. It is true if the overlap suffices and no detection of a
    higher score belongs to the same object; else it is false. Detections that
    belong to difficult objects do not count.

    Parameters
    ----------
    detections
        Of all pictures, numbered as the targets are.
    targets
        As for :func:`prunekit.detection.match`, for all pictures.
    label
        The class, numbered from 1.
    overlap
        Least intersection over union.

    Raises
    ------
    ValueError
        The targets are of another shape, or a setting is out of range.
    TypeError
        A setting is no number.

    Examples
    --------
    >>> box = torch.tensor([[0.0, 0.0, 0.5, 0.5]])
    >>> found = Detections(torch.tensor([0]), torch.tensor([1]), torch.tensor([0.9]), box)
    >>> targets = torch.tensor([[[0.0, 0.0, 0.5, 0.4, 1, 0], [0.6, 0.6, 1.0, 1.0, 1, 0]]])
    >>> precision_curve(found, targets).average_precision()
    0.5
    """
    refuse_other_targets(targets)
    wanted = targets[..., 4] == label
    objects = int((wanted & (targets[..., 5] == 0)).sum())
    pictures, labels, scores, boxes = detections
    chosen = (labels == label).nonzero().squeeze(1)
    chosen = chosen[scores[chosen].argsort(descending=True, stable=True)]
    pictures, scores, boxes = pictures[chosen], scores[chosen], boxes[chosen]
    if not targets.shape[1]:
        belongs, enough = pictures, torch.zeros_like(pictures, dtype=torch.bool)
        difficult = enough
    else:
        iou = box_iou(boxes[:, None], targets[pictures, :, :4]).squeeze(1)
        most, which = iou.masked_fill(~wanted[pictures], -1).max(dim=1)
        enough = most >= overlap
        belongs = pictures * targets.shape[1] + which
        difficult = enough & (targets[pictures, which, 5] != 0)
    true = enough & _first_of_its_kind(torch.where(enough, belongs, -1)) & ~difficult
    false = ~true & ~difficult
    last = torch.cat([scores[1:] != scores[:-1], scores.new_ones(min(len(scores), 1)).bool()])
    found, wrong = (part.cumsum(0)[last].cpu().numpy() for part in (true, false))
    return PrecisionCurve(found, wrong, objects, len(targets))


def _first_of_its_kind(values: Tensor) -> Tensor:
    """True where a value stands for the first time."""
    order = values.argsort(stable=True)
    ordered = values[order]
    new = torch.ones_like(values, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return torch.zeros_like(new).scatter_(0, order, new)
