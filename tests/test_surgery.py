"""The first law: removing k filters equals masking them, removing none changes nothing."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import (
    Between,
    Sequences,
    TwoPlaces,
    Volumes,
    random_networks,
    randomise,
    some_of_every_layer,
)
from torch import nn
from torchvision import models

import prunekit
from prunekit.models import TinySqueezeNet

ZOO = {
    "squeezenet1_1": {},
    "alexnet": {"num_classes": 10},
    "vgg11": {"num_classes": 10},
    "vgg11_bn": {"num_classes": 10},
    "resnet18": {},
    "resnet50": {},
    "mobilenet_v2": {},
    "densenet121": {},
    "googlenet": {"init_weights": False},
    "shufflenet_v2_x0_5": {},
}


def relative_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-12)).item()


@settings(max_examples=2 * settings.default.max_examples)
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


@settings(max_examples=settings.default.max_examples // 2)
@given(random_networks())
def test_removing_nothing_changes_nothing(model):
    x = torch.randn(2, 3, 8, 8, dtype=torch.double)
    with torch.inference_mode():
        assert torch.equal(prunekit.rebuild(model, x, {})(x), model(x))
        assert torch.equal(prunekit.mask(model, x, {})(x), model(x))


def check_the_law(model: nn.Module, pixels: int) -> None:
    x = torch.randn(2, 3, pixels, pixels, dtype=torch.double)
    remove = some_of_every_layer(prunekit.trace(model, x), 0.5, seed=1)
    assert any(remove.values())
    small, masked = prunekit.rebuild(model, x, remove), prunekit.mask(model, x, remove)
    with torch.inference_mode():
        assert relative_difference(small(x), masked(x)) < 1e-9
        assert relative_difference(small(x), model(x)) > 1e-6


@pytest.mark.parametrize("name", ZOO)
def test_rebuild_equals_mask_on_known_networks(name):
    torch.manual_seed(0)
    model = randomise(getattr(models, name)(weights=None, **ZOO[name])).double().eval()
    check_the_law(model, 64)


def test_signals_of_one_dimension():
    model, x = Sequences().double().eval(), torch.randn(2, 2, 10, dtype=torch.double)
    assert list(prunekit.trace(model, x).prunable) == ["first"]
    remove = {"first": [0, 4]}
    small, masked = prunekit.rebuild(model, x, remove), prunekit.mask(model, x, remove)
    assert small.second.in_channels == 4
    # A norm gives what it adds to an empty map: its bias, here zero.
    assert relative_difference(small(x), masked(x)) < 1e-9


def test_volumes_with_two_inputs_and_named_outputs():
    model = randomise(Volumes()).double().eval()
    x = torch.randn(2, 1, 4, 4, 4).double(), torch.randn(2, 2, 4, 4, 4).double()
    remove = {"left": [1], "up": [0, 5]}
    small, masked = prunekit.rebuild(model, x, remove)(*x), prunekit.mask(model, x, remove)(*x)
    assert all(relative_difference(small[key], masked[key]) < 1e-9 for key in ("mask", "label"))


def test_a_module_under_two_names_stays_one_module():
    model, x = TwoPlaces().double().eval(), torch.randn(2, 3, 6, 6, dtype=torch.double)
    small, masked = (
        prunekit.rebuild(model, x, {"shared": [1]}),
        prunekit.mask(model, x, {"shared": [1]}),
    )
    assert small.alias is small.shared
    assert (small.stem.out_channels, small.alias.in_channels, small.alias.out_channels) == (5, 5, 5)
    (ours, [second]), (theirs, [other]) = small(x), masked(x)
    assert relative_difference(ours, theirs) < 1e-9
    assert relative_difference(second, other) < 1e-9


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "norm",
    [
        nn.InstanceNorm2d(6),
        nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
        nn.BatchNorm2d(6, affine=False),
        nn.GroupNorm(3, 6, affine=False),
        nn.PReLU(6),
    ],
    ids=lambda norm: str(norm).partition(",")[0],
)
def test_norms_state_the_channels_that_are_left(norm):
    model = nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.Conv2d(6, 2, 3)).double().eval()
    x = torch.randn(2, 3, 8, 8, dtype=torch.double)
    small, masked = prunekit.rebuild(model, x, {"0": [2]}), prunekit.mask(model, x, {"0": [2]})
    assert relative_difference(small(x), masked(x)) < 1e-9
    left = small[0].out_channels
    assert left == (4 if isinstance(norm, nn.GroupNorm) else 5)
    stated = ("num_features", "num_channels", "num_parameters")
    assert [getattr(small[1], name) for name in stated if hasattr(norm, name)] == [left]


def test_one_image_without_a_batch():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6, affine=True), nn.Conv2d(6, 2, 3))
    model, x = model.double().eval(), torch.randn(3, 7, 7, dtype=torch.double)
    small, masked = prunekit.rebuild(model, x, {"0": [2]}), prunekit.mask(model, x, {"0": [2]})
    assert small[1].num_features == 5
    assert relative_difference(small(x), masked(x)) < 1e-9


@pytest.mark.parametrize("given", [True, False])
def test_a_leaf_keeps_its_channels_while_the_rest_is_pruned(given):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.conv(x) if x.mean() > 0 else -x

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), Branching(), nn.Conv2d(4, 2, 1))
    model, x = model.double().eval(), torch.randn(2, 3, 6, 6, dtype=torch.double)
    if given:
        graph = prunekit.trace(model, x, leaves=(Branching,))
        with pytest.raises(prunekit.TraceError, match=r"'2' cannot be traced.*channels\.leaf"):
            prunekit.trace(model, x)  # it was a leaf in that graph alone
    else:
        prunekit.channels.leaf(Branching)
        graph = prunekit.trace(model, x)
    assert list(graph.prunable) == ["0"]
    small = prunekit.rebuild(model, graph if given else x, {"0": [1, 2]})
    masked = prunekit.mask(model, graph if given else x, {"0": [1, 2]})
    assert relative_difference(small(x), masked(x)) < 1e-9


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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_weights_keep_their_layout_in_memory(layout):
    model = TinySqueezeNet().to(memory_format=layout).eval()
    x, remove = torch.zeros(1, 3, 32, 32), {"features.0": [1], "features.2.squeeze": [0]}
    small = prunekit.rebuild(model, x, remove)
    cut = [
        (old, new)
        for old, new in zip(model.parameters(), small.parameters(), strict=True)
        if old.shape != new.shape and old.dim() == 4
    ]
    assert {old.shape[2] for old, _ in cut} == {1, 3}
    for old, new in cut:
        assert new.is_contiguous(memory_format=layout)
        assert sorted(range(4), key=new.stride) == sorted(range(4), key=old.stride)


def test_the_law_holds_in_half_precision():
    model = randomise(TinySqueezeNet()).to(torch.bfloat16).eval()
    x, remove = torch.randn(2, 3, 32, 32, dtype=torch.bfloat16), {"features.0": [1, 7]}
    small, masked = prunekit.rebuild(model, x, remove), prunekit.mask(model, x, remove)
    with torch.inference_mode():
        assert relative_difference(small(x), masked(x)) < 2**-5  # bfloat16 keeps 8 binary digits


def test_tensors_stay_on_their_device():
    """Shown on the device without data. Inputs may be elsewhere: only their shapes count."""
    with torch.device("meta"):
        model = TinySqueezeNet().eval()
    x, remove = torch.zeros(1, 3, 32, 32), {"features.0": [1]}
    for result in (prunekit.rebuild(model, x, remove), prunekit.mask(model, x, remove)):
        assert {tensor.device.type for tensor in result.state_dict().values()} == {"meta"}


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


def test_a_tensor_made_in_the_forward_pass_keeps_the_channels_it_meets():
    model = Between(lambda x: x * torch.linspace(0, 1, 8).view(8, 1, 1)).eval()
    x, remove = torch.randn(2, 3, 8, 8), {"second": [1, 2]}
    assert list(prunekit.trace(model, x).prunable) == ["second"]
    small, masked = prunekit.rebuild(model, x, remove), prunekit.mask(model, x, remove)
    torch.testing.assert_close(small(x), masked(x))
    batch = x, torch.zeros(2, 8, 8, dtype=torch.long)
    assert set(prunekit.rank(model, [batch], "taylor")["layer"]) == {"second"}


def test_a_channel_divided_by_its_own_length_is_nan_in_the_masked_network_only():
    model = Between(lambda x: x / x.norm(dim=(2, 3), keepdim=True)).eval()
    model.first.bias = None
    x, remove = torch.randn(2, 3, 8, 8), {"first": [1]}
    small = prunekit.rebuild(model, x, remove)
    assert prunekit.mask(model, x, remove)(x).isnan().all()
    with torch.no_grad():  # as if the channel were nothing, and not 0 / 0
        model.second.weight[:, 1] = 0
    torch.testing.assert_close(small(x), model(x))


def test_tied_weights_stay_tied():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), *model)
    model[3].weight = model[1].weight
    small = prunekit.rebuild(model, torch.zeros(1, 3, 8, 8), {"1": [2]})
    assert small[3].weight is small[1].weight
    assert small[3].weight.shape == (3, 3, 1, 1)
