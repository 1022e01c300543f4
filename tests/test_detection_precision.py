"""Average precision and miss rate, by hand and against torchmetrics."""

from __future__ import annotations

import math
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.detection import (
    Detections,
    PrecisionCurve,
    evaluate_detector,
    precision_curve,
    ssd_anchors,
)

HERE, THERE, AWAY = (0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1), (0.5, 0, 1, 0.5)


def detections(*found: tuple) -> Detections:
    """From pictures, scores and boxes, all of class 1."""
    pictures, scores, boxes = zip(*found, strict=True) if found else ((), (), ())
    return Detections(
        torch.tensor(pictures, dtype=torch.long),
        torch.ones(len(found), dtype=torch.long),
        torch.tensor(scores),
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
    )


def targets(*pictures: list[tuple], difficult: tuple = ()) -> torch.Tensor:
    rows = torch.full((len(pictures), max(map(len, pictures)), 6), -1.0)
    for picture, boxes in enumerate(pictures):
        for place, box in enumerate(boxes):
            rows[picture, place] = torch.tensor([*box, 1, float((picture, place) in difficult)])
    return rows


def test_average_precision_by_hand():
    """Three objects; in order of scores found, false, found."""
    wanted = targets([HERE, THERE], [HERE])
    found = detections((0, 0.9, HERE), (1, 0.8, AWAY), (1, 0.7, HERE))
    curve = precision_curve(found, wanted)
    assert curve.true.tolist() == [1, 1, 2]
    assert curve.false.tolist() == [0, 1, 1]
    assert curve.recall == pytest.approx(2 / 3)
    # Precision 1 up to a recall of 1/3, then 2/3 up to 2/3, then 0.
    assert curve.average_precision() == pytest.approx((1 + 2 / 3) / 3)
    # Recalls 0 to 0.3 have 1; 0.4, 0.5, 0.6 have 2/3.
    assert curve.average_precision(points=11) == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)


def test_precision_at_a_recall_is_the_best_at_this_or_a_higher_one():
    found = detections((0, 0.9, AWAY), (0, 0.8, HERE), (0, 0.7, THERE))
    curve = precision_curve(found, targets([HERE, THERE]))
    assert curve.average_precision() == pytest.approx(2 / 3)
    assert curve.average_precision(points=11) == pytest.approx(2 / 3)


def test_recalls_are_compared_in_whole_numbers():
    """Three of ten objects are a recall of 0.3, also where 3 * 0.1 is rounded up."""
    curve = PrecisionCurve(np.array([3]), np.array([0]), objects=10, pictures=1)
    assert curve.average_precision(points=11) == pytest.approx(4 / 11)


def test_an_object_is_found_once():
    found = detections((0, 0.9, HERE), (0, 0.8, HERE), (0, 0.7, THERE))
    curve = precision_curve(found, targets([HERE, THERE]))
    assert (curve.true.tolist(), curve.false.tolist()) == ([1, 1, 2], [0, 1, 1])


def test_the_overlap_must_suffice():
    two_thirds = (0, 0, 0.5, 0.75)  # of HERE
    wanted = targets([HERE])
    assert precision_curve(detections((0, 0.9, two_thirds)), wanted).recall == 1
    assert precision_curve(detections((0, 0.9, two_thirds)), wanted, overlap=0.7).recall == 0
    assert precision_curve(detections((0, 0.9, AWAY)), wanted).recall == 0


def test_difficult_objects_neither_count_nor_harm():
    wanted = targets([HERE, THERE], difficult=((0, 0),))
    found = detections((0, 0.9, HERE), (0, 0.8, HERE), (0, 0.7, THERE))
    curve = precision_curve(found, wanted)
    assert curve.objects == 1
    assert curve.average_precision() == 1
    nothing_else = precision_curve(found, targets([HERE], difficult=((0, 0),)))
    assert math.isnan(nothing_else.average_precision())


def test_equal_scores_share_one_threshold():
    """What a network of few distinct scores gets must not hang on the order of its boxes."""
    wanted = targets([HERE])
    for order in ((HERE, AWAY), (AWAY, HERE)):
        found = detections(*((0, 0.5, box) for box in order))
        assert precision_curve(found, wanted).average_precision() == 0.5


def test_classes_and_pictures_are_kept_apart():
    other_class = detections((0, 0.9, HERE))._replace(labels=torch.tensor([2]))
    assert precision_curve(other_class, targets([HERE])).recall == 0
    other_object = targets([HERE])
    other_object[..., 4] = 2
    assert precision_curve(detections((0, 0.9, HERE)), other_object).false.tolist() == [1]
    other_picture = detections((1, 0.9, HERE))
    assert precision_curve(other_picture, targets([HERE], [THERE])).recall == 0


def test_miss_rate_by_hand():
    """Ten pictures: two of four objects before the first false one, a third before the second."""
    curve = PrecisionCurve(np.array([1, 2, 2, 3, 3]), np.array([0, 0, 1, 1, 2]), 4, pictures=10)
    # At 0.1 false ones a picture and above one is allowed, and from 0.2 on two, or all there are.
    rates = np.logspace(-2, 0, 9)
    missed = [1 / 2 if rate < 0.0999 else 1 / 4 for rate in rates]
    assert curve.log_average_miss_rate() == pytest.approx(math.prod(missed) ** (1 / 9))


