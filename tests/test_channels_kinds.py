"""Every kind of layer in the table keeps the first law, and a model file holds it."""

import json

import pytest
import torch
from networks import randomise, some_of_every_layer
from test_surgery import relative_difference
from torch import nn
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

import prunekit
from prunekit.channels.kinds import ATTENTION, KINDS, kind_of
from prunekit.storage.layers import build_layer, describe_layer

CHANNELS, PIXELS = 8, 8
TRIED = [(), (2,), (CHANNELS,), (2, 2), (2, CHANNELS), (CHANNELS, 4), (CHANNELS, 4, 1), (1, 0.5)]
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
ARGUMENTS = {
    nn.PReLU: (CHANNELS,),
    **dict.fromkeys((nn.Softmax, nn.Softmin, nn.LogSoftmax), (-1,)),
    nn.Unflatten: (1, (2, 4)),
    nn.Bilinear: (2, 2, 2),
    **dict.fromkeys(INSTANCE_NORMS, (CHANNELS, 1e-5, 0.1, True, True)),
}
# They take or give no maps: tests of their own are in test_channels_functions.py.
SEQUENCES = {nn.LSTM, nn.GRU, nn.RNN, nn.Embedding, nn.Unfold, nn.Fold, nn.Unflatten}
LABELLED = [
    known
    for known, kind in KINDS.items()
    if kind.carry and kind is not ATTENTION and known not in SEQUENCES
]
MIXING = (nn.Softmax2d, nn.LocalResponseNorm, nn.CrossMapLRN2d)


def layers(known):
    """Layers of some class, for each of the arguments that it takes."""
    for args in [ARGUMENTS[known]] if known in ARGUMENTS else TRIED:
        try:
            yield known(*args).eval()
        except (TypeError, ValueError):
            continue


class Around(nn.Module):
    """A layer between two that have filters; the second reads whatever it gives."""

    def __init__(self, layer):
        super().__init__()
        name = type(layer).__name__
        dims = int(name[-2]) if name[-2:] in ("1d", "3d") else 2
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        self.example = torch.randn(2, 3, *[PIXELS] * dims)
        self.before, self.layer = convolution(3, CHANNELS, 1), layer
        with torch.no_grad():
            maps = layer(self.before(self.example))
        reader = nn.Linear if maps.dim() == 2 else convolution
        self.after = reader(maps.shape[1], 2, 1)

    def forward(self, x):
        return self.after(self.layer(self.before(x)))


def network_around(known):
    for layer in layers(known):
        try:
            return randomise(Around(layer)).double().eval()
        except (RuntimeError, ValueError):  # arguments that do not suit the maps
            continue
    raise AssertionError(f"find arguments for {known}")


def named(known):
    return known.__name__


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
@pytest.mark.parametrize("known", LABELLED, ids=named)
def test_rebuild_equals_mask(tmp_path, known):
    torch.manual_seed(0)
    model = network_around(known)
    x = model.example.double()
    graph = prunekit.trace(model, x)
    assert ("before" in graph.prunable) == (known not in MIXING)
    remove = some_of_every_layer(graph, 0.5, seed=1)
    small, masked = prunekit.rebuild(model, x, remove), prunekit.mask(model, x, remove)
    with torch.inference_mode():
        assert relative_difference(small(x), masked(x)) < 1e-9
        prunekit.save(small, tmp_path / "small.safetensors")
        loaded = prunekit.load(tmp_path / "small.safetensors")
        assert relative_difference(loaded(x), small(x)) < 1e-12


@pytest.mark.parametrize("known", KINDS, ids=named)
def test_a_file_says_how_a_layer_is_made(known):
    layer = next(layers(known))
    again = build_layer("0", json.loads(json.dumps(describe_layer("0", layer))))
    assert type(again) is known and repr(again) == repr(layer)
    assert all(tensor.is_meta for tensor in again.state_dict().values())


def test_what_is_true_of_a_kind_is_true_of_its_subclasses():
    class Own(nn.ConvTranspose2d):
        pass

    assert kind_of(Own(1, 1, 1)) is kind_of(nn.ConvTranspose1d(1, 1, 1))
    assert kind_of(nn.Module()).classes == ()


def frozen(model):
    """With other statistics in each frozen batch norm than those it begins with."""
    for norm in model.modules():
        if isinstance(norm, FrozenBatchNorm2d):
            for buffer in norm.buffers():
                buffer.uniform_(0.5, 1.5)
    return model.double().eval()


def test_a_backbone_with_frozen_batch_norms_is_pruned(tmp_path):
    torch.manual_seed(0)
    model, x = frozen(resnet18(norm_layer=FrozenBatchNorm2d)), torch.randn(1, 3, 32, 32).double()
    assert prunekit.profile(model, x).macs == prunekit.profile(resnet18().double(), x).macs
    graph = prunekit.trace(model, x)
    assert graph.prunable.keys() == prunekit.trace(resnet18(), x).prunable.keys()
    remove = some_of_every_layer(graph, 0.3, seed=1)
    small, masked = prunekit.rebuild(model, x, remove), prunekit.mask(model, x, remove)
    prunekit.save(small, tmp_path / "small.safetensors")
    with torch.inference_mode():
        assert relative_difference(small(x), masked(x)) < 1e-9
        loaded = prunekit.load(tmp_path / "small.safetensors")
        assert relative_difference(loaded(x), small(x)) < 1e-12


def test_a_frozen_batch_norm_makes_a_batch_of_one_image():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), FrozenBatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    model, x = frozen(model), torch.randn(3, 8, 8).double()
    small, masked = prunekit.rebuild(model, x, {"0": [2]}), prunekit.mask(model, x, {"0": [2]})
    assert len(small[1].running_mean) == 7
    assert relative_difference(small(x), masked(x)) < 1e-9
