"""What a network costs, against counts by hand and in the literature."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations
from torchvision.models import mobilenet_v2, resnet18, vgg16

from prunekit import compare, latency, peak_memory, profile, rebuild
from prunekit.measure.timing import in_turns
from prunekit.models import TinySqueezeNet, squeezenet


def meta(build):
    with torch.device("meta"):
        return build().eval()


def test_squeezenet_has_the_parameters_of_the_thesis():
    cost = profile(meta(squeezenet), torch.zeros(1, 3, 224, 224, device="meta"))
    assert cost.parameters == 727_626
    assert cost.bytes == 4 * 727_626
    assert cost.layers["parameters"].sum() == cost.parameters
    assert cost.layers["layer"].iloc[0] == "features.0"
    assert cost.layers["filters"].sum() == 2944 + 10


@pytest.mark.parametrize(
    ("build", "macs"),
    [(resnet18, 1_814_073_344), (vgg16, 15_470_264_320), (mobilenet_v2, 300_774_272)],
)
def test_macs_are_those_of_the_literature(build, macs):
    assert profile(meta(build), torch.zeros(2, 3, 224, 224, device="meta")).macs == macs


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        # outputs x inputs x kernel x positions
        (nn.Conv1d(2, 4, 3), (2, 10), 4 * 2 * 3 * 8),
        (nn.Conv2d(4, 6, 3, stride=2, groups=2), (4, 9, 9), 6 * 2 * 9 * 16),
        (nn.Conv2d(4, 8, 3, padding=1, groups=4), (4, 5, 5), 8 * 1 * 9 * 25),
        (nn.Conv3d(1, 2, 2), (1, 3, 3, 3), 2 * 1 * 8 * 8),
        # each input position meets every weight
        (nn.ConvTranspose2d(3, 5, 2, stride=2), (3, 4, 4), 3 * 5 * 4 * 16),
        (nn.Linear(7, 3), (7,), 21),
        (nn.Linear(7, 3), (5, 7), 5 * 21),
        (nn.BatchNorm2d(3), (3, 4, 4), 0),
    ],
)
def test_macs_of_one_layer(layer, shape, macs):
    cost = profile(layer, torch.zeros(3, *shape))
    assert cost.macs == macs
    assert cost.layers["input_shape"].iloc[0] == shape
    assert cost.parameters == sum(p.numel() for p in layer.parameters())


class Pooled(nn.Conv2d):
    """A convolution that pads first and gives the mean of each map."""

    def forward(self, x):
        return super().forward(F.pad(x, (1, 1, 1, 1))).mean((2, 3))


class Twice(nn.Conv2d):
    """Standardised weights, used at two dilations, and a linear layer on what they give."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.gate = nn.Linear(4, 4)

    def forward(self, x):
        weight = self.weight - self.weight.mean()
        near, far = F.conv2d(x, weight), F.conv2d(input=x, weight=weight, dilation=2)
        return near.mean((2, 3)) * self.gate(far.mean((2, 3)))


@pytest.mark.parametrize(
    ("layer", "macs"),
    [(Pooled(2, 4, 3), [72 * 36]), (Twice(2, 4, 3), [72 * (16 + 4), 16])],
)
def test_macs_of_a_subclass_are_those_of_what_it_computes_with_its_weights(layer, macs):
    table = profile(layer, torch.zeros(3, 2, 6, 6)).layers.set_index("type")["macs"]
    assert table[[type(layer).__name__, "Linear"][: len(macs)]].tolist() == macs


@pytest.mark.parametrize("bias", [True, False])
def test_a_parametrised_layer_costs_what_it_computes(bias):
    """Its parameters are those that its weight is computed of."""

    def layers() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 8, 3, bias=bias), nn.Conv2d(8, 4, 1, bias=bias))

    plain, model, x = layers(), layers(), torch.zeros(1, 3, 8, 8)
    parametrizations.weight_norm(model[0])
    parametrizations.spectral_norm(model[1])
    expected, cost = (profile(one, x) for one in (plain, model))
    same = ["layer", "filters", "macs", "input_shape", "output_shape"]
    pd.testing.assert_frame_equal(cost.layers[same], expected.layers[same])
    assert cost.layers["parameters"].tolist() == [
        sum(p.numel() for p in layer.parameters()) for layer in model
    ]


