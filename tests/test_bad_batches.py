"""Data, outputs, losses, criteria and models that cannot be judged are refused by name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from refusals import BATCHES, NAN, Segmenting, Two, X, Y, network, refuses
from torch import nn
from torch.utils.data import TensorDataset

from prunekit import compare, latency, peak_memory, profile, prune, rank, rank_all, trace
from prunekit.criteria import (
    APoZ,
    Combined,
    Criterion,
    Taylor,
    WeightNorm,
)
from prunekit.criteria.twins import activation_maps, map_similarities
from prunekit.training import evaluate, fit

POSITIONS = torch.zeros(4, 8, 8, dtype=torch.long)
LATER = torch.cat([X[:3], torch.full((1, 3, 8, 8), NAN)])
META = network().to("meta")
# Without data no layer of it asks for inputs of its own type.
UNBIASED = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 3, 6, bias=False))


def scores_of(make, needs="weights", **attributes):
    """A criterion that gives ``make(observation)``."""

    def call(self, observation):
        return make(observation)

    return type("Mine", (Criterion,), {"needs": needs, "__call__": call, **attributes})()


def filters(observation):
    return len(observation.module.weight)


LOADERS = [  # refused wherever batches are read
    (None, TypeError, "loader must give batches .*, not None"),
    ("train", TypeError, "loader must give batches .*, not 'train'"),
    (network(), TypeError, "loader must give batches .* not an object of type Sequential"),
    (X, TypeError, "loader must give batches .* not a tensor of shape"),
    ({"x": X, "y": Y}, TypeError, "loader must give batches"),
    (3, TypeError, "loader must give batches .*, not 3"),
    (TensorDataset(X, Y), TypeError, "loader must give batches, .* wrap it in a DataLoader"),
    ([], ValueError, "loader gave no batch.* An iterator is used up after one pass"),
    ([X], TypeError, r"batch 0 of \w*loader must be a pair \(x, y\) of tensors, not a tensor"),
    ([(X,)], TypeError, r"batch 0 of \w*loader must be a pair"),
    ([(X, Y, Y)], TypeError, r"batch 0 of \w*loader must be a pair"),
    ([{"x": X, "y": Y}], TypeError, r"batch 0 of \w*loader must be a pair"),
    ([(X.numpy(), Y.numpy())], TypeError, r"batch 0 of \w*loader must be a pair"),
    ([(X, [0, 1, 2, 0])], TypeError, r"batch 0 of \w*loader must be a pair"),
    ([(X, Y[0])], TypeError, r"batch 0 of \w*loader must be a pair"),
    ([(X, Y[:3])], ValueError, r"batch 0 of \w*loader has 4 examples and 3 labels"),
    ([(X[:0], Y[:0])], ValueError, r"batch 0 of \w*loader is empty"),
]
LABELS = [  # refused wherever labels are classes
    ([(X, Y - 100)], ValueError, "labels must lie between 0 and 2, .* and one is -100"),
    ([(X, Y - 1)], ValueError, "labels must lie between 0 and 2, .* and one is -1"),
    ([(X, Y + 1)], ValueError, "labels must lie between 0 and 2, .* and one is 3"),
    ([(X, Y.float())], ValueError, "one label an example.*these labels are torch.float32"),
    ([(X, Y > 0)], ValueError, "one label an example.*these labels are torch.bool"),
    ([(X, F.one_hot(Y))], ValueError, r"of shape \(4, 3\) and labels of shape \(4, 3\)"),
]
IMAGES = [  # refused wherever the model runs
    ([(X.byte(), Y)], "does not run on batch 0 of the loader, a tensor .* torch.uint8"),
    ([(X.double(), Y)], "does not run on batch 0 of the loader, a tensor .* torch.float64"),
    ([(X[:, :2], Y)], r"does not run on batch 0 of the loader, a tensor of shape \(4, 2, 8, 8\)"),
    ([(LATER, Y)], "the loss became nan: batch 0 of the loader holds NaN or infinite values"),
    ([(X / 0, Y)], "the loss became nan: batch 0 of the loader holds NaN or infinite values"),
]
ONE_SHOT = "is an iterator, which is used up after one pass, .* pass a DataLoader, or a list"
OUTPUTS = [
    (
        Segmenting(),
        [(X, POSITIONS)],
        ValueError,
        r"shape \(4, 3, 8, 8\) and labels of shape \(4, 8",
    ),
    (Segmenting(), BATCHES, ValueError, r"of shape \(4, 3, 8, 8\) and labels of shape \(4,\)"),
    (Two(), BATCHES, TypeError, "the model gives tuple, not one tensor"),
    (Two(named=True), BATCHES, TypeError, "the model gives dict, not one tensor"),
]
MODELS = [
    (
        nn.Linear,
        TypeError,
        r"model must be a torch.nn.Module, not the class Linear: pass an object",
    ),
    (lambda x: x, TypeError, "model must be a torch.nn.Module, not an object of type function"),
    (None, TypeError, "model must be a torch.nn.Module, not None"),
    (network().state_dict(), TypeError, "model must be a torch.nn.Module, not"),
    (nn.Sequential(nn.LazyConv2d(2, 1)), ValueError, "model has a lazy layer, whose size is not"),
]
LOSSES = [
    (F.cross_entropy, ValueError, 'weighs an example .* as a mean does. Use reduction="sum"'),
    (nn.CrossEntropyLoss(), ValueError, 'as a mean does. Use reduction="sum"'),
    (lambda o, y: F.mse_loss(o[:, 0], y.float()), ValueError, 'Use reduction="sum"'),
    (lambda o, y: o.pow(2).sum() ** 2, ValueError, "loss must add up over examples"),
    (nn.CrossEntropyLoss, TypeError, "loss must be a function, not the class CrossEntropyLoss"),
    ("sum", TypeError, "loss must be a function, not 'sum'"),
    (None, TypeError, "loss must be a function, not None"),
    (lambda o, y: 1.0, TypeError, "loss must give a tensor that it computes from the outputs"),
    (lambda o, y: o.detach().sum(), TypeError, "loss must give a tensor that it computes"),
    (lambda o, y: (o * torch.ones(4, 3)).sum(), ValueError, "loss must take any number of examp"),
]
CRITERIA = [
    ("best", ValueError, "no criterion is named 'best'; there are activation_l2, taylor"),
    (None, TypeError, "a criterion, .* is an object of a subclass of Criterion .* not None"),
    (7, TypeError, "is an object of a subclass of Criterion with a __call__ of its own, not 7"),
    (print, TypeError, "is an object of a subclass of Criterion"),
    (Taylor, TypeError, r"a criterion is an object: pass Taylor\(\), not the class"),
    (Combined, TypeError, r"a criterion is an object: pass Combined\(\), not the class"),
    (Criterion(), TypeError, "with a __call__ of its own, not an object of type Criterion"),
    (Combined(parts=()), ValueError, "Combined needs at least one criterion as its parts"),
    (Combined(parts=("taylor",)), TypeError, "each part of a combined one, .* not 'taylor'"),
    (Combined(parts=(Taylor,)), TypeError, r"pass Taylor\(\), not the class"),
    (
        scores_of(filters, needs="maps"),
        ValueError,
        "Mine.needs must be one of weights, outputs, activ",
    ),
    (scores_of(filters, pool="best"), ValueError, "Mine.pool must be an aggregation of pandas"),
    (scores_of(filters, __hash__=None), TypeError, "Mine cannot be hashed"),
    (scores_of(filters), TypeError, "Mine must give a tensor of real numbers for 0, not 4"),
    (scores_of(lambda o: None, needs="activations"), TypeError, "^Mine must give a tensor of real"),
    (scores_of(lambda o: None), TypeError, "Mine must give a tensor of real numbers for 0, not"),
    (scores_of(lambda o: [1.0] * filters(o)), TypeError, "Mine must give a tensor of real"),
    (scores_of(lambda o: torch.ones(filters(o)) * 1j), TypeError, "real numbers .*complex64"),
    (scores_of(lambda o: torch.ones(filters(o) - 1)), ValueError, r"Mine gave \(3,\) scores for"),
    (scores_of(lambda o: torch.full([filters(o)], NAN)), ValueError, "0: its scores by Mine are"),
    (scores_of(lambda o: o.module.weight[:, 0]), ValueError, r"Mine gave \(4, 3, 3\) scores"),
]
CASES = [
    *((function, {"loader": loader}, *expected)
      for function in (evaluate, fit, rank) for loader, *expected in LOADERS),
    *((prune, {"train_loader": loader}, *expected) for loader, *expected in LOADERS),
    *((function, {"loader": loader}, *expected)
      for function in (evaluate, fit, rank) for loader, *expected in LABELS),
    *((function, {"loader": loader}, ValueError, words)
      for function in (evaluate, fit) for loader, words in IMAGES),
    *((rank, {"loader": [*BATCHES, (x, Y)], "criterion": criterion}, ValueError,
       f"the model does not run on batch 1 of the loader, a tensor .* {x.dtype}.* with .to")
      for x in (X.double(), X.half()) for criterion in ("taylor", "activation_l2")),
    *((rank, {"model": UNBIASED, "loader": [(x, Y)]}, ValueError,
       f"the model does not run on batch 0 of the loader, a tensor .* {x.dtype}.* with .to")
      for x in (X.double(), X.half())),
    (fit, {"loader": iter(BATCHES)}, TypeError, f"^loader {ONE_SHOT}"),
    (fit, {"loader": (batch for batch in BATCHES)}, TypeError, f"^loader {ONE_SHOT}"),
    (fit, {"val_loader": iter(BATCHES)}, TypeError, f"^val_loader {ONE_SHOT}"),
    (prune, {"train_loader": iter(BATCHES)}, TypeError, f"^train_loader {ONE_SHOT}"),
    (prune, {"val_loader": iter(BATCHES)}, TypeError, f"^val_loader {ONE_SHOT}"),
    (prune, {"val_loader": []}, ValueError, "the loader gave no batch"),
    (prune, {"val_loader": [(X, Y + 7)]}, ValueError, "labels must lie between 0 and 2"),
    *((function, {"model": model, "loader": loader}, *expected)
      for function in (evaluate, fit) for model, loader, *expected in OUTPUTS),
    *((prune, {"model": model, "train_loader": loader, "val_loader": loader}, *expected)
      for model, loader, *expected in OUTPUTS),
    (rank, {"model": Segmenting()}, ValueError, "pass loss= for another task"),
    (rank, {"loader": [(X, Y / 2)]}, ValueError, "pass loss= for another task"),
    *((function, {"model": model}, *expected) for function in (rank, fit, evaluate, prune, profile)
      for model, *expected in MODELS),
    *((function, {"model": META}, ValueError, "model lies on the meta device .*no numbers")
      for function in (rank, fit, evaluate, prune, latency)),
    (compare, {"models": {"a": META}}, ValueError, r"models\['a'\] lies on the meta device"),
    (fit, {"model": nn.Flatten()}, ValueError, "no parameter of the model requires a gradient"),
    (rank, {"model": nn.Sequential(nn.Conv2d(3, 4, 1))}, ValueError, "no filter of Sequential may"),
    (rank, {"model": nn.Flatten()}, ValueError, "no filter of Flatten may be removed"),
    *((rank, {"loss": loss}, *expected) for loss, *expected in LOSSES),
    *((rank, {"criterion": criterion}, *expected) for criterion, *expected in CRITERIA),
    (rank, {"criterion": "combined", "normalize": False}, ValueError, 'normalize by "l2" or "m'),
    *((rank, {"batches": bad}, TypeError, "batches must be a whole") for bad in (NAN, 2.5, True)),
    (rank, {"batches": 0}, ValueError, "batches must be at least 1, not 0"),
    (rank, {"normalize": "max"}, ValueError, 'normalize must be "l2", "mean" or False'),
    (rank_all, {"criteria": "taylor"}, TypeError, "criteria must be a list of criteria, not 'tay"),
    (rank_all, {"criteria": None}, TypeError, "criteria must be a list of criteria, not None"),
    (rank_all, {"criteria": []}, ValueError, "name one or more criteria, each once"),
    (rank_all, {"criteria": ["taylor"] * 2}, ValueError, "name one or more criteria, each once"),
    (rank_all, {"criteria": [WeightNorm(1), WeightNorm(2)]}, ValueError, "each once"),
    *((function, {"loader": []}, ValueError, "loader gave no batch")
      for function in (activation_maps, map_similarities)),
]  # fmt: skip


@pytest.mark.parametrize(("function", "bad", "error", "words"), CASES)
def test_what_cannot_be_judged_is_refused_by_name(function, bad, error, words, tmp_path):
    refuses(function, bad, error, words, tmp_path)


def test_nan_images_of_a_later_batch_do_not_reach_the_weights():
    torch.manual_seed(0)
    model = network()
    with pytest.raises(ValueError, match="batch 1 of the loader holds NaN"):
        fit(model, [*BATCHES, (LATER, Y)], progress=False)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_scores_of_one_shape_in_one_batch_and_another_in_the_next():
    each = scores_of(lambda o: o.activation.mean(2), needs="activations")
    with pytest.raises(ValueError, match="the mean over the examples of a batch"):
        rank(network(), [(X, Y), (X[:3], Y[:3])], each)


@pytest.mark.parametrize(
    "loss",
    [nn.CrossEntropyLoss(reduction="sum"), nn.CrossEntropyLoss(reduction="none"),
     lambda output, y: output.sum() + 5, lambda output, y: 0 * output.sum()],
)  # fmt: skip
def test_losses_that_add_up_are_taken(loss):
    assert len(rank(network(), BATCHES, "taylor", loss=loss)) == 9


def test_a_loss_with_random_numbers_leaves_the_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    rank(network(), BATCHES, "weight_l1", loss=lambda output, y: F.dropout(output).sum())
    torch.set_rng_state(before)
    drawn = []

    def loss(output, y):
        drawn.append(torch.rand(1).item())
        return output.sum()

    rank(network(), BATCHES * 2, Taylor(), loss=loss)
    torch.set_rng_state(before)
    network()
    assert [drawn[0], drawn[-1]] == torch.rand(2).tolist()


class Counted:
    """Batches that do not know how many they are."""

    def __iter__(self):
        yield from [(X[:2], Y[:2]), (X[2:], Y[2:]), (X, Y)]


def test_a_loader_without_a_length_trains_as_a_list_does():
    histories = []
    for loader in (Counted(), list(Counted())):
        torch.manual_seed(0)
        histories.append(fit(network(), loader, epochs=1.5, progress=False))
    columns = ["steps", "lr", "loss", "accuracy"]
    assert histories[0][columns].equals(histories[1][columns])
    assert histories[0]["steps"].tolist() == [3, 1]  # round(4.5) is 4


def test_one_pass_is_enough_where_one_is_made():
    assert evaluate(network(), iter(BATCHES)).examples == 4
    assert len(rank(network(), iter(BATCHES), WeightNorm())) == 9
    assert map_similarities(network(), (batch for batch in BATCHES)).keys() == {"0", "3"}


def test_shorter_whole_numbers_are_labels_too():
    same = [evaluate(network().eval(), [(X, Y.to(kind))]) for kind in (torch.uint8, torch.int32)]
    assert [one.examples for one in same] == [4, 4]
    fit(network(), [(X, Y.to(torch.int16))], progress=False)
    rank(network(), [(X, Y.to(torch.uint8))], "taylor")


def test_labels_are_not_asked_for_where_none_are_needed():
    assert len(rank(network(), [(X, None)], APoZ())) == 9
    with pytest.raises(TypeError, match="batch 0 of loader must be a pair"):
        rank(network(), [(X, None)], Taylor())


def test_a_segmentation_is_ranked_by_the_cross_entropy_of_its_positions():
    assert len(rank(Segmenting(), [(X, POSITIONS)], "taylor")) == 4


def test_what_runs_without_numbers_needs_none():
    assert profile(META, X).macs == profile(network(), X).macs
    assert peak_memory(META, X) > 0
    assert trace(META, X).layers.keys() == {"0", "3", "7"}
