"""A file's layers and weights come back in an object of the user's own class."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from networks import TwoPlaces, randomise, some_of_every_layer
from storage_files import read, write
from torch import Tensor, nn
from torchvision import models

import prunekit
from prunekit import load, rebuild, save, trace

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class SameConv2d(nn.Conv2d):
    """Pads as TensorFlow does, and so is no layer that a graph calls."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 1, 0, 1))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class NormAct(nn.BatchNorm2d):
    """A batch norm with an activation, as timm's."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)
        return F.silu(x)


class Own(nn.Module):
    """Every way in which a network may hold a tensor that is cut."""

    def __init__(self, width: int = 8, act: type[nn.Module] = nn.ReLU, stride: int = 1) -> None:
        super().__init__()
        self.stem = SameConv2d(3, width, 2)
        self.norm, self.act = NormAct(width), act()
        self.depthwise = SameConv2d(width, width, 2, groups=width)
        self.conv = nn.Conv2d(width, width, 1, stride, bias=False)
        self.tied = nn.Conv2d(width, width, 1, bias=False)
        self.tied.weight = self.conv.weight
        self.scale = nn.Parameter(torch.rand(width, 1, 1))
        self.register_buffer("shift", torch.rand(width, 1, 1), persistent=False)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.depthwise(self.norm(self.stem(x))))
        x = self.tied(F.relu(self.conv(x))) * self.scale + self.shift
        return self.head(x.mean((2, 3)))

    def classes(self, x: Tensor) -> list[int]:
        return self(x).argmax(1).tolist()


def pruned(model: nn.Module, x: Tensor = X) -> nn.Module:
    graph = trace(model, x)
    return rebuild(model, graph, some_of_every_layer(graph, 0.7, seed=1)).eval()


def own(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return randomise(Own(**options)).eval()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "small.safetensors"
    save(pruned(own()), path, {"classes": ["a", "b"]})
    return path


@pytest.mark.parametrize(
    "make",
    [
        Own,
        TwoPlaces,
        partial(models.resnet18, num_classes=7),
        models.mobilenet_v2,
        models.shufflenet_v2_x0_5,
        partial(models.googlenet, aux_logits=False, init_weights=False),
    ],
    ids=["own", "two_places", "resnet18", "mobilenet_v2", "shufflenet", "googlenet"],
)
def test_an_object_is_filled_with_a_pruned_network(make, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 64, 64)
    small = pruned(randomise(make()), x)
    save(small, tmp_path / "small.safetensors", example_inputs=x)
    mine = make().train()
    assert load(tmp_path / "small.safetensors", into=mine) is mine and not mine.training
    with torch.inference_mode():
        torch.testing.assert_close(mine(x), small(x), rtol=0, atol=0)
    for name, module in small.named_modules():
        stated = {k: v for k, v in vars(module).items() if isinstance(v, int)}
        assert {k: v for k, v in vars(mine.get_submodule(name)).items() if k in stated} == stated
    again, smaller = pruned(mine, x), pruned(small, x)
    with torch.inference_mode():
        torch.testing.assert_close(again(x), smaller(x), rtol=0, atol=0)


def test_its_methods_ties_metadata_and_frozen_parameters_are_there(path):
    mine = own()
    mine.head.weight.requires_grad_(False)
    load(path, into=mine)
    assert len(mine.classes(X)) == 2 and mine.metadata == {"classes": ["a", "b"]}
    assert mine.tied.weight is mine.conv.weight
    trained = {name for name, one in mine.named_parameters() if one.requires_grad}
    assert trained == set(dict(mine.named_parameters())) - {"head.weight"}
    assert len(mine.scale) == mine.norm.num_features == mine.depthwise.groups < 8
    mine.train()(X).sum().backward()
    assert mine.stem.weight.grad.shape == mine.stem.weight.shape


def test_a_wider_or_narrower_object_will_do(path):
    for width in (2, 20):
        assert torch.equal(load(path, into=own(width=width))(X), load(path)(X))


def test_a_bias_that_a_repair_put_in_comes_too(tmp_path):
    model = own()
    model.conv.bias = nn.Parameter(torch.rand(8))
    save(model, tmp_path / "model.safetensors")
    mine = load(tmp_path / "model.safetensors", into=own())
    assert torch.equal(mine(X), model(X)) and mine.conv.bias is not None


class Helped(Own):
    """Has parts that run in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.helper = nn.Linear(8, 2)


