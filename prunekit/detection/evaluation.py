"""How well a detector does on a set of pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunekit.checks import checked, flag, module, run
from prunekit.checks.batches import Batches, no_batch, one_pass, pairs
from prunekit.checks.structures import moved
from prunekit.detection.matching import least_overlap
from prunekit.detection.precision import precision_curve
from prunekit.detection.suppression import Detections, detect
from prunekit.execution import device_of, evaluation_mode, fastest_layout
from prunekit.progress import bar


@dataclass(frozen=True)
class DetectionEvaluation:
    """What :func:`evaluate_detector` finds, each the mean over classes that occur.

    Attributes
    ----------
    average_precision : float
        Area below the curve of precision over recall.
    average_precision_11 : float
        Its mean at 11 recalls, as in PASCAL VOC 2007.
    miss_rate : float
        Log-average miss rate (Dollár et al. 2012); lower is better.
    recall : float
        Share of objects found at the lowest score.
    pictures : int
    objects : int
    """

    average_precision: float
    average_precision_11: float
    miss_rate: float
    recall: float
    pictures: int
    objects: int


@checked(model=module, loader=one_pass, overlap=least_overlap, progress=flag)
def evaluate_detector(
    model: nn.Module,
    loader: Batches,
    anchors: Tensor,
    *,
    overlap: float = 0.5,
    progress: bool = False,
) -> DetectionEvaluation:
    """Average precision and miss rate of a detector over all of ``loader``.

    Every module is in the mode it had afterwards. Where :func:`prunekit.prune`
    asks for named numbers, ``vars(evaluate_detector(model, loader, anchors))``
    gives them: average precision decides.

    Parameters
    ----------
    loader
        Batches ``(x, targets)``, with targets as for
        :func:`prunekit.detection.match`.
    anchors
        Those the model was made for: ``model.anchors``, or
        :func:`prunekit.detection.ssd_anchors`.
    overlap
        Least intersection over union of a detection and its object.

    Raises
    ------
    ValueError
        The loader is empty or holds no object, an output is NaN, or outputs,
        targets and anchors do not suit one another, or ``overlap`` is out of range.
    TypeError
        The model's output is no pair of tensors, or a batch no pair of tensors.

    Examples
    --------
    >>> from prunekit.detection import BoxLoader, draw_people, tiny_ssdlite
    >>> model = tiny_ssdlite().eval()
    >>> found = evaluate_detector(model, BoxLoader(draw_people(2)), model.anchors)
    >>> found.pictures, 0 <= found.average_precision <= 1
    (2, True)
    """
    detections, y = detect_all(model, loader, anchors, progress=progress)
    labels = y[..., 4][y[..., 4] > 0].unique().int().tolist()
    curves = [precision_curve(detections, y, label=label, overlap=overlap) for label in labels]
    curves = [curve for curve in curves if curve.objects]
    if not curves:
        raise ValueError("no picture of the loader shows an object: precision means nothing")

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    return DetectionEvaluation(
        mean([curve.average_precision() for curve in curves]),
        mean([curve.average_precision(points=11) for curve in curves]),
        mean([curve.log_average_miss_rate() for curve in curves]),
        mean([curve.recall for curve in curves]),
        len(y),
        sum(curve.objects for curve in curves),
    )


@checked(model=module, loader=one_pass, progress=flag)
def detect_all(
    model: nn.Module, loader: Batches, anchors: Tensor, *, progress: bool = False
) -> tuple[Detections, Tensor]:
    """What a detector finds in all pictures of ``loader``, and the targets of all of them.

    Every module is in the mode it had afterwards.

    Parameters
    ----------
    loader, anchors
        As for :func:`evaluate_detector`.

    Returns
    -------
    Detections and targets
        The former numbered over the whole of the loader, the latter as for
        :func:`prunekit.detection.match`, both on the CPU: what
        :func:`prunekit.detection.precision_curve` takes.

    Raises
    ------
    ValueError, TypeError
        As :func:`evaluate_detector`, but for pictures that show no object.
    """
    device, layout = device_of(model), None
    found, targets, pictures = [], [], 0
    with evaluation_mode(model), torch.inference_mode():
        shown = bar(pairs(loader), show=progress, desc="evaluating", delay=1, leave=False)
        for index, (x, y) in enumerate(shown):
            layout = layout or fastest_layout(model, x)
            output = run(model, moved((x,), device, layout), f"batch {index} of the loader")
            of_batch = Detections(*(part.cpu() for part in detect(output, anchors)))
            found.append(of_batch._replace(pictures=of_batch.pictures + pictures))
            targets.append(y.cpu())
            pictures += len(y)
    if not pictures:
        raise no_batch("the loader", "evaluate on")
    most = max(y.shape[1] for y in targets)
    y = torch.cat([F.pad(y, (0, 0, 0, most - y.shape[1]), value=-1) for y in targets])
    return Detections(*map(torch.cat, zip(*found, strict=True))), y
