"""The first law: removing k filters equals masking them, removing none changes nothing."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_networks, randomise
from torch import nn
from torchvision import models

import prunekit
from prunekit.models import TinySqueezeNet

ZOO = {
    "squeezenet1_1": {},
    "alexnet": {"num_classes": 10},
    "vgg11_bn": {"num_classes": 10},
    "resnet18": {},
    "resnet50": {},
    "mobilenet_v2": {},
    "densenet121": {},
    "googlenet": {"init_weights": False},
    "shufflenet_v2_x0_5": {},
}


def some_of_every_layer(graph: prunekit.ChannelGraph, share: float, seed: int) -> dict:
    """Name up to ``share`` of each layer's dependency groups, leaving every layer one."""
    generator = np.random.default_rng(seed)
    gone: set[int] = set()
    remove = {}
    for name, layer in graph.prunable.items():
        free = np.setdiff1d(layer.groups, [0, *gone])
        count = min(int(len(free) * share * generator.random() + 0.5), len(free) - 1)
        chosen = generator.choice(free, max(count, 0), replace=False)
        trial = gone | set(chosen.tolist())
        if not any(np.isin(other.groups, list(trial)).all() for other in graph.layers.values()):
            gone = trial
            remove[name] = np.flatnonzero(np.isin(layer.groups, chosen)).tolist()
    return remove


def relative_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-12)).item()


@settings(max_examples=120, deadline=None)
@given(random_networks(), st.integers(0, 2**16))
def test_rebuild_equals_mask_on_random_networks(model, seed):
    x = torch.randn(2, 3, 8, 8, dtype=torch.double)
    remove = some_of_every_layer(prunekit.trace(model, x), 0.7, seed)
    small, masked = prunekit.rebuild(model, x, remove), prunekit.mask(model, x, remove)
    with torch.inference_mode():
        assert relative_difference(small(x), masked(x)) < 1e-9
    if any(remove.values()):
        counts = [sum(p.numel() for p in m.parameters()) for m in (small, model)]
        assert counts[0] < counts[1]


@settings(max_examples=40, deadline=None)
@given(random_networks())
def test_removing_nothing_changes_nothing(model):
    x = torch.randn(2, 3, 8, 8, dtype=torch.double)
    with torch.inference_mode():
        assert torch.equal(prunekit.rebuild(model, x, {})(x), model(x))
        assert torch.equal(prunekit.mask(model, x, {})(x), model(x))


@pytest.mark.parametrize("name", ZOO)
def test_rebuild_equals_mask_on_known_networks(name):
    torch.manual_seed(0)
    model = randomise(getattr(models, name)(weights=None, **ZOO[name])).double().eval()
    x = torch.randn(2, 3, 64, 64, dtype=torch.double)
    remove = some_of_every_layer(prunekit.trace(model, x), 0.5, seed=1)
    assert any(remove.values())
    small, masked = prunekit.rebuild(model, x, remove), prunekit.mask(model, x, remove)
    with torch.inference_mode():
        assert relative_difference(small(x), masked(x)) < 1e-9
        assert relative_difference(small(x), model(x)) > 1e-6


def test_googlenet_still_trains_with_its_auxiliary_classifiers():
    model = models.googlenet(weights=None, init_weights=False)
    x = torch.randn(2, 3, 64, 64)
    small = prunekit.rebuild(model, x, {"inception4a.branch1.conv": [0, 1]})
    assert small.aux1.conv.conv.in_channels == model.aux1.conv.conv.in_channels - 2
    outputs = small.train()(x)
    sum(output.sum() for output in outputs).backward()


def test_the_input_model_is_untouched_and_shares_nothing():
    model = TinySqueezeNet().train()
    before = copy.deepcopy(model.state_dict())
    small = prunekit.rebuild(model, torch.zeros(1, 3, 32, 32), {"features.0": [1]})
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training
    assert small.training


def test_dtype_mode_hooks_and_frozen_parameters_are_kept():
    model = TinySqueezeNet().to(torch.bfloat16).eval()
    model.features[0].weight.requires_grad_(False)
    calls = []
    model.features[0].register_forward_hook(lambda *_: calls.append(1))
    x = torch.zeros(1, 3, 32, 32, dtype=torch.bfloat16)
    small = prunekit.rebuild(model, x, {"features.0": [1]})
    small(x)
    assert calls == [1]
    assert not small.training
    assert small.features[0].weight.dtype == torch.bfloat16
    assert not small.features[0].weight.requires_grad
    assert small.features[2].squeeze.weight.requires_grad


def test_a_rebuilt_model_can_be_trained_and_pruned_again():
    x = torch.randn(4, 3, 32, 32)
    model = TinySqueezeNet()
    small = prunekit.rebuild(model, x, {"features.2.expand1x1": [0, 1]})
    optimizer = torch.optim.SGD(small.parameters(), 0.01)
    small(x).sum().backward()
    optimizer.step()
    again = prunekit.rebuild(small, x, {"features.2.expand1x1": [0], "features.0": [3]})
    assert again.features[2].expand1x1.out_channels == 13
    assert again(x).shape == (4, 10)


@pytest.mark.parametrize("operation", [prunekit.rebuild, prunekit.mask])
@pytest.mark.parametrize(
    ("remove", "error", "message"),
    [
        ({"features.9": [0]}, KeyError, "features.9"),
        ({"features.0": [16]}, IndexError, "features.0 has filters 0 to 15, not 16"),
        ({"features.0": [-1]}, IndexError, "not -1"),
        ({"features.0": range(16)}, ValueError, "features.0 would lose all of its 16 filters"),
        ({"classifier.1": [0]}, ValueError, "filter 0 of classifier.1 must stay"),
    ],
)
def test_impossible_removals_are_refused_by_name(operation, remove, error, message):
    with pytest.raises(error, match=message):
        operation(TinySqueezeNet(), torch.zeros(1, 3, 32, 32), remove)


def test_a_parametrized_weight_is_refused_by_name():
    model = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), nn.Conv2d(4, 2, 1)
    )
    with pytest.raises(ValueError, match="parametriz"):
        prunekit.rebuild(model, torch.zeros(1, 3, 8, 8), {"0": [1]})


def test_tied_weights_stay_tied():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), *model)
    model[3].weight = model[1].weight
    small = prunekit.rebuild(model, torch.zeros(1, 3, 8, 8), {"1": [2]})
    assert small[3].weight is small[1].weight
    assert small[3].weight.shape == (3, 3, 1, 1)