def without(name: str) -> Own:
    model = Own()
    delattr(model, name)
    return model


def kernel_of_three() -> Own:
    model = Own()
    model.stem = SameConv2d(3, 8, 3)
    return model


OTHERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "another class": (partial(models.resnet18, num_classes=4), "the object has n"),
    "activation": (partial(Own, act=nn.GELU), "layer 'act' is a ReLU in the file, not a GELU"),
    "setting": (partial(Own, stride=2), r"layer 'conv' has stride .* in the file, not"),
    "kernel": (kernel_of_three, r"'stem\.weight' is of shape .* cannot be cut from \(8, 3, 3, 3\)"),
    "layer too many": (Helped, r"a parameter 'helper\.weight' and 1 more that the file does not"),
    "layer missing": (partial(without, "conv"), "a layer 'conv', and the object has none"),
    "parameter missing": (partial(without, "scale"), "a tensor 'scale', and the object has none"),
    "no network": (nn.Identity, "the object has none"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_object_that_does_not_fit_is_refused_and_left_as_it_was(path, name):
    make, message = OTHERS[name]
    mine = make().train()
    before = copy.deepcopy(mine)
    with pytest.raises(ValueError, match=message) as raised:
        load(path, into=mine)
    assert f"{path} cannot be loaded into {type(mine).__name__}: " in str(raised.value)
    assert str(mine) == str(before) and mine.training and not hasattr(mine, "metadata")
    torch.testing.assert_close(mine.state_dict(), before.state_dict(), rtol=0, atol=0)


def test_wrapped_objects_and_classes_are_refused(path):
    with pytest.raises(prunekit.TraceError, match="DataParallel"):
        load(path, into=nn.DataParallel(own()))
    with pytest.raises(TypeError, match=r"into must be a torch\.nn\.Module, not the class Own"):
        load(path, into=Own)


@pytest.mark.parametrize(
    "sizes",
    [
        {"stem": {"in_channels": 3, "out_channels": 5, "forward": 1}},
        {"stem": {"in_channels": 3, "out_channels": 5, "groups": -1}},
        {"stem": {"in_channels": 3, "out_channels": 5, "groups": True}},
        {"nowhere": {"groups": 1}},
        ["stem"],
        {},
    ],
)
def test_sizes_that_no_layer_states_are_refused(path, sizes):
    words, tensors = read(path)
    assert words["sizes"].keys() == {"stem", "norm", "depthwise"}
    write(path, words | {"sizes": sizes}, tensors)
    mine = own()
    with pytest.raises(ValueError, match="cannot be loaded into Own"):
        load(path, into=mine)
    assert mine.stem.out_channels == 8
    load(path)  # without an object they are not looked at


def test_files_of_earlier_versions_fill_layers_that_say_their_sizes(path, tmp_path):
    words, tensors = read(path)
    del words["sizes"]
    write(path, words, tensors)
    with pytest.raises(ValueError, match=r"does not say the sizes of 'stem'.* without into"):
        load(path, into=own())
    small = pruned(models.squeezenet1_1(num_classes=3), torch.zeros(1, 3, 64, 64))
    save(small, tmp_path / "early.safetensors")
    words, tensors = read(tmp_path / "early.safetensors")
    del words["sizes"]
    write(tmp_path / "early.safetensors", words, tensors)
    mine = load(tmp_path / "early.safetensors", into=models.squeezenet1_1(num_classes=3))
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(mine(x), small(x), rtol=0, atol=0)


class DropsByFunction(nn.Module):
    """Dropout as a function, and as a layer."""

    def __init__(self, layer: bool) -> None:
        super().__init__()
        self.layer = nn.Dropout() if layer else nn.Identity()

    def forward(self, x):
        return self.layer(F.dropout(x, 0.5, self.training and isinstance(self.layer, nn.Identity)))


@pytest.mark.parametrize(("layer", "into"), [(True, False), (True, True), (False, True)])
def test_dropout_is_trained_with_as_a_layer_and_by_the_class(layer, into, tmp_path):
    prunekit.save(DropsByFunction(layer), tmp_path / "drops.safetensors")
    given = {"into": DropsByFunction(layer)} if into else {}
    model, x = prunekit.load(tmp_path / "drops.safetensors", **given), torch.ones(100)
    assert torch.equal(model(x), x)
    assert not torch.equal(model.train()(x), x)
