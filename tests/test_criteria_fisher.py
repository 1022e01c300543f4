"""The Fisher diagonal of gates: by hand, against real rises of a loss, and what updates weights."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from paper import InPlace, Paper, batches, output_of_class
from torch import nn

from prunekit import mask, rank, rebuild, repair
from prunekit.repair.least_squares import RIDGE


@pytest.mark.parametrize("sizes", [(2,), (1, 1)])
def test_scores_by_hand_however_batches_are_made(sizes):
    # Slope x r, summed over the two positions, from the table of the paper network.
    first, second = [2 / 4, 3, 0], [-2 / 4, 0, 4]
    expected = [(a**2 + b**2) / 2 / 2 for a, b in zip(first, second, strict=True)]
    ranking = rank(Paper(), batches(*sizes), "fisher", loss=output_of_class)
    assert ranking["score"].tolist() == pytest.approx(expected)


def test_it_is_what_a_removal_costs_where_the_loss_is_quadratic_and_at_its_minimum():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                          nn.Linear(5, 1)).double().eval()  # fmt: skip
    x = torch.randn(40, 3, 6, 6, dtype=torch.double).repeat(2, 1, 1, 1)
    noise = torch.ones(80, 1, dtype=torch.double)
    noise[40:] = -1  # of variance 1, which the loss takes for granted
    y = model(x).detach() + noise

    def loss(output, y):
        return (output - y).square().sum() / 2

    scores = rank(model, [(x, y)], "fisher", loss=loss)["score"]
    for filter, score in enumerate(scores):
        rise = loss(mask(model, x, {"0": [filter]})(x), y) - loss(model(x), y)
        assert score == pytest.approx(rise.item() / len(x))


def test_it_is_half_of_w_F_w_with_the_whole_block_of_a_filter():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                          nn.Flatten(), nn.Linear(4, 3)).eval()  # fmt: skip
    x, y = torch.randn(6, 2, 5, 5), torch.arange(6) % 3
    weight, blocks = model[0].weight, torch.zeros(4, 18, 18)
    for image, label in zip(x, y, strict=True):
        (slope,) = torch.autograd.grad(F.cross_entropy(model(image[None]), label[None]), weight)
        slope = slope.flatten(1)
        blocks += slope[:, :, None] * slope[:, None] / len(x)
    w = weight.detach().flatten(1)
    expected = torch.einsum("fi,fij,fj->f", w, blocks, w) / 2
    scores = rank(model, [(x, y)], "fisher")["score"]
    assert scores.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_coupled_filters_have_the_sum_of_theirs():
    torch.manual_seed(2)
    model, x, y = InPlace().eval(), torch.randn(5, 3, 6, 6), torch.tensor([0, 1, 2, 3, 0])
    gates = {name: torch.ones(5, 6, 1, 1, requires_grad=True) for name in ("relu", "second")}
    gated = copy.deepcopy(model)
    gated.relu.inplace = False
    for name, gate in gates.items():
        gated.get_submodule(name).register_forward_hook(lambda _, __, maps, g=gate: maps * g)
    F.cross_entropy(gated(x), y, reduction="sum").backward()
    each = [gate.grad.flatten(1).square().mean(0) / 2 for gate in gates.values()]
    scores = rank(model, [(x, y)], "fisher")["score"]
    assert scores.tolist() == pytest.approx((sum(each)).tolist() * 2, rel=1e-4)


def test_least_squares_is_the_update_of_the_optimal_brain_surgeon_in_the_next_layer():
    """By its formula, with the Hessian of the next layer's squared error and the ridge on it."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double().eval()
    x, gone, kept = torch.randn(50, 4, dtype=torch.double), [1, 4], [0, 2, 3, 5]
    with torch.no_grad():
        read = model[:2](x)
    read = read - read.mean(0)
    ridge = RIDGE * read[:, kept].square().sum() / len(x)
    inverse = torch.linalg.inv(read.T @ read + ridge * torch.eye(6, dtype=torch.double))
    weight = model[2].weight.detach()
    update = -weight[:, gone] @ torch.linalg.inv(inverse[gone][:, gone]) @ inverse[gone]
    torch.testing.assert_close(update[:, gone], -weight[:, gone])
    repaired = repair(rebuild(model, x, {"0": gone}), model, {"0": gone}, [x])
    torch.testing.assert_close(repaired[2].weight, (weight + update)[:, kept], rtol=1e-4, atol=1e-6)