def test_buffers_count_as_bytes_but_not_as_parameters():
    cost = profile(nn.BatchNorm2d(3).half(), torch.zeros(1, 3, 2, 2, dtype=torch.half))
    assert cost.parameters == 6
    assert cost.bytes == 6 * 2 + 6 * 2 + 8  # weight and bias, mean and variance, batches seen


def test_a_layer_used_twice_has_its_parameters_once_and_its_macs_twice():
    shared = nn.Linear(4, 4, bias=False)
    cost = profile(nn.Sequential(shared, nn.ReLU(), shared), torch.zeros(1, 4))
    assert (cost.parameters, cost.macs, len(cost.layers)) == (16, 32, 1)


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout())
    model.train()
    model[1].eval()
    mean = model[1].running_mean.clone()
    profile(model, torch.randn(2, 1, 3, 3))
    latency(model, torch.randn(2, 1, 3, 3), repeats=1, warmup=0)
    peak_memory(model, torch.randn(2, 1, 3, 3))
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert torch.equal(model[1].running_mean, mean)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_hooks_go_even_if_the_model_fails():
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="the model does not run on example_inputs"):
        profile(model, torch.zeros(1, 5))
    assert not model._forward_hooks


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="empty batch"):
        profile(nn.Linear(3, 2), torch.zeros(0, 3))


def test_latency_restores_the_threads_and_orders_its_statistics():
    threads = torch.get_num_threads()
    timing = latency(nn.Linear(4, 4), torch.zeros(1, 4), repeats=7, warmup=2, threads=1)
    assert torch.get_num_threads() == threads
    assert len(timing.times) == 7
    assert 0 < timing.times.min() <= timing.median <= timing.p95 <= timing.times.max()


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"warmup": -1}, {"threads": 0}])
def test_latency_refuses_what_it_cannot_time(wrong):
    with pytest.raises(ValueError, match="at least"):
        latency(nn.Linear(1, 1), torch.zeros(1, 1), **wrong)


def test_calls_that_lead_in_are_made_and_not_counted():
    calls = []
    functions = [lambda: calls.append("a"), lambda: calls.append("b")]
    one, other = in_turns(functions, 2, lead_in=1, burst=2)
    assert "".join(calls) == "aaabbbaaabbb"
    assert len(one.times) == len(other.times) == 4
    assert list(one.ms) == ["min_ms", "median_ms", "p95_ms"]
    assert one.ms["median_ms"] == 1000 * one.median


def test_threads_are_restored_where_a_timed_call_fails():
    def fails():
        raise KeyError

    threads = torch.get_num_threads()
    with pytest.raises(KeyError):
        in_turns([fails], 1, threads=threads + 1)
    assert torch.get_num_threads() == threads


def test_models_take_turns_and_stand_side_by_side():
    model, x = TinySqueezeNet(), torch.zeros(1, 3, 32, 32)
    small = rebuild(model, x, {"features.0": range(8)})
    calls = []
    for name, one in {"before": model, "after": small}.items():
        one.register_forward_pre_hook(lambda module, inputs, name=name: calls.append(name))
    table = compare({"before": model, "after": small}, x, repeats=3, warmup=1)
    assert calls[:8] == ["before", "after"] * 4
    assert table.index.tolist() == ["before", "after"]
    assert table.loc["after", "macs"] == profile(small, x).macs
    assert table.loc["after", "predicted"] == profile(small, x).macs / profile(model, x).macs
    assert table["measured"].tolist() == (table["ms"] / table["ms"].iloc[0]).tolist()
    assert (table["p95_ms"] >= table["ms"]).all()


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="no model to compare"):
        compare({}, torch.zeros(1, 3))


class Joined(nn.Module):
    """Holds its first map while the second is made, then joins them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 1, bias=False)
        self.second = nn.Conv2d(4, 6, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu_()
        return torch.cat([x, self.second(x)], dim=1).flatten(1).sum(1)


def test_peak_memory_by_hand():
    numbers = 4 + 24 + 100 * (1 + 4 + 6 + 10)  # weights, then maps: input, two, and both joined
    assert peak_memory(Joined(), torch.zeros(1, 1, 10, 10)) == 4 * numbers
    assert peak_memory(Joined().double(), torch.zeros(1, 1, 10, 10).double()) == 8 * numbers
    # In place nothing is added; half the examples, half the maps.
    numbers = 4 + 24 + 2 * 100 * (1 + 4 + 6 + 10)
    assert peak_memory(Joined(), torch.zeros(2, 1, 10, 10)) == 4 * numbers