def test_miss_rate_where_the_highest_score_is_false():
    curve = PrecisionCurve(np.array([0, 1]), np.array([1, 1]), objects=1, pictures=1)
    # Everything is missed below one false detection a picture, and nothing at it.
    assert curve.log_average_miss_rate() == pytest.approx(1e-10 ** (1 / 9))


def test_nothing_found_and_nothing_there():
    none = detections()
    curve = precision_curve(none, targets([HERE]))
    assert (curve.average_precision(), curve.average_precision(points=11)) == (0, 0)
    assert curve.log_average_miss_rate() == 1
    assert math.isnan(precision_curve(none, torch.zeros(2, 0, 6)).average_precision())
    found = precision_curve(detections((0, 0.9, HERE)), torch.zeros(1, 0, 6))
    assert (found.true.tolist(), found.false.tolist()) == ([0], [1])


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Detections, torch.Tensor]:
    """Pictures of boxes that do not overlap, and detections near some of these and elsewhere."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    pictures, objects = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    cells = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)) / 4
    corners = cells[torch.stack([torch.randperm(16, generator=generator) for _ in range(pictures)])]
    boxes = torch.cat([corners, corners + 0.2], 2)
    jitter = 0.1 * (torch.rand(pictures, 16, 4, generator=generator) - 0.5)
    found = torch.rand(pictures, 16, generator=generator) < 0.5
    where = found.nonzero()[:, 0]
    scores = torch.rand(len(where), generator=generator)
    wanted = torch.full((pictures, objects, 6), -1.0)
    for picture, row in enumerate(wanted):
        row[: max(1, objects - picture), :4] = boxes[picture, : max(1, objects - picture)]
        row[: max(1, objects - picture), 4:] = torch.tensor([1.0, 0.0])
    labels = torch.ones(len(where), dtype=torch.long)
    return Detections(where, labels, scores, (boxes + jitter)[found]), wanted


@pytest.mark.skipif(find_spec("torchmetrics") is None, reason="torchmetrics is not installed")
@settings(max_examples=settings.default.max_examples // 5)
@given(scenes())
def test_agrees_with_torchmetrics(scene):
    """Where no detection overlaps two objects, COCO's way to count and VOC's agree."""
    metrics = import_module("torchmetrics.detection")
    found, wanted = scene
    theirs = metrics.MeanAveragePrecision(
        iou_thresholds=[0.5], rec_thresholds=[k / 10 for k in range(11)]
    )
    predicted, real = [], []
    for picture, rows in enumerate(wanted):
        part, there = found.of(picture), rows[rows[:, 4] > 0]
        predicted.append({"boxes": 100 * part.boxes, "scores": part.scores, "labels": part.labels})
        real.append({"boxes": 100 * there[:, :4], "labels": there[:, 4].long()})
    theirs.update(predicted, real)
    ours = precision_curve(found, wanted).average_precision(points=11)
    assert ours == pytest.approx(theirs.compute()["map"].item(), abs=1e-5)


class Knowing(torch.nn.Module):
    """Answers for the objects whose anchors the picture holds."""

    def __init__(self, anchors: int) -> None:
        super().__init__()
        self.anchors = anchors

    def forward(self, x):
        objects = x.flatten(1)[:, : self.anchors]
        return torch.stack([-objects, objects], 2), torch.zeros(len(x), self.anchors, 4)


def test_evaluating_a_detector_over_batches_of_unequal_targets():
    anchors = ssd_anchors([2, 1])
    x = torch.full((5, 3, 4, 4), -5.0)
    boxes = [anchors[3 * place].tolist() for place in range(4)]  # small ones, apart from each other
    x.flatten(1)[0, 0], x.flatten(1)[1, 3], x.flatten(1)[4, 6] = 5, 5, 4
    wanted = targets([boxes[0]], [boxes[1]], [], [], [boxes[2], boxes[3]])
    model = Knowing(len(anchors)).train()
    loader = [(x[:2], wanted[:2, :1]), (x[2:4], wanted[2:4, :0]), (x[4:], wanted[4:])]
    scores = evaluate_detector(model, loader, anchors)
    assert (scores.pictures, scores.objects, scores.recall) == (5, 4, 0.75)
    assert scores.average_precision == pytest.approx(0.75)
    assert scores.average_precision_11 == pytest.approx(8 / 11)
    assert scores.miss_rate == pytest.approx(0.25)
    assert model.training
    with pytest.raises(ValueError, match="no picture of the loader shows an object"):
        evaluate_detector(model, loader[1:2], anchors)
    with pytest.raises(ValueError, match="no batch"):
        evaluate_detector(model, [], anchors)


@pytest.mark.parametrize("overlap", [math.nan, 0, -1, 7])
def test_an_overlap_that_makes_no_sense_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap must be above 0 and at most 1, not"):
        precision_curve(detections((0, 0.9, HERE)), targets([HERE]), overlap=overlap)
    with pytest.raises(ValueError, match="overlap must be above 0 and at most 1, not"):
        evaluate_detector(Knowing(15), [], ssd_anchors([2, 1]), overlap=overlap)


@pytest.mark.parametrize(("label", "error"), [(0, ValueError), (1.0, TypeError)])
def test_a_class_is_a_whole_number_from_one(label, error):
    with pytest.raises(error, match="label must be"):
        precision_curve(detections((0, 0.9, HERE)), targets([HERE]), label=label)
