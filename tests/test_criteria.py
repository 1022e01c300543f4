"""Scores computed by hand on a network small enough for paper, and by another way."""

from __future__ import annotations

import copy
from math import sqrt

import numpy as np
import pandas as pd
import pytest
import torch
from paper import InPlace, Paper, batches, output_of_class
from torch import Tensor, nn

from prunekit import rank, rank_all
from prunekit.criteria import CombinedRanks, Observation, Random, WeightNorm, normalise

ZEROS = [(torch.zeros(2, 3, 6, 6), torch.zeros(2).long())]
BY_HAND = {
    "activation_l2": [(1 + 1) / 2, (3 + 0) / 2, (2 + 2) / 2],
    "taylor": [(1 / 4 + 1 / 4) / 2, (3 / 2 + 0) / 2, (0 + 2) / 2],
    "taylor_signed": [abs(1 / 4 - 1 / 4) / 2, abs(3 / 2 + 0) / 2, abs(0 + 2) / 2],
    "weight_l1": [1.0, 1.0, 2.0],
    "weight_l2": [1.0, 1.0, 2.0],
    "fpgm": [2 + 1, 2 + 3, 1 + 3],  # distances between the weights 1, -1 and 2
    "apoz": [2 / 4, 1 / 4, 2 / 4],  # share of positions that are not zero
    "hrank": [(1 + 1) / 2, (1 + 0) / 2, (1 + 1) / 2],
}
# Filter 0 repeats filter 2, which is louder, and goes first. As vectors over all positions the maps
# are (1 0 1 0), (0 3 0 0) and (2 0 2 0), of squared lengths 2, 9 and 8: filter 2 goes next.
NOT_NORMALISED = {
    "similarity_cosine": [0, 2, 1],
    "similarity_pearson": [0, 2, 1 + 1 / sqrt(3)],
    "similarity_filters": [0, 2, 2],
}


@pytest.mark.parametrize("sizes", [(2,), (1, 1)])
@pytest.mark.parametrize("name", [*BY_HAND, *NOT_NORMALISED])
def test_scores_by_hand(name, sizes):
    ranking = rank(Paper(), batches(*sizes), name, loss=output_of_class, normalize=False)
    assert ranking["layer"].tolist() == ["conv"] * 3  # the head's outputs must stay
    assert ranking["filter"].tolist() == [0, 1, 2]
    expected = (BY_HAND | NOT_NORMALISED)[name]
    assert ranking["score"].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", NOT_NORMALISED)
def test_similarities_are_compared_as_they_are(name):
    scores = rank(Paper(), batches(2), name)["score"]
    assert scores.tolist() == pytest.approx(NOT_NORMALISED[name], abs=1e-5)


@pytest.mark.parametrize("name", BY_HAND)
def test_normalised_scores_by_hand(name):
    scores = np.array(BY_HAND[name])
    ranking = rank(Paper(), batches(2), name, loss=output_of_class)
    assert ranking["score"].tolist() == pytest.approx(scores / sqrt((scores**2).sum()))


@pytest.mark.parametrize("name", ["activation_l2", "taylor", "weight_l1"])
def test_scores_divided_by_their_mean_by_hand(name):
    scores = np.array(BY_HAND[name])
    ranking = rank(Paper(), batches(2), name, loss=output_of_class, normalize="mean")
    assert ranking["score"].tolist() == pytest.approx(scores / scores.mean())


def test_by_their_mean_wide_layers_are_worth_as_much_as_narrow_ones():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 16, 1), nn.Conv2d(16, 2, 1))
    for layer in model:
        nn.init.constant_(layer.weight, 3.0)
    ranking = rank(model, [(torch.zeros(2, 1, 4, 4), None)], "weight_l1", normalize="mean")
    assert ranking["score"].tolist() == pytest.approx([1.0] * 20)
    ranking = rank(model, [(torch.zeros(2, 1, 4, 4), None)], "weight_l1")
    assert ranking.groupby("layer", sort=False)["score"].mean().tolist() == [0.5, 0.25]


def test_combinations_by_hand():
    rankings = rank_all(Paper(), batches(2), ["combined", "combined_ranks"], loss=output_of_class)
    # L2 norms: sqrt(1 + 9/4 + 4) = sqrt(29/4) and sqrt(1/16 + 9/16 + 1) = sqrt(13/8)
    expected = [
        l2 / sqrt(29 / 4) + taylor / sqrt(13 / 8)
        for l2, taylor in ((1, 1 / 4), (3 / 2, 3 / 4), (2, 1))
    ]
    assert rankings["combined"]["score"].tolist() == pytest.approx(expected)
    assert rankings["combined_ranks"]["score"].tolist() == [1 + 1, 2 + 2, 3 + 3]


def test_ranks_add_positions_and_coupled_filters_take_one():
    by_l2 = pd.Series([0.1, 0.1, 0.5, 0.3])
    by_taylor = pd.Series([0.7, 0.7, 0.2, 0.4])
    combined = CombinedRanks().combine([by_l2, by_taylor])
    assert combined.tolist() == [1 + 3, 1 + 3, 3 + 1, 2 + 2]


