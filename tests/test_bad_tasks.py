"""Losses, numbers and batches of a user's own that cannot be used are refused by name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from refusals import BATCHES, NAN, Segmenting, X, Y, network, refuses
from tasks import TwoInputs, UShaped, by_pixel, mean_iou, squares, two_inputs
from torch import Tensor, nn

from prunekit import prune, rank
from prunekit.checks.structures import first_examples
from prunekit.training import evaluate, fit

SUMMED = nn.CrossEntropyLoss(reduction="sum")
POSITIONS = torch.zeros(4, 8, 8, dtype=torch.long)
LOSSES = [  # of which a step cannot be made
    (nn.CrossEntropyLoss(), ValueError, 'as a mean does. Use reduction="sum"'),
    (lambda o, y: SUMMED(o, y) / len(y) ** 2, ValueError, "loss must add up over examples"),
    (lambda o, y: SUMMED(o, y).item(), TypeError, "loss must give a tensor that it computes"),
    (lambda o, y: SUMMED(o.detach(), y), TypeError, "loss must give a tensor that it computes"),
    (lambda o, y: (o * torch.ones(4, 3)).sum(), ValueError, "loss must take any number of examp"),
    (lambda o, y: SUMMED(o, y) * NAN, ValueError, "the loss became nan: lower the learning rate"),
    (nn.MSELoss, TypeError, "loss must be a function, not the class MSELoss"),
    ("sum", TypeError, "loss must be a function, not 'sum'"),
]
NUMBERS = [  # by which nothing can be decided
    (0.5, TypeError, "evaluate must give numbers by name, .* the one that decides first, not 0.5"),
    ([0.5], TypeError, r"evaluate must give numbers by name, .*not \[0.5\]"),
    ({0: 0.5}, TypeError, "evaluate must give numbers by name"),
    (None, TypeError, "evaluate must give numbers by name, .*not None"),
    ({}, ValueError, "evaluate gave no number, and the first is to decide"),
    ({"iou": "0.5"}, TypeError, "evaluate must give a number as iou, not '0.5'"),
    ({"iou": True}, TypeError, "evaluate must give a number as iou, not True"),
    ({"iou": torch.ones(2)}, TypeError, "evaluate must give a number as iou, not a tensor"),
    ({"iou": 0.5, "each": [0.5]}, TypeError, "evaluate must give a number as each"),
    ({"iou": NAN}, ValueError, "evaluate gave iou = nan, and the first number is to decide"),
]
NOT_FUNCTIONS = [
    (0.5, TypeError, "evaluate must be a function, not 0.5"),
    (nn.Module, TypeError, "evaluate must be a function, not the class Module"),
]
BESIDE = [  # of cross-entropy, and so not beside a loss of one's own
    ({"teacher": network()}, r"called as loss\(output, y, said\), and this one does not take"),
    ({"label_smoothing": 0.1}, "label_smoothing is of cross-entropy"),
]


def failing(output, y):
    raise ArithmeticError("a mistake of the user's")


class Bytes(nn.Module):
    """A network of pictures as files have them."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.float() / 255)


class KeywordOnly(TwoInputs):
    def forward(self, picture: Tensor, *, depth: Tensor) -> Tensor:
        return super().forward(picture, depth)


