"""What the tracer knows can be saved; what cannot be saved is named before anything is written."""

from __future__ import annotations

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils import parametrizations
from torchvision.models import convnext, swin_transformer
from torchvision.ops import stochastic_depth

import prunekit
from prunekit.channels import leaf, moves, rules
from prunekit.storage import known

TABLES = {
    name: table
    for name, table in (vars(rules) | vars(moves)).items()
    if name.isupper() and name not in ("ATTRIBUTES", "OF_TENSORS", "F")
}
EXCEPTIONS = [
    # torch.fx records these under other names: methods.
    *(torch.Tensor.add, torch.Tensor.sub, torch.Tensor.mul, F.sigmoid, F.tanh),
    *(torch.Tensor.add_, torch.Tensor.sub_, torch.Tensor.mul_),
    # torch.fx by itself has none of these: test_channels_in_place.py saves them.
    *(operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow),
    *(operator.imod, operator.ifloordiv, operator.iand, operator.ior, operator.ixor),
    *(operator.ilshift, operator.irshift, operator.setitem),
    # Only torchvision's own networks call these: NETWORKS has them.
    *(swin_transformer.shifted_window_attention, swin_transformer._get_relative_position_bias),
    *(swin_transformer._patch_merging_pad, stochastic_depth),
]


def round_trip(model, folder):
    prunekit.save(model, folder / "model.safetensors")
    return prunekit.load(folder / "model.safetensors")


class Calls(nn.Module):
    """One operation, with the first arguments it takes."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def forward(self, x):
        args = [
            (x,),
            (x, x),
            (x, 2),
            (x, 0, 1),
            (x, 0, 0, 1),
            (x, [1, 1], 0.5),
            (x, x, x),
            ([x, x],),
        ]
        if self.operation is torch.einsum:
            args = [("ij->ji", x)]
        for given in args:
            try:
                if isinstance(self.operation, str):
                    return getattr(x, self.operation)(*given[1:])
                return self.operation(*given)
            except TypeError:
                continue
        raise AssertionError(f"find arguments for {self.operation}")


def called(model):
    return [node.target for node in fx.symbolic_trace(model).graph.nodes if "call" in node.op]


def test_attributes_that_tracing_knows_are_saved():
    assert rules.OF_TENSORS <= known.ATTRIBUTES


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_whatever_tracing_knows_is_saved(tmp_path, table):
    for entry in table:
        if entry not in EXCEPTIONS:
            model = Calls(entry)
            assert entry in called(model)
            assert called(round_trip(model, tmp_path)) == called(model)


class Parts(nn.Module):
    """A convolution and then what a test is about."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.then = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.then(self, self.conv(x))


class OwnLinear(nn.Linear):
    """Of a class that no file can name, but whose forward is an operation."""


