"""Training and pruning for tasks that are no classification of one image."""

from __future__ import annotations

from functools import partial

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from loops import assert_same_run, interrupted_at
from networks import randomise
from repairs import pruned_pair
from tasks import TwoInputs, UShaped, by_pixel, mean_iou, squares, two_inputs
from torch import nn
from torch.utils.data import DataLoader

import prunekit
from prunekit import insert_batch_norm, prune, rank, repair
from prunekit.detection import (
    BoxLoader,
    detection_distillation,
    detection_loss,
    draw_people,
    evaluate_detector,
    tiny_ssdlite,
)
from prunekit.models import TinySqueezeNet
from prunekit.training import Interrupted, evaluate, fit

pytestmark = pytest.mark.usefixtures("one_thread")

SEGMENTATION = {"loss": by_pixel, "evaluate": mean_iou, "progress": False}


@pytest.fixture(scope="module")
def train():
    return squares(40, seed=0)


@pytest.fixture(scope="module")
def val():
    return squares(16, seed=1)


def untrained() -> nn.Module:
    torch.manual_seed(0)
    return UShaped()


class Apart(nn.Module):
    """A network of two inputs, as one of both in one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x[:, :192].view(-1, 3, 8, 8), x[:, 192:].view(-1, 1, 4, 4))


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.fixture(scope="module")
def segmenter(train):
    model = untrained()
    fit(model, train, loss=by_pixel, epochs=8, lr=0.1, progress=False)
    return model


def test_a_segmentation_is_learnt_and_judged_by_numbers_of_its_own(train, val):
    model = untrained()
    history = fit(model, train, val, epochs=8, lr=0.1, **SEGMENTATION)
    columns = ["epoch", "steps", "lr", "loss", "val_mean_iou", "val_pixels", "seconds"]
    assert history.columns.tolist() == columns
    assert history["val_mean_iou"].iloc[0] < 0.6
    assert history["val_mean_iou"].iloc[-1] > 0.9
    assert history["val_mean_iou"].iloc[-1] == mean_iou(model.eval(), val)["mean_iou"]
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]


def test_a_segmentation_is_pruned_and_the_first_number_decides(segmenter, train, val):
    options = {"criterion": "taylor", "ratio": 0.6, "per_iteration": 7}
    options |= SEGMENTATION | {"fine_tune": {"epochs": 3, "lr": 0.05}}
    history = prune(segmenter, train, val, **options)
    table = history.table
    numbers = ["mean_iou_before", "pixels_before", "mean_iou_after", "pixels_after"]
    assert [c for c in table if c.endswith(("_before", "_after"))] == numbers
    assert history.stopped == "ratio"
    assert table["filters"].iloc[-1] <= 0.4 * table["filters"].iloc[0]
    assert table["mean_iou_after"].iloc[-1] > 0.8
    assert table["mean_iou_before"].iloc[1:].lt(table["mean_iou_after"].iloc[1:]).any()
    judged = mean_iou(history.model.eval(), val)
    assert judged["mean_iou"] == pytest.approx(table["mean_iou_after"].iloc[-1], abs=1e-4)
    options |= {"fine_tune": None, "max_accuracy_drop": 0.2}
    assert prune(segmenter, train, val, **options).stopped == "accuracy"

    def in_points(model, loader):
        return {"points": 100 * mean_iou(model, loader)["mean_iou"]}

    history = prune(segmenter, train, val, **options | {"evaluate": in_points} |
                    {"max_accuracy_drop": 99.0})  # fmt: skip
    assert history.stopped == "ratio"
    assert history.table["points_after"].iloc[0] > 90


@pytest.mark.parametrize("before", [0.9, 0.8, 0.7, 0.6])
def test_a_drop_as_large_as_allowed_is_allowed_whatever_is_rounded(before):
    numbers = iter([before, round(before - 0.1, 1), round(before - 0.1, 1)])
    data = [(torch.randn(4, 3, 32, 32), torch.arange(4))]
    history = prune(TinySqueezeNet(), data, data, "weight_l1", ratio=0.05, per_iteration=1000,
                    fine_tune=None, evaluate=lambda model, loader: {"score": next(numbers)},
                    max_accuracy_drop=0.1, progress=False)  # fmt: skip
    assert history.stopped == "ratio"


@pytest.mark.parametrize("form", [tuple, list, dict])
def test_several_inputs_come_as_a_tuple_a_list_or_by_name(form):
    histories = []
    for kind in (tuple, form):
        torch.manual_seed(0)
        model, batches = TwoInputs(), two_inputs(kind)
        fit(model, batches, batches, epochs=3, progress=False)
        found = evaluate(model, batches)
        history = prune(model, batches, batches, "taylor", 0.4, 4, progress=False)
        histories.append((found, history))
    (expected, unnamed), (found, named) = histories
    assert found == expected
    assert_same_run(named, unnamed)
    picture, depth = two_inputs(tuple)[0][0]
    removed = prunekit.select(rank(named.model, two_inputs(form), "weight_l1"), 3)
    small, masked = (
        cut(named.model, (picture, depth), removed) for cut in (prunekit.rebuild, prunekit.mask)
    )
    assert torch.allclose(small.eval()(picture, depth), masked.eval()(picture, depth), atol=1e-5)


@pytest.mark.parametrize("form", [tuple, list, dict])
@pytest.mark.parametrize("method", ["least_squares", "moments", "batch_norm"])
def test_networks_of_several_inputs_are_repaired(form, method):
    torch.manual_seed(0)
    model, batches = randomise(TwoInputs()).eval(), two_inputs(form)
    inputs = [x for x, _ in two_inputs(tuple)]
    pictures, depths = (torch.cat(parts) for parts in zip(*inputs, strict=True))
    small, remove = pruned_pair(model, (pictures[:2], depths[:2]))
    repaired = repair(small, model, remove, batches, method=method, progress=False)
    # As a network of one input is, which takes both apart again.
    whole = [torch.cat([pictures.flatten(1), depths.flatten(1)], 1)]
    torch.manual_seed(0)
    one, expected = Apart(model), Apart(small)
    prefixed = {f"network.{name}": filters for name, filters in remove.items()}
    expected = repair(expected, one, prefixed, whole, method=method, progress=False)
    assert_same_weights(repaired, expected.network)
    before = small.state_dict()
    assert any(not torch.equal(x, before[name]) for name, x in repaired.state_dict().items())


@pytest.mark.parametrize("form", [tuple, list, dict])
def test_batch_norms_are_put_into_networks_of_several_inputs(form):
    torch.manual_seed(0)
    model, batches = randomise(TwoInputs()).eval(), two_inputs(form)
    normed = insert_batch_norm(model, batches)
    assert isinstance(normed.depth.norm, nn.BatchNorm2d)
    for inputs, _ in two_inputs(tuple):
        torch.testing.assert_close(normed(*inputs), model(*inputs), rtol=1e-4, atol=1e-4)


def test_a_repair_that_cannot_look_at_inputs_is_refused_before_anything_is_pruned():
    def begun(model, rows):
        pytest.fail("the run has begun")

    ((picture, depth), y), *_ = two_inputs(tuple)
    given = [((picture, depth / 0), y)]
    with pytest.raises(ValueError, match=r"batch 1 of the loader has images that are NaN"):
        prune(TwoInputs(), given, given, repair="moments", report=begun, progress=False)


def test_a_dataloader_may_collate_inputs_and_targets_of_any_structure():
    torch.manual_seed(0)
    data = [
        ((torch.randn(3, 8, 8), torch.randn(1, 4, 4)), {"label": n % 3, "weight": 1.0 + n % 2})
        for n in range(8)
    ]

    def weighed(output, y):
        return F.cross_entropy(output, y["label"], reduction="none") * y["weight"]

    def mean_weight(model, loader):
        return {"negative_loss": -sum(weighed(model(*x), y).sum() for x, y in loader) / 8}

    loader = DataLoader(data, 4)
    options = {"loss": weighed, "evaluate": mean_weight, "progress": False}
    history = fit(TwoInputs(), loader, loader, epochs=2, **options)
    assert history["val_negative_loss"].iloc[-1] > history["val_negative_loss"].iloc[0]
    pruned = prune(TwoInputs(), loader, loader, "taylor", 0.3, 3, **options)
    assert pruned.stopped == "ratio"


def test_a_detector_is_trained_and_pruned_by_its_own_loss_and_precision():
    torch.manual_seed(0)
    model = tiny_ssdlite(size=64)
    train, val = (BoxLoader(draw_people(64, size=64, seed=seed), 8) for seed in (0, 1))
    anchors = model.anchors
    options = {
        "loss": partial(detection_loss, anchors=anchors),
        "evaluate": lambda model, loader: vars(evaluate_detector(model, loader, anchors)),
        "progress": False,
    }
    history = fit(model, train, val, epochs=10, lr=0.1, **options)
    assert history["steps"].sum() == 80
    assert {"val_average_precision", "val_miss_rate", "val_objects"} <= set(history)
    assert history["val_average_precision"].iloc[-1] > 0.3
    pruned = prune(model, train, val, "taylor", 0.1, 2000, **options)
    columns = [c for c in pruned.table if c.endswith("_after")]
    assert columns[0] == "average_precision_after"
    assert len(pruned.table) == 2
    small = prunekit.profile(pruned.model, torch.zeros(1, 3, 64, 64))
    assert small.parameters == pruned.table["parameters"].iloc[-1]
    assert pruned.table["filters"].iloc[-1] <= 0.9 * pruned.table["filters"].iloc[0]


def test_a_teacher_is_heard_by_a_loss_of_ones_own():
    """It alone teaches where the targets have no share; it stays as it is."""
    torch.manual_seed(0)
    pictures = draw_people(64, size=64)
    loader = BoxLoader(pictures, 8, shuffle=True)
    teacher, student = tiny_ssdlite(size=64), tiny_ssdlite(size=64)
    anchors = teacher.anchors
    own = partial(detection_loss, anchors=anchors)
    fit(teacher, loader, loss=own, epochs=8, lr=0.1, progress=False)
    before = {name: tensor.clone() for name, tensor in teacher.train().state_dict().items()}
    loss = partial(detection_distillation, anchors=anchors, teacher_weight=1.0)
    options = {"loss": loss, "teacher": [teacher, teacher], "lr": 0.1, "progress": False}
    fit(student, loader, epochs=8, **options)
    assert all(torch.equal(t, before[name]) for name, t in teacher.state_dict().items())
    assert teacher.training
    with torch.no_grad():
        ((x, targets),) = BoxLoader(pictures, 64)
        said, fresh = teacher.eval()(x), tiny_ssdlite(size=64)(x)
        taught, untaught, least = (
            loss(output, targets, said).mean() for output in (student.eval()(x), fresh, said)
        )
    assert taught - least < 0.3 * (untaught - least)


def test_answers_in_the_batches_are_heard_as_a_teacher_is(train):
    teacher = untrained().eval()

    def loss(output, masks, said):
        return by_pixel(output, masks) + (output - said).square().mean((1, 2, 3))

    options = {"loss": loss, "lr": 0.05, "progress": False}
    with torch.no_grad():
        answered = [(x, masks, teacher(x)) for x, masks in train]
    torch.manual_seed(1)
    one, other = UShaped(), UShaped()
    other.load_state_dict(one.state_dict())
    expected = fit(one, train, teacher=teacher, **options)
    found = fit(other, answered, **options)
    assert found["loss"].item() == pytest.approx(expected["loss"].item(), rel=1e-2)
    with pytest.raises(ValueError, match="answers already: leave out teacher"):
        fit(one, answered, teacher=teacher, **options)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_the_mean_of_a_loss_is_made_small_whether_it_comes_as_a_sum_or_one_by_one(noise, reduction):
    models = []
    for loss in (None, nn.CrossEntropyLoss(reduction=reduction)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 6, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(294, 10))
        history = fit(model, noise, noise, loss=loss, epochs=3, progress=False)
        models.append((model, history))
    (default, expected), (own, history) = models
    for one, other in zip(default.parameters(), own.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert "accuracy" not in history
    columns = ["loss", "val_loss", "val_accuracy"]
    pd.testing.assert_frame_equal(history[columns], expected[columns], rtol=1e-3)


def test_numbers_are_found_in_evaluation_mode_and_without_gradients(train, val):
    seen = []

    def look(model, loader):
        seen.append((model.training, model.first[1].training, torch.is_grad_enabled()))
        return {"constant": torch.tensor(0.5)}

    model = untrained().train()
    history = fit(model, train, val, loss=by_pixel, evaluate=look, progress=False)
    assert seen == [(False, False, False)]
    assert model.training
    assert history["val_constant"].tolist() == [0.5]


class InterruptedIn(list):
    """Batches that Ctrl-C ends in one of their passes."""

    def __init__(self, batches, last):
        super().__init__(batches)
        self.left = last

    def fingerprint(self):
        return "squares"

    def __iter__(self):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return super().__iter__()


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_training_by_a_loss_of_ones_own_goes_on_where_it_was_interrupted(
    train, val, tmp_path, average
):
    settings = SEGMENTATION | {"epochs": 3, "lr": 0.05, "average": average}
    unbroken, resumed = untrained(), untrained()
    expected = fit(unbroken, train, val, **settings)
    path = tmp_path / "training.safetensors"
    with pytest.raises(Interrupted) as raised:
        fit(untrained(), InterruptedIn(train, 3), val, checkpoint=path, **settings)
    assert raised.value.history["val_mean_iou"].tolist() == expected["val_mean_iou"].tolist()[:2]
    judged = mean_iou(unbroken.eval(), val)["mean_iou"]  # by the average, where there is one
    assert judged == expected["val_mean_iou"].iloc[-1]
    history = fit(resumed, InterruptedIn(train, 9), val, checkpoint=path, **settings)
    columns = expected.columns.drop("seconds")
    pd.testing.assert_frame_equal(history[columns], expected[columns])
    assert_same_weights(resumed, unbroken)
    before = path.read_bytes()
    for other, words in (
        ({"loss": lambda output, y: 2 * by_pixel(output, y)}, "other settings: loss"),
        ({"evaluate": lambda model, loader: {"mean_iou": 0.5}}, "other settings: evaluate"),
        ({"evaluate": None}, "other settings: evaluate"),
    ):
        with pytest.raises(ValueError, match=words):
            fit(untrained(), InterruptedIn(train, 9), val, checkpoint=path, **settings | other)
    assert path.read_bytes() == before


def test_pruning_by_a_loss_of_ones_own_goes_on_where_it_was_interrupted(
    segmenter, train, val, tmp_path
):
    options = SEGMENTATION | {"criterion": "taylor", "ratio": 0.5, "per_iteration": 6}
    options |= {"fine_tune": {"epochs": 1, "lr": 0.05}}
    unbroken = prune(segmenter, train, val, **options)

    with pytest.raises(KeyboardInterrupt):
        prune(segmenter, train, val, folder=tmp_path, report=interrupted_at(3), **options)
    assert_same_run(prune(segmenter, train, val, folder=tmp_path, **options), unbroken)
    for other, words in (
        ({"loss": lambda output, y: 2 * by_pixel(output, y)}, "other settings: loss"),
        ({"evaluate": lambda model, loader: {"mean_iou": 0.5}}, "other settings: evaluate"),
    ):
        with pytest.raises(ValueError, match=words):
            prune(segmenter, train, val, folder=tmp_path, **options | other)