NAMED = two_inputs(dict)
UNKNOWN = [({"image": x["picture"], "depth": x["depth"]}, y) for x, y in NAMED]
TOO_FEW = [({"picture": x["picture"]}, y) for x, y in NAMED]
INPUTS = [
    (TwoInputs(), UNKNOWN, ValueError, r"batch 0 of \w+ ?\w* does not suit the arguments of for"),
    (TwoInputs(), TOO_FEW, ValueError, r"does not suit the arguments of forward: .*'depth'"),
    (KeywordOnly(), NAMED, ValueError, "which takes depth by keyword only: wrap the model"),
    (TwoInputs(), [((X, X, X), Y)], ValueError, "does not run on batch 0 of the loader, a tensor"),
    (TwoInputs(), [((X.numpy(), 2), Y)], TypeError, r"batch 0 of \w+ must be a pair \(x, y\)"),
    (TwoInputs(), [((), Y)], TypeError, r"batch 0 of \w+ must be a pair \(x, y\)"),
    (TwoInputs(), [((X, X[:, :1]), Y[:3])], ValueError, "has 4 examples and 3 labels"),
    (TwoInputs(), [((X[:0], X[:0, :1]), Y[:0])], ValueError, r"batch 0 of \w+ is empty"),
]
CASES = [
    *((fit, {"loss": loss}, *expected) for loss, *expected in LOSSES),
    *((prune, {"evaluate": lambda *given, numbers=numbers: numbers}, *expected)
      for numbers, *expected in NUMBERS),
    *((function, {"evaluate": evaluate}, *expected)
      for function in (fit, prune) for evaluate, *expected in NOT_FUNCTIONS),
    *((fit, {"loss": SUMMED} | more, ValueError, words) for more, words in BESIDE),
    *((prune, {"loss": SUMMED, "fine_tune": more}, ValueError, words) for more, words in BESIDE),
    (fit, {"loss": failing}, ArithmeticError, "a mistake of the user's"),
    (prune, {"fine_tune": {"loss": "sum"}}, TypeError, "fine_tune: loss must be a function"),
    (fit, {"loss": SUMMED, "loader": [(X, Y, torch.zeros(4, 3))]}, ValueError,
     r"called as loss\(output, y, said\), and this one does not take three arguments"),
    (fit, {"loss": lambda o, y, said: SUMMED(o, y), "teacher": network(),
     "loader": [(X, Y, torch.zeros(4, 3))]}, ValueError, "answers already: leave out teacher"),
    (fit, {"loss": lambda o, y, said: (o - said).square().mean(), "teacher": network()},
     ValueError, "loss must add up over examples"),
    (fit, {"model": Segmenting(), "loader": [(X, POSITIONS)]}, ValueError,
     r"training by cross-entropy \(pass loss= for another task\) needs outputs of shape"),
    (prune, {"model": Segmenting(), "train_loader": [(X, POSITIONS)], "val_loader":
     [(X, POSITIONS)], "loss": by_pixel}, ValueError, "pass evaluate= for another task"),
    *((function, {"model": model, "loader": loader}, *expected)
      for function in (fit, evaluate) for model, loader, *expected in INPUTS),
    *((prune, {"model": model, "train_loader": loader, "val_loader": loader}, *expected)
      for model, loader, *expected in INPUTS[:3]),
    (rank, {"model": TwoInputs(), "loader": UNKNOWN}, ValueError, "does not suit the arguments"),
    (rank, {"model": Bytes(), "loader": [(X.byte(), Y)]}, ValueError, "images to floating point"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "bad", "error", "words"), CASES)
def test_what_does_not_suit_a_task_is_refused_by_name(function, bad, error, words, tmp_path):
    refuses(function, bad, error, words, tmp_path)


@pytest.mark.parametrize(("numbers", "error", "words"), NUMBERS)
def test_a_training_cannot_show_what_is_no_number(numbers, error, words):
    with pytest.raises(error, match=words):
        fit(network(), BATCHES, BATCHES, evaluate=lambda *given: numbers, progress=False)


@pytest.mark.parametrize(("loss", "error", "words"), [*LOSSES[:5], *LOSSES[6:]])
def test_nothing_is_ranked_by_what_is_no_loss(loss, error, words):
    with pytest.raises(error, match=words):
        prune(network(), BATCHES, BATCHES, "taylor", 0.3, 1, loss=loss, progress=False)


def changing(model, loader):
    """Numbers under another name once two of nine filters are gone."""
    filters = model[0].out_channels + model[3].out_channels
    return {"iou" if filters > 7 else "precision": 0.5}