def by_gates(model: InPlace, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Taylor scores another way: derivatives by a factor on each map, an example at a time."""
    gates = {"first": torch.ones(6), "second": torch.ones(6)}
    for gate in gates.values():
        gate.requires_grad_()
    totals = {name: torch.zeros(6) for name in gates}
    hooked = copy.deepcopy(model).eval()
    hooked.relu.register_forward_hook(lambda m, i, out: out * gates["first"].view(-1, 1, 1))
    hooked.second.register_forward_hook(lambda m, i, out: out * gates["second"].view(-1, 1, 1))
    for image, label in zip(x, y, strict=True):
        loss = nn.functional.cross_entropy(hooked(image[None]), label[None])
        for name, slope in zip(gates, torch.autograd.grad(loss, gates.values()), strict=True):
            totals[name] += slope.abs() / image[0].numel()
    return {name: total / len(x) for name, total in totals.items()}


def test_taylor_agrees_with_the_derivative_by_a_factor_on_each_map():
    torch.manual_seed(1)
    model, x, y = InPlace(), torch.randn(5, 3, 6, 6), torch.tensor([0, 1, 2, 3, 0])
    before = x.clone()
    expected = by_gates(model, x, y)
    rankings = rank_all(model, [(x, y)], ["taylor", "activation_l2"], normalize=False)
    # The sum couples the two layers filter by filter: they share the mean.
    mean = (expected["first"] + expected["second"]) / 2
    assert rankings["taylor"]["layer"].tolist() == ["first"] * 6 + ["second"] * 6
    assert rankings["taylor"]["score"].tolist() == pytest.approx([*mean.tolist()] * 2, rel=1e-4)
    alone = rank(model, [(x, y)], "activation_l2", normalize=False)
    assert np.allclose(rankings["activation_l2"]["score"], alone["score"], rtol=1e-4)
    assert torch.equal(x, before)


def test_coupled_filters_share_the_mean_of_their_normalised_scores():
    model = InPlace()
    ranking = rank(model, ZEROS, "weight_l2")
    first, second = (
        normalise(layer.weight.detach().flatten(1).norm(dim=1))
        for layer in (model.first, model.second)
    )
    assert ranking["score"].tolist() == pytest.approx([*((first + second) / 2).tolist()] * 2)
    assert ranking["group"].nunique() == 6


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.shared = nn.Conv2d(2, 2, 1, bias=False)
        self.head = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.shared(self.shared(self.conv(x))).mean((2, 3)))


def test_the_uses_of_a_layer_add_up():
    model = Twice()
    with torch.no_grad():
        model.conv.weight.fill_(1.0)
        model.shared.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0]]).view(2, 2, 1, 1))
    # One pixel of value 1: maps of conv (1, 1), of shared (2, 3), then (4, 9).
    ranking = rank(model, [(torch.ones(2, 1, 1, 1), torch.tensor([0, 1]))], "activation_l2",
                   normalize=False)  # fmt: skip
    shared = ranking[ranking["layer"] == "shared"]["score"].tolist()
    conv = ranking[ranking["layer"] == "conv"]["score"].tolist()
    assert shared == conv == pytest.approx([(1 + 2 + 4) / 2, (1 + 3 + 9) / 2])


def test_random_scores_are_drawn_anew_and_are_not_normalised():
    paper, residual, layer = Paper(), InPlace(), nn.Conv2d(3, 6, 3)

    def scores(seed):
        torch.manual_seed(seed)
        return [rank(paper, batches(2), "random")["score"].tolist() for _ in range(2)]

    first, second = scores(0)
    assert scores(0) == [first, second]
    assert first != second
    assert first not in scores(1)
    torch.manual_seed(0)
    assert rank(paper, batches(2), "random", normalize=False)["score"].tolist() == first
    # A group takes one draw: means of several would crowd around one half.
    torch.manual_seed(0)
    coupled = rank(residual, ZEROS, "random")
    torch.manual_seed(0)
    alone = Random()(Observation("first", layer))
    assert coupled["score"].tolist() == pytest.approx([*alone.tolist()] * 2)


def test_weight_norms_of_transposed_and_grouped_convolutions():
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
    scores = WeightNorm(1)(Observation("up", layer))
    # Filter 4 is the second of group 1, which reads inputs 2 and 3.
    assert scores.shape == (6,)
    assert scores[4].item() == pytest.approx(layer.weight[2:, 1].abs().sum().item(), rel=1e-5)


def test_a_layer_of_zeros_stays_zero():
    model = Paper()
    nn.init.zeros_(model.conv.weight)
    assert rank(model, batches(2), "combined")["score"].tolist() == [0, 0, 0]


def test_tiny_scores_are_normalised_too():
    assert normalise(torch.tensor([3e-300, 4e-300], dtype=torch.float64)).tolist() == pytest.approx(
        [0.6, 0.8]
    )