class OwnConvolution(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(
            F.pad(x, [1] * 4, value=-float("inf")).clamp(-1), self.weight, None
        )


NETWORKS = {
    "sine": Parts(lambda _, y: torch.sin(y)),
    "where": Parts(lambda _, y: torch.where(y > 0, y, 0.1 * y)),
    "functional": Parts(lambda _, y: F.linear(y.mean((2, 3)), y.new_ones(2, 8))),
    "own linear": Parts(lambda net, y: net.last(y.mean((2, 3))), last=OwnLinear(8, 3)),
    "own convolution": Parts(lambda net, y: net.last(y), last=OwnConvolution(8, 3, 3)),
    "deviation": Parts(lambda _, y: y.std((2, 3))),
    "maximum": Parts(lambda _, y: y.max(dim=1)[0] + torch.min(y, 1).values),
    "constant": Parts(lambda _, y: y * torch.arange(8).view(1, 8, 1, 1)),
    "device": Parts(lambda _, y: y + torch.ones(1, device=y.device, dtype=y.dtype)),
    "layout": Parts(lambda _, y: y.contiguous(memory_format=torch.channels_last)),
    "power": Parts(lambda _, y: torch.pow(-2, y.round())),
    "group": Parts(lambda net, y: net.norm(y), norm=nn.GroupNorm(2, 8)),
    "attention": Parts(
        lambda net, y: net.mix(*[y.flatten(2).transpose(1, 2)] * 3)[0],
        mix=nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True),
    ),
    "odd names": Parts(
        lambda net, y: net.get_submodule("3x3-größe")(y), **{"3x3-größe": nn.Conv2d(8, 2, 1)}
    ),
    "swin": swin_transformer.SwinTransformer([4, 4], 8, [1, 2], [1, 2], [2, 2], num_classes=3),
    "swin v2": swin_transformer.SwinTransformer(
        *([4, 4], 8, [1, 2], [1, 2], [2, 2]),
        num_classes=3,
        block=swin_transformer.SwinTransformerBlockV2,
        downsample_layer=swin_transformer.PatchMergingV2,
    ),
    "convnext": convnext.ConvNeXt(
        [convnext.CNBlockConfig(4, 8, 2), convnext.CNBlockConfig(8, None, 1)]
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_many_kinds_are_saved(tmp_path, name):
    torch.manual_seed(0)
    model, x = NETWORKS[name].eval(), torch.randn(2, 3, 16, 16)
    loaded = round_trip(model, tmp_path)
    with torch.inference_mode():
        assert torch.allclose(loaded(x), model(x), atol=1e-6)
        assert torch.allclose(round_trip(loaded, tmp_path)(x), model(x), atol=1e-6)


DRAWN = {
    "of a size": lambda net, y: y + torch.randn(1, 8, 1, 1),
    "of a size of the inputs": lambda net, y: y + torch.rand(y.shape[0], 8, 1, 1),
    "whole numbers": lambda net, y: y + torch.randint(0, 99, (1, 8, 1, 1)),
    "an order": lambda net, y: y[:, torch.randperm(8)],
    "of a mean": lambda net, y: y + torch.normal(0.0, 1.0, (1, 8, 1, 1)),
    "by chances": lambda net, y: y * torch.bernoulli(torch.full((1, 8, 16, 16), 0.5)),
    "like a constant": lambda net, y: y + torch.randn_like(torch.zeros(1, 8, 1, 1)),
    "in place": lambda net, y: y + torch.empty(1, 8, 1, 1).normal_(),
}


@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize("drawn", DRAWN)
def test_random_numbers_are_drawn_anew_in_each_pass(tmp_path, drawn, sized):
    """And saving draws none of them."""
    torch.manual_seed(0)
    model, x = Parts(DRAWN[drawn]).eval(), torch.randn(2, 3, 16, 16)
    before = torch.get_rng_state()
    prunekit.save(model, tmp_path / "model", example_inputs=x if sized else None)
    assert torch.equal(torch.get_rng_state(), before)
    loaded = prunekit.load(tmp_path / "model")
    torch.manual_seed(1)
    mine = model(x)
    torch.manual_seed(1)
    torch.testing.assert_close(loaded(x), mine)
    assert not torch.equal(loaded(x), mine)
    assert prunekit.trace(model, x).layers["conv"].filters == 8
    again = round_trip(loaded, tmp_path)
    assert not torch.equal(again(x), again(x))


@leaf
class Own(nn.Module):
    def forward(self, x):
        return x if x.mean() > 0 else -x


class Misnamed(nn.Module):
    def __init__(self):
        super().__init__()
        self.graph = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.graph(x)


REFUSED = {
    "operation": (Parts(lambda _, y: torch.linalg.svd(y)), "forward calls .*svd"),
    "method": (Parts(lambda _, y: y.cauchy_()), "forward calls cauchy_"),
    "in a part": (
        nn.Sequential(Parts(lambda _, y: y.logdet())),
        r"module '0' \(Parts\) calls logdet",
    ),
    "leaf": (Parts(lambda net, y: net.own(y), own=Own()), r"'own' is a .*\.Own"),
    "layer": (
        Parts(lambda net, y: net.cell(y[0, 0]), cell=nn.RNNCell(16, 4)),
        "'cell' is a .*RNNCell",
    ),
    "attribute": (Parts(lambda _, y: y.grad_fn), "'grad_fn'"),
    "value": (Parts(lambda _, y: y.to(torch.device("cpu"))), "'cpu'.*cannot be put"),
    "key": (Parts(lambda _, y: {1: y}), "output.*cannot be put"),
    "name": (Misnamed(), "'graph' already means something else"),
    "power": (Parts(lambda _, y: (-2) ** y), r"torch\.pow"),
    "no data": (Parts(lambda _, y: y).to("meta"), r"'conv\.weight'.*without data"),
    "numbers": (Parts(lambda _, y: y * torch.tensor([1], dtype=torch.complex128)), "complex128"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_file_can_hold_is_named_and_nothing_written(tmp_path, name):
    model, said = REFUSED[name]
    with pytest.raises(ValueError, match=f"cannot be saved: .*{said}.*state_dict"):
        prunekit.save(model, tmp_path / "sub" / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_weight_that_is_computed_is_refused_with_what_to_do(tmp_path):
    model = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 3, 1)))
    with pytest.raises(prunekit.TraceError, match=r"call .*remove_parametrizations"):
        prunekit.save(model, tmp_path / "sub" / "model.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize("place", ["", "0", "0.0"])
def test_a_hook_is_refused_until_it_is_removed(tmp_path, kind, place):
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1)), nn.ReLU())
    hook = getattr(model.get_submodule(place), kind)(lambda *_: None)
    with pytest.raises(ValueError, match=r"cannot be saved: .* has a forward hook.* remove\(\)"):
        prunekit.save(model, tmp_path / "sub" / "model.safetensors")
    assert not list(tmp_path.iterdir())
    hook.remove()
    assert round_trip(model, tmp_path)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("computed", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_a_hook_of_torch_is_refused_by_what_it_does(tmp_path, computed):
    model = computed(nn.Conv2d(3, 3, 1))
    with pytest.raises(prunekit.TraceError, match=r"norm: call torch\.nn\.utils\.remove_"):
        prunekit.save(model, tmp_path / "sub" / "model.safetensors")
