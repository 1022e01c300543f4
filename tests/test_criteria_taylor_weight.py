"""Taylor expansion in the weights, by hand and by the gradients that training would see."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from paper import InPlace, Paper, batches, output_of_class
from torch import Tensor, nn

from prunekit import rank
from prunekit.criteria import CRITERIA


@pytest.mark.parametrize("sizes", [(2,), (1, 1)])
def test_scores_by_hand(sizes):
    # Of a 1x1 filter, the derivative by its weight times its weight is what the table of the paper
    # network has as slope x r, summed over both positions; ReLU is homogeneous.
    first, second = [2 / 4, 3, 0], [-2 / 4, 0, 4]
    if sizes == (2,):
        expected = [((a + b) / 2) ** 2 for a, b in zip(first, second, strict=True)]
    else:
        expected = [(a**2 + b**2) / 2 for a, b in zip(first, second, strict=True)]
    ranking = rank(Paper(), batches(*sizes), "taylor_weight", loss=output_of_class)
    assert ranking["score"].tolist() == pytest.approx(expected)


def by_backward(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Squares of the sums of gradient times weight, from an ordinary backward pass."""
    model = copy.deepcopy(model).eval().requires_grad_(True)
    F.cross_entropy(model(x), y).backward()
    return {
        name: (layer.weight.grad * layer.weight).detach().flatten(1).sum(dim=1).square()
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d)
    }


@pytest.mark.parametrize("frozen", [False, True])
def test_coupled_filters_have_the_sum_of_what_a_backward_pass_gives(frozen):
    torch.manual_seed(1)
    model, x, y = InPlace(), torch.randn(5, 3, 6, 6), torch.tensor([0, 1, 2, 3, 0])
    model.second.requires_grad_(not frozen)
    expected = by_backward(model, x, y)
    total = (expected["first"] + expected["second"]).tolist()
    ranking = rank(model, [(x, y)], "taylor_weight")
    assert ranking["layer"].tolist() == ["first"] * 6 + ["second"] * 6
    assert ranking["score"].tolist() == pytest.approx([*total, *total], rel=1e-4)
    assert model.second.weight.requires_grad is not frozen
    assert all(parameter.grad is None for parameter in model.parameters())


def test_batches_count_by_their_examples():
    torch.manual_seed(2)
    model, x, y = Paper(), torch.randn(4, 1, 2, 2), torch.tensor([0, 1, 1, 0])
    parts = list(zip(x.split([3, 1]), y.split([3, 1]), strict=True))
    large, small = (by_backward(model, *part)["conv"] for part in parts)
    ranking = rank(model, parts, "taylor_weight")
    expected = (3 * large + small) / 4
    assert ranking["score"].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_filters_of_transposed_convolutions_are_found():
    torch.manual_seed(3)
    model = nn.Sequential(nn.ConvTranspose2d(2, 6, 3), nn.ReLU(),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))  # fmt: skip
    x, y = torch.randn(4, 2, 5, 5), torch.tensor([0, 1, 2, 0])
    trained = copy.deepcopy(model)
    F.cross_entropy(trained(x), y).backward()
    weight = trained[0].weight
    expected = (weight.grad * weight).detach().sum(dim=(0, 2, 3)).square()  # filters come second
    ranking = rank(model, [(x, y)], "taylor_weight")
    assert ranking["score"].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_labels_are_needed_and_checked():
    with pytest.raises(ValueError, match="labels must lie between 0 and 1"):
        rank(Paper(), [(torch.randn(2, 1, 1, 2), torch.tensor([0, 7]))], "taylor_weight")
    assert CRITERIA["taylor_weight"].needs == "weight_gradients"
