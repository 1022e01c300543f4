"""Scores computed by hand on a network small enough for paper, and what ranking promises."""

from __future__ import annotations

import copy
from math import sqrt

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from prunekit import rank, rank_all
from prunekit.criteria import (
    CRITERIA,
    Combined,
    CombinedRanks,
    Criterion,
    Observation,
    Random,
    WeightNorm,
    normalise,
)
from prunekit.models import TinySqueezeNet


class Paper(nn.Module):
    """Three 1x1 filters, ReLU, two linear outputs averaged over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 1, bias=False)
        self.relu = nn.ReLU()
        self.head = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -1.0, 2.0]).view(3, 1, 1, 1))
            self.head.weight.copy_(torch.tensor([[1.0, 2, 0], [-1, 0, 4]]).view(2, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.conv(x))).mean(dim=(2, 3))


def output_of_class(output: Tensor, y: Tensor) -> Tensor:
    """A loss whose derivatives are the head's weights: the output of the example's class."""
    return output.gather(1, y.unsqueeze(1)).sum()


# Two examples of two positions:    x = (1, -3), class 0        x = (1, 0), class 1
# maps  r = relu(w x)                (1, 0) (0, 3) (2, 0)         (1, 0) (0, 0) (2, 0)
# slope dC/dr = head / 2 positions    1/2     1      0             -1/2    0      2
# L2 norm of r                         1      3      2               1     0      2
# mean over positions of slope x r    1/4    3/2     0             -1/4    0      2
IMAGES = torch.tensor([[[[1.0, -3.0]]], [[[1.0, 0.0]]]])
CLASSES = torch.tensor([0, 1])
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


def batches(*sizes: int):
    return list(zip(IMAGES.split(sizes), CLASSES.split(sizes), strict=True))


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


def test_examples_count_alike_whatever_the_batches():
    torch.manual_seed(0)
    x, y = torch.randn(7, 3, 32, 32), torch.arange(7)
    model = TinySqueezeNet()
    names = ["activation_l2", "taylor", "taylor_signed", "apoz", "hrank"]
    names += ["similarity_cosine", "similarity_pearson"]
    whole = rank_all(model, [(x, y)], names)
    parts = rank_all(model, list(zip(x.split([4, 1, 2]), y.split([4, 1, 2]), strict=True)), names)
    for name in names:
        assert np.allclose(whole[name]["score"], parts[name]["score"], rtol=1e-3, atol=1e-6)


class InPlace(nn.Module):
    """Everything written in place that can be, and maps that a later layer overwrites."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        y = self.second(x)
        y += x
        y = torch.relu_(y)
        return self.head(y.mean((2, 3)))


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


@pytest.mark.parametrize("name", CRITERIA)
def test_the_model_is_left_as_it_was(name):
    torch.manual_seed(2)
    model = InPlace().train()
    model.norm.eval()
    model.second.weight.requires_grad_(False)
    model.first.weight.grad = torch.ones_like(model.first.weight)
    state = copy.deepcopy(model.state_dict())
    rank(model, [(torch.randn(3, 3, 6, 6), torch.arange(3))], name)
    assert [module.training for module in model.modules()] == [True, True, False, True, True, True]
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(model.first.weight.grad, torch.ones_like(model.first.weight))
    assert model.second.weight.grad is None
    assert not model.second.weight.requires_grad
    assert not any(module._forward_hooks for module in model.modules())


def test_the_mode_comes_back_after_an_error():
    model = Paper().train()
    with pytest.raises(ZeroDivisionError):
        rank(model, batches(2), "taylor", loss=lambda output, y: 1 / 0)
    assert all(module.training for module in model.modules())


def test_frozen_networks_can_be_ranked():
    model = Paper().requires_grad_(False)
    ranking = rank(model, batches(2), "taylor", loss=output_of_class, normalize=False)
    assert ranking["score"].tolist() == pytest.approx(BY_HAND["taylor"])


class Counting(list):
    passes = 0
    handed_out = 0

    def __iter__(self):
        self.passes += 1
        for batch in super().__iter__():
            self.handed_out += 1
            yield batch


def test_one_pass_serves_all_criteria():
    loader = Counting(batches(1, 1))
    names = [name for name in CRITERIA if name != "bn_scale"]
    rank_all(Paper(), loader, names, loss=output_of_class)
    assert (loader.passes, loader.handed_out) == (1, 2)


@pytest.mark.parametrize(("name", "options"), [("weight_l1", {}), ("taylor", {"batches": 1})])
def test_no_more_data_is_read_than_needed(name, options):
    loader = Counting(batches(1, 1))
    rank(Paper(), loader, name, **options)
    assert loader.handed_out == 1


def test_a_criterion_of_ones_own():
    class Largest(Criterion):
        needs = "activations"

        def __call__(self, observation: Observation) -> Tensor:
            return observation.activation.amax(dim=2).mean(dim=0)

    ranking = rank(Paper(), batches(2), Largest(), normalize=False)
    assert ranking["score"].tolist() == [(1 + 1) / 2, (3 + 0) / 2, (2 + 2) / 2]
    pair = rank(Paper(), batches(2), Combined(parts=(Largest(), WeightNorm(1))))
    assert len(pair) == 3


def test_a_criterion_that_gives_too_few_scores_is_named():
    class Total(Criterion):
        needs = "activations"

        def __call__(self, observation: Observation) -> Tensor:
            return observation.activation.sum()

    with pytest.raises(ValueError, match=r"Total gave .* 3 filters of conv"):
        rank(Paper(), batches(2), Total())


def test_random_scores_repeat_and_are_not_normalised():
    first, again, other = (rank(Paper(), batches(2), Random(seed)) for seed in (0, 0, 1))
    assert first["score"].tolist() == again["score"].tolist() != other["score"].tolist()
    assert rank(Paper(), batches(2), "random", normalize=False).equals(first)
    # A group takes one draw: means of several would crowd around one half.
    coupled = rank(InPlace(), ZEROS, "random")
    alone = Random()(Observation("first", nn.Conv2d(3, 6, 3)))
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


@pytest.mark.parametrize("name", ["activation_l2", "taylor", "weight_l1", "combined"])
def test_nan_is_named_by_layer(name):
    model = Paper()
    with torch.no_grad():
        model.conv.weight[1] = float("nan")
    with pytest.raises(ValueError, match=r"conv: its scores by .* are NaN"):
        rank(model, batches(2), name)


@pytest.mark.parametrize(
    ("loader", "criterion", "options", "message"),
    [
        ([], "taylor", {}, "no batch"),
        (batches(2), "magnitude", {}, "no criterion is named 'magnitude'; there are activation"),
        (batches(2), "taylor", {"batches": 0}, "batches"),
        (batches(2), "combined", {"normalize": False}, "needs normalize=True"),
        (batches(2), print, {}, "needs must be one of weights, activations, gradients"),
    ],
)
def test_bad_input_is_named(loader, criterion, options, message):
    with pytest.raises(ValueError, match=message):
        rank(Paper(), loader, criterion, **options)


def test_a_network_without_removable_filters_is_refused():
    with pytest.raises(ValueError, match="no filter of Sequential may be removed"):
        rank(nn.Sequential(nn.Conv2d(1, 2, 1)), batches(2), "weight_l1")
