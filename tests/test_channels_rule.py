"""A rule for a layer of one's own: a few lines, and the layer keeps the first law."""

import pytest
import torch
from test_channels_sizes import X, check
from torch import nn

import prunekit
from prunekit.channels import rule


class Around(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.first, self.layer, self.last = nn.Conv2d(3, 8, 1), layer, nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.last(self.layer(self.first(x)))


def branching() -> type[nn.Module]:
    """A class of layers that tracing cannot look into."""

    class Branching(nn.Module):
        def forward(self, x):
            return x if x.is_meta or x.abs().max() > 0 else x + 1

    return Branching


def test_a_layer_that_leaves_channels_alone():
    own = rule(branching(), like=nn.ReLU)
    check(Around(own()), X, {"first": 8})


def test_a_layer_whose_channels_depend_on_one_another():
    own = rule(branching(), like=nn.Softmax2d)
    check(Around(own()), X, {})


def test_a_layer_that_makes_filters():
    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.narrow = 8, 8
            self.matrix = nn.Parameter(torch.randn(8, 8))

        def forward(self, x):
            assert x.shape[1] == self.narrow and len(self.matrix) == self.wide
            return torch.einsum("oc,bchw->bohw", self.matrix, x)

    sides = {"wide": "outputs", "narrow": "inputs"}
    cut = {"matrix": ["outputs", "inputs"]}
    rule(Mixer, like=nn.Conv2d, filters="wide", cut=cut, sizes=sides)
    check(Around(Mixer()), X, {"first": 8, "layer": 8})


def test_a_file_cannot_hold_it(tmp_path):
    own = rule(branching(), like=nn.ReLU)
    with pytest.raises(ValueError, match=r"'layer' is a .*Branching, which a model file"):
        prunekit.save(Around(own()), tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("layer", "like", "says", "error", "message"),
    [
        ("Gain", nn.ReLU, {}, TypeError, "a class of modules, not 'Gain'"),
        (nn.Module(), nn.ReLU, {}, TypeError, "a class of modules"),
        (branching(), nn.Bilinear, {}, ValueError, "no rule for .*Bilinear"),
        (branching(), "ReLU", {}, ValueError, "no rule for 'ReLU'"),
        (branching(), nn.BatchNorm2d, {"sizes": {"n": "filters"}}, ValueError, "not 'filters'"),
        (branching(), nn.GLU, {"cut": {"gain": ["outputs"]}}, ValueError, "of GLU .*over cut: "),
        (branching(), nn.ReLU, {"sizes": {"n": "outputs"}}, ValueError, "of ReLU .*over sizes: "),
        (branching(), nn.ReLU, {"size": {}}, TypeError, "size"),
    ],
)
def test_what_says_nothing_is_refused(layer, like, says, error, message):
    with pytest.raises(error, match=message):
        rule(layer, like, **says)
