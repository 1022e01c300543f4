"""What is kept over all iterations, numbered as in the first network: one removal does it all."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loops import interrupted_at, network, quickly
from networks import Shuffle, random_networks
from torch import Tensor, nn
from torchvision import models

from prunekit import ChannelGraph, PruningHistory, prune, rebuild, trace
from prunekit.criteria.ranking import ranked_layers
from prunekit.training import Interrupted


def in_one_go(model: nn.Module, x: Tensor, history: PruningHistory) -> nn.Module:
    graph = trace(model, x)
    assert history.kept.keys() == graph.layers.keys()
    return rebuild(model, graph, removal(graph, history))


def removal(graph: ChannelGraph, history: PruningHistory) -> dict[str, list[int]]:
    return {
        name: sorted(set(range(layer.filters)).difference(history.kept[name]))
        for name, layer in graph.layers.items()
    }


def assert_same(one: nn.Module, other: nn.Module, x: Tensor) -> None:
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (one, other)]
    assert shapes[0] == shapes[1]
    with torch.inference_mode():
        torch.testing.assert_close(one.eval()(x), other.eval()(x))


def can_go_alone(graph: ChannelGraph, history: PruningHistory) -> bool:
    """Whether what is gone was tied to nothing that is left, as the first network stood."""
    gone = np.zeros(graph.count, dtype=bool)
    for name, filters in removal(graph, history).items():
        gone[graph.layers[name].groups[filters]] = True
    layers = graph.layers.items()
    return all(np.flatnonzero(~gone[it.groups]).tolist() == history.kept[n] for n, it in layers)


@settings(max_examples=settings.default.max_examples // 2)
@given(random_networks(), st.floats(0.1, 0.8), st.integers(2, 12), st.integers(0, 2**16))
def test_iterations_equal_one_removal_of_what_is_not_kept(model, ratio, per_iteration, seed):
    x = torch.randn(4, 3, 8, 8, dtype=torch.double)
    graph = trace(model, x)
    assume(ranked_layers(graph))
    batches = [(x, torch.zeros(4).long())]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "pruning ended at")
        history = prune(
            model, batches, batches, "random", ratio, per_iteration,
            fine_tune=None, min_filters=1, seed=seed, progress=False,
        )  # fmt: skip
    for name, filters in history.kept.items():
        one, other = (net.get_submodule(name).bias for net in (model, history.model))
        assert one is None or torch.equal(one[filters], other)
    if can_go_alone(graph, history):
        assert_same(in_one_go(model, x, history), history.model, x)
    else:  # its groups may shrink to one channel each, which are then free of one another
        convolutions = [m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd)]
        assert any(m.groups > 1 for m in convolutions)


def test_numbers_are_those_of_the_first_network():
    """By norm, the filters of the lowest weights go first; of what is left, the lowest again."""
    model = nn.Sequential(nn.Conv2d(1, 5, 1, bias=False), nn.Flatten(), nn.Linear(5, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([3.0, 1, 5, 2, 4]).reshape(5, 1, 1, 1))
    batches = [(torch.ones(2, 1, 1, 1), torch.arange(2))]
    options = {"ratio": 0.6, "per_iteration": 1, "fine_tune": None, "progress": False}
    history = prune(model, batches, batches, "weight_l1", **options)
    assert [one["0"] for one in history.removed] == [[1], [2], [0]]
    assert history.kept == {"0": [2, 4], "2": [0, 1]}


def test_layers_that_run_in_training_only_are_among_them():
    torch.manual_seed(0)
    model = models.googlenet(weights=None, init_weights=False, num_classes=4)
    batches = [(torch.randn(4, 3, 64, 64), torch.arange(4))]
    options = {"ratio": 0.1, "per_iteration": 400, "fine_tune": None, "progress": False}
    history = prune(model, batches, batches, "weight_l1", **options)
    assert history.kept["aux1.fc1"] == list(range(1024))
    small = in_one_go(model, batches[0][0], history)
    assert_same(small, history.model, batches[0][0])


class Helped(nn.Module):
    """A convolution whose maps another one adds to, in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.helper = nn.Conv2d(1, 6, 1), nn.Conv2d(1, 6, 1)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.main(x)
        if self.training:
            y = y + self.helper(x)
        return self.head(y.mean((2, 3)))


def test_a_layer_that_helps_in_training_loses_what_it_is_tied_to():
    torch.manual_seed(0)
    model, batches = Helped(), [(torch.randn(2, 1, 4, 4), torch.arange(2))]
    options = {"ratio": 0.5, "per_iteration": 1, "fine_tune": None, "progress": False}
    history = prune(model, batches, batches, "weight_l1", **options)
    assert len(history.kept["main"]) == 3 and history.kept["helper"] == history.kept["main"]
    assert torch.equal(model.helper.bias[history.kept["helper"]], history.model.helper.bias)


def test_an_iteration_that_fell_short_is_not_counted(noise):
    def spoil(model, loader):
        if model.features[0].out_channels < 14:
            nn.init.zeros_(model.classifier[1].weight)
            model.classifier[1].bias.data = torch.eye(10)[9]

    zeros = [(noise[0][0], torch.zeros(10).long())]
    model = network()
    nn.init.zeros_(model.classifier[1].weight)
    model.classifier[1].bias.data = torch.eye(10)[0]
    history = prune(
        model, noise, zeros, "random", 0.9, 20, fine_tune=spoil, max_accuracy_drop=0.5,
        progress=False,
    )  # fmt: skip
    assert history.stopped == "accuracy" and len(history.removed) > 1
    assert_same(in_one_go(model, noise[0][0], history), history.model, noise[0][0])


def test_an_interrupted_run_says_what_it_kept_and_a_resumed_one_too(noise, tmp_path):
    with pytest.raises(Interrupted) as raised:
        quickly(noise, folder=tmp_path, report=interrupted_at(3))
    half = raised.value.history
    assert_same(in_one_go(network(), noise[0][0], half), half.model, noise[0][0])
    assert quickly(noise, folder=tmp_path).kept == quickly(noise).kept


def test_a_run_that_leaves_nothing_to_lose_ends_at_its_floor():
    """Of the channels of a shuffle, the last ones must stay."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), Shuffle(4), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(4, 5)),
    )
    batches = [(torch.randn(4, 3, 8, 8), torch.arange(4))]
    options = {"fine_tune": None, "min_filters": 1, "progress": False}
    with pytest.warns(UserWarning, match="pruning ended at"):
        history = prune(model, batches, batches, "random", 0.9, 1, **options)
    assert history.stopped == "floor" and len(history.removed)
