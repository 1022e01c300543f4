"""What ranking promises: one pass, a model left as it was, and errors that name the cause."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from paper import InPlace, Paper, batches, output_of_class
from torch import Tensor, nn

from prunekit import rank, rank_all
from prunekit.criteria import CRITERIA, Combined, Criterion, Observation, WeightNorm
from prunekit.models import TinySqueezeNet


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
    assert ranking["score"].tolist() == pytest.approx([1 / 4, 3 / 4, 1])


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
        (batches(2), "combined", {"normalize": False}, 'normalize by "l2" or "mean"'),
        (batches(2), "taylor", {"normalize": "max"}, "normalize must be .* not 'max'"),
    ],
)
def test_bad_input_is_named(loader, criterion, options, message):
    with pytest.raises(ValueError, match=message):
        rank(Paper(), loader, criterion, **options)


def test_a_network_without_removable_filters_is_refused():
    with pytest.raises(ValueError, match="no filter of Sequential may be removed"):
        rank(nn.Sequential(nn.Conv2d(1, 2, 1)), batches(2), "weight_l1")
