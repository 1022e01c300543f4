"""Boxes, anchors, matching, loss and suppression, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunekit.detection import (
    decode,
    detect,
    detection_distillation,
    detection_loss,
    encode,
    match,
    ssd_anchors,
)

SHARES, SIZES = st.floats(0, 1), st.floats(0.01, 1)
BOXES = st.lists(st.tuples(SHARES, SHARES, SIZES, SIZES), min_size=1, max_size=5)
# Three anchors side by side, each a third of the picture.
THIRDS = torch.tensor([[0, 0, 1 / 3, 1], [1 / 3, 0, 2 / 3, 1], [2 / 3, 0, 1, 1]])


def as_boxes(drawn: list[tuple[float, ...]]) -> torch.Tensor:
    corners, sizes = torch.tensor(drawn, dtype=torch.float64).split(2, dim=1)
    return torch.cat([corners, corners + sizes], dim=1)


def targets_of(*pictures: list[tuple[float, ...]]) -> torch.Tensor:
    """Targets of class 1, none difficult, from a list of boxes for each picture."""
    targets = torch.full((len(pictures), max(map(len, pictures)), 6), -1.0)
    for rows, boxes in zip(targets, pictures, strict=True):
        for row, box in zip(rows, boxes, strict=False):
            row.copy_(torch.tensor([*box, 1, 0]))
    return targets


def logits(*chances: float) -> torch.Tensor:
    """Scores (background, object) of one picture, whose sigmoids are 1 - chance and chance."""
    chance = torch.tensor(chances)
    return torch.stack([-torch.logit(chance), torch.logit(chance)], dim=1)[None]


@given(BOXES, BOXES)
def test_decoding_undoes_encoding(boxes, anchors):
    boxes, anchors = as_boxes(boxes)[:, None], as_boxes(anchors)[None]
    decoded = decode(encode(boxes, anchors), anchors)
    assert torch.allclose(decoded, boxes.expand_as(decoded), atol=1e-9)


def test_offsets_are_in_sizes_of_the_anchor_and_scaled():
    anchor = torch.tensor([0.2, 0.2, 0.6, 0.4], dtype=torch.float64)
    box = torch.tensor([0.2, 0.3, 1.0, 0.5], dtype=torch.float64)
    # The centre moves by half a width and half a height; twice as wide, as high.
    expected = torch.tensor([5, 5, 5 * math.log(2), 0], dtype=torch.float64)
    assert torch.allclose(encode(box, anchor), expected)


def test_anchors_by_hand():
    first, *_, last = ssd_anchors([2, 1])
    # On the larger map of scale 0.2, a square half as large, in the middle of the first place.
    assert first.tolist() == pytest.approx([0.2, 0.2, 0.3, 0.3])
    # On the last map of scale 0.95, a square of side sqrt(0.95 * 1) in the middle.
    half = math.sqrt(0.95) / 2
    assert last.tolist() == pytest.approx([0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half])


def test_anchors_of_a_place_are_together_and_places_go_along_rows():
    centres = (ssd_anchors([2, 1])[:12, :2] + ssd_anchors([2, 1])[:12, 2:]) / 2
    expected = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
    assert torch.allclose(centres[::3], torch.tensor(expected))
    assert torch.allclose(centres[0], centres[2])


@pytest.mark.parametrize(
    ("maps", "error"), [([3], ValueError), ([3, 0], ValueError), ([2.5, 1], TypeError)]
)
def test_maps_that_make_no_anchors_are_refused(maps, error):
    with pytest.raises(error, match="maps"):
        ssd_anchors(maps)


def test_an_anchor_takes_the_object_it_overlaps_most_if_that_is_enough():
    # The first object reaches into the second anchor, too little to be its own.
    left, right = (0, 0, 0.4, 0.9), (2 / 3, 0, 1, 0.6)
    labels, boxes = match(targets_of([left, right]), THIRDS)
    assert labels.tolist() == [[1, 0, 1]]
    assert torch.allclose(boxes[0], torch.tensor([left, THIRDS[1].tolist(), right]))


def test_the_best_anchor_of_an_object_answers_for_it_however_small_the_overlap():
    tiny = (0.4, 0.4, 0.5, 0.5)
    labels, boxes = match(targets_of([tiny]), THIRDS)
    assert labels.tolist() == [[0, 1, 0]]
    assert boxes[0, 1].tolist() == pytest.approx(tiny)


def test_a_best_anchor_goes_before_an_object_that_only_overlaps_more():
    whole, tiny = (1 / 3, 0, 2 / 3, 1), (0.4, 0.4, 0.5, 0.5)
    labels, boxes = match(targets_of([tiny, whole]), THIRDS)
    assert labels.tolist() == [[0, 1, 0]]  # both have the same best anchor: the better overlap wins
    assert boxes[0, 1].tolist() == pytest.approx(whole)
    wide = (
        0,
        0,
        2 / 3,
        0.95,
    )  # its best anchor is the first; it also overlaps the second, by 0.475
    _, boxes = match(targets_of([wide, tiny]), THIRDS, overlap=0.4)
    assert boxes[0, 1].tolist() == pytest.approx(tiny)


def test_pictures_without_objects_match_nothing():
    for targets in (targets_of([], [(0, 0, 1 / 3, 1)])[:1], torch.zeros(1, 0, 6)):
        labels, boxes = match(targets, THIRDS)
        assert labels.tolist() == [[0, 0, 0]]
        assert torch.equal(boxes[0], THIRDS)


def test_loss_by_hand():
    """One positive of chance 0.8 whose centre is off by 0.5, and a negative of chance 0.4."""
    anchors = THIRDS[:2]
    offsets = torch.zeros(1, 2, 4)
    offsets[0, 0, 0] = 0.5  # in scaled units; smooth L1 of it is 0.5 ** 2 / 2
    offsets[0, 1] = 3  # nobody asks where an anchor without an object points
    targets = targets_of([tuple(anchors[0].tolist())])
    loss = detection_loss((logits(0.8, 0.4), offsets), targets, anchors)
    # Both columns agree, so each counts once.
    expected = -2 * math.log(0.8) - 2 * math.log(0.6) + 0.125
    assert loss.tolist() == pytest.approx([expected])


def test_only_three_negatives_for_each_positive_count_the_hardest():
    anchors = torch.stack([torch.tensor([i / 6, 0, (i + 1) / 6, 1.0]) for i in range(6)])
    scores = logits(0.2, 0.5, 0.1, 0.4, 0.2, 0.3)
    loss = detection_loss((scores, torch.zeros(1, 6, 4)), targets_of([tuple(anchors[0])]), anchors)
    chosen = [0.2, 1 - 0.5, 1 - 0.4, 1 - 0.3]
    assert loss.tolist() == pytest.approx([-2 * sum(map(math.log, chosen))])
    without = detection_loss((scores, torch.zeros(1, 6, 4)), torch.full((1, 1, 6), -1.0), anchors)
    hardest = [1 - 0.5, 1 - 0.4, 1 - 0.3]
    assert without.tolist() == pytest.approx([-2 * sum(map(math.log, hardest))])


def test_distillation_by_hand():
    """A positive and a negative, of which the teacher is less sure than the targets are."""
    anchors = THIRDS[:2]
    offsets, said_offsets = torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)
    offsets[0, 0, 0], said_offsets[0, 0, 1] = 0.5, 0.25
    offsets[0, 1] = 3  # nobody asks where an anchor without an object points
    targets = targets_of([tuple(anchors[0].tolist())])
    output, said = (logits(0.8, 0.4), offsets), (logits(0.6, 0.3), said_offsets)

    def cross_entropy(truth, chance):
        return -truth * math.log(chance) - (1 - truth) * math.log(1 - chance)

    of_targets = 2 * cross_entropy(1, 0.8) + 2 * cross_entropy(0, 0.4) + 0.5**2 / 2
    of_teacher = 2 * cross_entropy(0.6, 0.8) + 2 * cross_entropy(0.3, 0.4) + 0.5 + 0.25
    for share in (0.0, 0.25, 1.0):
        loss = detection_distillation(output, targets, said, anchors, teacher_weight=share)
        expected = (1 - share) * of_targets + share * of_teacher
        assert loss.tolist() == pytest.approx([expected])
    for other, message in (
        ((torch.zeros(1, 2, 3), said_offsets), "teacher gives scores of shape"),
        ((torch.zeros(2, 2, 2), torch.zeros(2, 2, 4)), "teacher gives scores of shape"),
        ((torch.zeros(1, 3, 2), torch.zeros(1, 3, 4)), "anchors of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            detection_distillation(output, targets, other, anchors)
    with pytest.raises(ValueError, match="teacher_weight must be"):
        detection_distillation(output, targets, said, anchors, teacher_weight=1.5)


def test_a_teacher_is_heard_where_the_targets_are_hard():
    """The hardest negatives are chosen by the targets, whatever the teacher says of others."""
    anchors = torch.stack([torch.tensor([i / 6, 0, (i + 1) / 6, 1.0]) for i in range(6)])
    chances, said = (0.2, 0.5, 0.1, 0.4, 0.2, 0.3), (0.5, 0.5, 0.9, 0.5, 0.9, 0.5)
    none = torch.zeros(1, 6, 4)
    targets = targets_of([tuple(anchors[0])])
    loss = detection_distillation(
        *((logits(*chances), none), targets, (logits(*said), none), anchors), teacher_weight=1.0
    )
    chosen = [chance for chance, of_teacher in zip(chances, said, strict=True) if of_teacher == 0.5]
    expected = -sum(math.log(chance) + math.log(1 - chance) for chance in chosen)
    assert loss.tolist() == pytest.approx([expected])


def test_loss_of_a_picture_does_not_depend_on_the_others_of_its_batch():
    torch.manual_seed(0)
    anchors = ssd_anchors([5, 3])
    scores, offsets = torch.randn(3, len(anchors), 2), torch.randn(3, len(anchors), 4)
    targets = targets_of([(0.1, 0.1, 0.4, 0.9)], [], [(0, 0, 0.2, 0.3), (0.5, 0.2, 0.9, 0.8)])
    together = detection_loss((scores, offsets), targets, anchors)
    alone = [
        detection_loss((scores[[i]], offsets[[i]]), targets[[i]], anchors).item() for i in range(3)
    ]
    assert together.tolist() == pytest.approx(alone)


def test_loss_leads_to_the_object():
    """Its minimum is an output that detects just what the targets hold."""
    anchors = ssd_anchors([5, 3])
    targets = targets_of([(0.1, 0.1, 0.4, 0.9)], [(0.5, 0.2, 0.9, 0.8)])
    labels, boxes = match(targets, anchors)
    scores = torch.where(labels > 0, 8.0, -8.0)
    output = torch.stack([-scores, scores], 2), encode(boxes, anchors)
    assert detection_loss(output, targets, anchors).max() < 0.01
    found = detect(output, anchors, min_score=0.5)
    assert found.pictures.tolist() == [0, 1]
    assert torch.allclose(found.boxes, targets[:, 0, :4], atol=1e-6)


def test_suppression_keeps_the_higher_score_of_boxes_that_overlap():
    anchors = torch.tensor([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.4], [0, 0, 0.5, 0.25]])
    # Overlaps: first and second 0.8, first and third 0.5, second and third 0.625.
    found = detect((logits(0.6, 0.9, 0.3), torch.zeros(1, 3, 4)), anchors)
    assert found.scores.tolist() == pytest.approx([0.9])
    # The second is gone by then, and so does not take the third with it.
    found = detect((logits(0.9, 0.6, 0.3), torch.zeros(1, 3, 4)), anchors)
    assert found.scores.tolist() == pytest.approx([0.9, 0.3])


def test_pictures_and_classes_are_suppressed_apart():
    anchors = torch.tensor([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]])
    scores = torch.tensor([[[0, 2.0, -9], [0, -9, 1.0]], [[0, 3.0, -9], [0, -1.0, -9]]])
    found = detect((scores, torch.zeros(2, 2, 4)), anchors)
    assert found.pictures.tolist() == [0, 0, 1]
    assert found.labels.tolist() == [1, 2, 1]
    assert found.scores.tolist() == pytest.approx(torch.tensor([2.0, 1, 3]).sigmoid().tolist())
    assert found.of(1).scores.tolist() == found.scores[2:].tolist()


def test_boxes_that_reach_far_beyond_the_picture_do_not_meet_those_of_another():
    anchors = torch.tensor([[-9.0, -9, 1, 1], [-11, -11, 1, 1]])
    output = torch.cat([logits(0.9, 1e-3), logits(1e-3, 0.8)]), torch.zeros(2, 2, 4)
    assert detect(output, anchors).pictures.tolist() == [0, 1]


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("offset", [60.0, 450.0, 1e38, -1e38])
def test_a_box_without_end_does_not_change_what_is_suppressed_elsewhere(place, offset):
    anchors = torch.tensor([[0, 0, 1, 1], [0.5, 0.5, 0.52, 0.52], [0.5, 0.5, 0.52, 0.52]])
    offsets = torch.zeros(2, 3, 4)
    offsets[0, 0, place] = offset
    output = torch.cat([logits(0.02, 1e-6, 1e-6), logits(1e-6, 0.9, 0.8)]), offsets
    assert detect(output, anchors).of(1).scores.tolist() == pytest.approx([0.9])


def test_each_picture_has_no_more_detections_than_asked_for():
    scores = torch.randn(3, 3, 2)
    found = detect((scores, torch.zeros(3, 3, 4)), THIRDS, most=2)
    assert found.pictures.tolist() == [0, 0, 1, 1, 2, 2]
    best = scores[..., 1].sigmoid().sort(dim=1, descending=True).values[:, :2]
    assert torch.allclose(found.scores, best.flatten())
    nothing = detect((scores - 20, torch.zeros(3, 3, 4)), THIRDS)
    assert len(nothing.scores) == 0


def test_many_boxes_are_suppressed_as_few_are():
    """torchvision takes another way above a thousand boxes, and far ones reach beyond zero."""
    torch.manual_seed(0)
    anchors = ssd_anchors([8, 4])
    output = torch.randn(20, len(anchors), 2), 3 * torch.randn(20, len(anchors), 4)
    together = detect(output, anchors)
    for picture in range(20):
        alone = detect(tuple(part[[picture]] for part in output), anchors)
        assert torch.allclose(together.of(picture).boxes, alone.boxes, atol=1e-5)


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (torch.zeros(1, 3, 6), TypeError, "pair"),
        ((torch.zeros(1, 3, 2), torch.zeros(1, 3, 5)), ValueError, "offsets"),
        ((torch.zeros(1, 4, 2), torch.zeros(1, 4, 4)), ValueError, "ssd_anchors"),
        ((torch.zeros(1, 3, 1), torch.zeros(1, 3, 4)), ValueError, "background"),
    ],
)
def test_outputs_of_no_detector_are_refused(output, error, message):
    with pytest.raises(error, match=message):
        detection_loss(output, targets_of([(0, 0, 1, 1)]), THIRDS)
    with pytest.raises(error, match=message):
        detect(output, THIRDS)


def test_wrong_targets_are_refused():
    output = torch.zeros(1, 3, 2), torch.zeros(1, 3, 4)
    with pytest.raises(ValueError, match=r"x1, y1, x2, y2, class, difficult.*\(1, 5\)"):
        detection_loss(output, torch.zeros(1, 5), THIRDS)
    with pytest.raises(ValueError, match="class 3, and the model has 2"):
        detection_loss(output, torch.tensor([[[0, 0, 1, 1, 3.0, 0]]]), THIRDS)


def test_nan_and_infinite_offsets_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        detect((torch.full((1, 3, 2), math.nan), torch.zeros(1, 3, 4)), THIRDS)
    with pytest.raises(ValueError, match="infinite"):
        detect((torch.zeros(1, 3, 2), torch.full((1, 3, 4), math.inf)), THIRDS)


NOTHING = torch.zeros(1, 3, 2), torch.zeros(1, 3, 4)
NUMBERS = [
    *((detect, "most", v, ValueError, "at least 1") for v in (0, -1)),
    *((detect, "most", v, TypeError, "a whole number") for v in (2.5, None, True)),
    *((detect, "overlap", v, ValueError, "at least 0 and at most 1") for v in (7, -0.1, math.nan)),
    *((detect, "min_score", v, ValueError, "at least 0 and at most 1") for v in (2, -1, math.nan)),
    (detect, "min_score", "low", TypeError, "a number"),
    *((match, "overlap", v, ValueError, "above 0 and at most 1") for v in (math.nan, 0, 1.5)),
    (match, "overlap", None, TypeError, "a number"),
]


@pytest.mark.parametrize(("function", "name", "value", "error", "words"), NUMBERS)
def test_numbers_that_make_no_sense_are_refused_by_name(function, name, value, error, words):
    given = NOTHING if function is detect else targets_of([(0, 0, 1, 1)])
    with pytest.raises(error, match=f"{name} must be {words}, not"):
        function(given, THIRDS, **{name: value})