def test_numbers_that_change_their_names_are_refused_and_what_is_done_is_kept(tmp_path):
    options = {"evaluate": changing, "fine_tune": None, "progress": False}
    with pytest.raises(ValueError, match="evaluate gave the numbers precision and others before"):
        prune(network(), BATCHES, BATCHES, "weight_l1", 0.5, 1, folder=tmp_path, **options)
    assert (tmp_path / "checkpoint.safetensors").is_file()


def test_nan_in_any_input_is_what_a_nan_loss_is_laid_on():
    (picture, depth), y = two_inputs(tuple)[0]
    with pytest.raises(ValueError, match="batch 0 of the loader holds NaN or infinite values"):
        fit(TwoInputs(), [((picture, depth / 0), y)], progress=False)


def test_a_mean_is_refused_whatever_the_structure_of_the_targets():
    """Masks by name, beside a list with an entry for each picture and a number for all."""
    batches = [
        (x, {"masks": masks, "boxes": [torch.zeros(n % 3, 4) for n in range(4)], "weight": 2.0})
        for x, masks in squares(8, seed=0)
    ]

    def summed(output, y):
        assert len(y["boxes"]) == len(output)
        return y["weight"] * by_pixel(output, y["masks"])

    assert len(rank(UShaped(), batches, "taylor", loss=summed)) == 32
    fit(UShaped(), batches, loss=summed, progress=False)
    for function in (fit, lambda *given, **options: rank(*given, "taylor", **options)):
        with pytest.raises(ValueError, match="loss must add up over examples"):
            function(UShaped(), batches, loss=lambda o, y: summed(o, y).mean(), progress=False)


def test_a_list_of_as_many_tensors_as_examples_is_not_taken_for_one_entry_each():
    y = [torch.arange(2), torch.arange(4).view(2, 2)]
    first = first_examples(y, 2, 1)
    assert [part.tolist() for part in first] == [[0], [[0, 1]]]
    entries = [torch.zeros(3, 4), torch.ones(1, 4)]
    assert [len(part) for part in first_examples(entries, 2, 1, times=2)] == [3, 3]


def test_a_loss_that_finds_no_output_of_an_example_is_refused():
    class Total(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).sum()

    with pytest.raises(ValueError, match="the outputs hold no tensor of 4 examples"):
        fit(Total(), BATCHES, loss=lambda output, y: output, progress=False)


def test_targets_are_not_looked_at_where_nothing_of_the_library_judges_them():
    """Ranked by weights, trained and judged by functions of one's own."""
    batches = [(x, {"masks": masks}) for x, masks in squares(8, seed=0)]
    trained = []

    def judge(model, loader):
        return mean_iou(model, [(x, y["masks"]) for x, y in loader])

    def train(model, loader):
        trained.append(fit(model, loader, loss=lambda o, y: by_pixel(o, y["masks"]),
                           progress=False))  # fmt: skip

    options = {"evaluate": judge, "fine_tune": train, "progress": False}
    history = prune(UShaped(), batches, batches, "weight_l1", 0.4, 10, **options)
    assert len(trained) == len(history.table) - 1
    with pytest.raises(TypeError, match="batch 0 of loader must be a pair"):
        prune(UShaped(), batches, batches, "taylor", 0.4, 10, **options)


def test_a_fine_tuning_may_have_a_loss_of_its_own():
    seen = set()

    def loss(name):
        def of(output, y):
            seen.add(name)
            return F.cross_entropy(output, y, reduction="none")

        return of

    options = {"loss": loss("rank"), "fine_tune": {"loss": loss("fit")}, "progress": False}
    prune(network(), BATCHES, BATCHES, "weight_l1", 0.3, 5, **options)
    assert seen == {"fit"}
    prune(network(), BATCHES, BATCHES, "taylor", 0.3, 5, **options)
    assert seen == {"fit", "rank"}
