"""Least squares finds what can be found: kind by kind of layer, and where nothing varies."""

import copy

import pytest
import torch
from repairs import error
from torch import nn

import prunekit
from prunekit.repair.calibration import channel_moments

CONSUMERS = {
    "strided": nn.Conv2d(5, 4, 3, stride=2, padding=1),
    "dilated": nn.Conv2d(5, 4, (3, 1), dilation=2, padding=(2, 0), bias=False),
    "same": nn.Conv2d(5, 4, (3, 5), padding="same"),
    "valid": nn.Conv2d(5, 4, 3, padding="valid"),
    "reflecting": nn.Conv2d(5, 4, 3, padding=1, padding_mode="reflect"),
    "linear": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)),
    "linear, flattened": nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 4)),
}


def with_a_sum(conv):
    """The last filter becomes twice the first less the second."""
    with torch.no_grad():
        for tensor in (conv.weight, conv.bias):
            tensor[-1] = 2 * tensor[0] - tensor[1]
    return conv


@pytest.mark.parametrize("kind", CONSUMERS)
def test_a_filter_that_others_add_up_to_is_not_missed(kind):
    torch.manual_seed(0)
    consumer = copy.deepcopy(CONSUMERS[kind])
    model = nn.Sequential(with_a_sum(nn.Conv2d(3, 5, 3)), nn.AvgPool2d(2), consumer)
    model = model.double().eval()
    x, fresh = torch.randn(2, 400, 3, 14, 14, dtype=torch.double)
    small = prunekit.rebuild(model, x, {"0": [4]})
    repaired = prunekit.repair(small, model, {"0": [4]}, x.split(100))
    assert error(repaired, model, fresh) < error(small, model, fresh) / 30


@pytest.mark.parametrize("kinds", [(nn.Conv1d, 30), (nn.Conv3d, 6)], ids=["1d", "3d"])
def test_signals_and_volumes(kinds):
    kind, size = kinds
    torch.manual_seed(0)
    dims = 1 if kind is nn.Conv1d else 3
    model = nn.Sequential(with_a_sum(kind(2, 4, 3)), kind(4, 3, 2, padding=1)).double().eval()
    x = torch.randn(100, 2, *[size] * dims, dtype=torch.double)
    small = prunekit.rebuild(model, x, {"0": [3]})
    assert error(small, model, x) > 0.1
    assert error(prunekit.repair(small, model, {"0": [3]}, [x]), model, x) < 1e-3


@pytest.mark.parametrize("groups", [2, 6])
def test_grouped_and_depthwise_layers_are_fitted_group_by_group(groups):
    torch.manual_seed(0)
    parts = with_a_sum(nn.Conv2d(3, 5, 1)), nn.Conv2d(5, 6, 1), nn.Conv2d(6, 6, 3, groups=groups)
    model = nn.Sequential(*parts, nn.Conv2d(6, 2, 1)).double().eval()
    x = torch.randn(200, 3, 6, 6, dtype=torch.double)
    small = prunekit.rebuild(model, x, {"0": [4]})
    with torch.no_grad():
        small[2].weight.mul_(torch.rand_like(small[2].weight))  # some other harm, to that layer
    repaired = prunekit.repair(small, model, {"0": [4]}, [x])
    assert error(repaired, model, x) < error(small, model, x) / 30


@pytest.mark.parametrize("method", ["least_squares", "moments"])
def test_a_filter_that_is_constant_goes_into_the_bias(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1, bias=False))
    model = model.double().eval()
    with torch.no_grad():
        model[0].weight[2], model[0].bias[2] = 0, 1.5
    x = torch.randn(8, 3, 8, 8, dtype=torch.double)
    small = prunekit.rebuild(model, x, {"0": [2]})
    repaired = prunekit.repair(small, model, {"0": [2]}, [x], method=method)
    torch.testing.assert_close(repaired[2].bias, 1.5 * model[2].weight[:, 2, 0, 0])
    assert error(small, model, x) > 0.1
    assert error(repaired, model, x) < 1e-9


@pytest.mark.parametrize("method", ["least_squares", "moments"])
def test_what_reads_nothing_but_constants_keeps_its_weights(method):
    """There is no slope to be learnt where nothing varies, in float32 neither."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    with torch.no_grad():
        model[0].weight[2:] = 0
        model[0].bias.copy_(torch.tensor([0.1, 0.7, 1000.1, 3.3]))
    x = torch.randn(64, 3, 8, 8)
    small = prunekit.rebuild(model, x, {"0": [0, 1]})
    repaired = prunekit.repair(small, model, {"0": [0, 1]}, [x], method=method)
    torch.testing.assert_close(repaired[2].weight, small[2].weight)
    with torch.inference_mode():
        ours, theirs = (m(x).mean((0, 2, 3)) for m in (repaired, model))
    torch.testing.assert_close(ours, theirs)


def test_inputs_far_from_zero_are_told_apart_in_float32():
    torch.manual_seed(0)
    model = nn.Sequential(with_a_sum(nn.Conv2d(3, 5, 1)), nn.Conv2d(5, 4, 1)).eval()
    with torch.no_grad():
        model[0].bias.add_(300)
    x = torch.randn(400, 3, 6, 6)
    small = prunekit.rebuild(model, x, {"0": [4]})
    repaired = prunekit.repair(small, model, {"0": [4]}, [x])
    assert error(repaired, model, x) < 1e-3


@pytest.mark.parametrize("images", [6, 60], ids=["fewer images than inputs", "more"])
def test_the_ridge_is_a_tenth_of_one_images_variance(images):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 20, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.ReLU())
    model = nn.Sequential(*model, nn.Linear(20, 4)).double().eval()
    x = torch.randn(images, 3, 4, 4, dtype=torch.double)
    small = prunekit.rebuild(model, x, {"0": [0, 1, 2]})
    repaired = prunekit.repair(small, model, {"0": [0, 1, 2]}, [x])
    with torch.no_grad():
        read, lacking = small[:4](x), model(x) - small(x)
    read, lacking = read - read.mean(0), lacking - lacking.mean(0)
    ridge = 0.1 * read.square().sum() / images
    change = torch.linalg.solve(read.T @ read + ridge * torch.eye(17), read.T @ lacking).T
    torch.testing.assert_close(repaired[4].weight, small[4].weight + change, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("method", ["least_squares", "moments"])
def test_transposed_convolutions_are_repaired_by_moments(groups, method):
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(6, 4, 3, stride=2, groups=groups)
    model, x = nn.Sequential(nn.Conv2d(3, 6, 1), up).eval(), torch.randn(8, 3, 8, 8)
    small = prunekit.rebuild(model, x, {"0": [0]})
    with torch.no_grad():
        small[1].weight.mul_(torch.rand(small[1].weight.shape[1]).view(-1, 1, 1) + 0.5)
    repaired = prunekit.repair(small, model, {"0": [0]}, [x], method=method)
    with torch.inference_mode():
        ours, theirs = channel_moments(repaired(x)), channel_moments(model(x))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
