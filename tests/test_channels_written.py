"""Layers written out as functions, some of weights that are computed first, and the first law."""

import pytest
import torch
import torch.nn.functional as F
from test_channels_sizes import X, check
from torch import nn

import prunekit


class Written(nn.Module):
    """A change between two convolutions that is made with a layer's tensors."""

    def __init__(self, change, **layers) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.change = change

    def forward(self, x):
        return self.last(self.change(self, self.first(x)))


class SamePadding(nn.Conv2d):
    """As in TensorFlow: the width of the border depends on the size of the picture."""

    def forward(self, x):
        (height, width), kernel = x.shape[-2:], self.weight.shape[-2:]
        rows = max((height - 1) % self.stride[0] + kernel[0] - self.stride[0], 0)
        columns = max(kernel[1] - (width % self.stride[1] or self.stride[1]), 0)
        if rows > 0 or columns > 0:
            x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Standardised(nn.Conv2d):
    """Its weights have mean 0 and variance 1 for each filter, over all channels that it reads."""

    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class NormThenAct(nn.BatchNorm2d):
    def forward(self, x):
        torch._assert(x.ndim == 4, "four dimensions")
        x = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)
        return F.relu(x)


def centred(weight):
    deviation = weight.std((1, 2, 3), keepdim=True) + 1e-5
    return (weight - weight.mean((1, 2, 3), keepdim=True)) / deviation


def by_hand(model, x):
    weight, bias = model.inner.weight, model.inner.bias
    return F.linear(x.movedim(1, -1), weight, bias).movedim(-1, 1)


# What a layer's tensors are used for, the layers, and in how many groups filters can go.
WRITTEN = {
    "same padding": (
        Written(lambda m, x: m.inner(x), inner=SamePadding(8, 8, 3, 2)),
        {"first": 8, "inner": 8},
    ),
    "same padding, depthwise": (
        Written(lambda m, x: m.inner(x), inner=SamePadding(8, 8, 3, groups=8)),
        {"first": 8, "inner": 8},
    ),
    "standardised weights": (
        Written(lambda m, x: m.inner(x), inner=Standardised(8, 8, 1)),
        {"inner": 8},
    ),
    "standardised weights, depthwise": (
        Written(lambda m, x: m.inner(x), inner=Standardised(8, 8, 3, groups=8)),
        {"first": 8, "inner": 8},
    ),
    "standardised weights, in groups": (
        Written(lambda m, x: m.inner(x), inner=Standardised(8, 8, 3, groups=4)),
        {"first": 4, "inner": 4},
    ),
    "weights centred by hand": (
        Written(
            lambda m, x: F.conv2d(x, centred(m.inner.weight), m.inner.bias),
            inner=nn.Conv2d(8, 8, 3),
        ),
        {"inner": 8},
    ),
    "weights divided by a sum of all": (
        Written(
            lambda m, x: F.conv2d(x, m.inner.weight / m.inner.weight.sum(), m.inner.bias),
            inner=nn.Conv2d(8, 8, 1),
        ),
        {},
    ),
    "weights transposed": (
        Written(
            lambda m, x: F.conv2d(x, m.inner.weight.transpose(0, 1), m.inner.bias),
            inner=nn.Conv2d(8, 8, 1),
        ),
        {"inner": 1},
    ),
    "weights added to those of another": (
        Written(
            lambda m, x: F.conv2d(x, m.inner.weight + m.other.weight, m.inner.bias),
            inner=nn.Conv2d(8, 8, 1),
            other=nn.Conv2d(8, 8, 1),
        ),
        {},
    ),
    "weights used, and no call": (
        Written(
            lambda m, x: x.detach() + (m.inner.weight * 2).mean((1, 2, 3)).view(-1, 1, 1),
            inner=nn.Conv2d(5, 8, 3),
        ),
        {"first": 8, "inner": 8},
    ),
    "batch norm": (Written(lambda m, x: m.inner(x), inner=NormThenAct(8)), {"first": 8}),
    "linear": (Written(by_hand, inner=nn.Linear(8, 8)), {"first": 8, "inner": 8}),
    "transposed": (
        Written(
            lambda m, x: F.conv_transpose2d(x, m.inner.weight, m.inner.bias),
            inner=nn.ConvTranspose2d(8, 8, 1),
        ),
        {"first": 8, "inner": 8},
    ),
    "group norm": (
        Written(
            lambda m, x: F.group_norm(x, m.inner.num_groups, m.inner.weight, m.inner.bias),
            inner=nn.GroupNorm(4, 8),
        ),
        {"first": 4},
    ),
    "of other groups than it says": (
        Written(
            lambda m, x: F.group_norm(x, 2, m.inner.weight, m.inner.bias), inner=nn.GroupNorm(4, 8)
        ),
        {},
    ),
    "without the groups that it states": (
        Written(
            lambda m, x: F.conv2d(x[:, :4], m.inner.weight), inner=nn.Conv2d(8, 8, 1, groups=2)
        ),
        {},
    ),
    "groups that the code counts": (
        Written(
            lambda m, x: F.conv2d(x, m.inner.weight, m.inner.bias, groups=8),
            inner=nn.Conv2d(8, 8, 3, groups=8),
        ),
        {},
    ),
    "prelu": (Written(lambda m, x: F.prelu(x, m.inner.weight), inner=nn.PReLU(8)), {"first": 8}),
    "weights read beside": (
        Written(lambda m, x: m.inner(x) * m.inner.weight.abs().mean(), inner=nn.Conv2d(8, 8, 1)),
        {},
    ),
    "sizes of parts": (
        Written(
            lambda m, x: sum(
                torch.split(
                    torch.cat([m.left(x), m.right(x)], 1),
                    [m.left.out_channels, m.right.out_channels],
                    1,
                )
            ),
            left=nn.Conv2d(8, 8, 1),
            right=nn.Conv2d(8, 8, 1),
        ),
        {"first": 8, "left": 8, "right": 8},
    ),
    "a size of a view": (
        Written(
            lambda m, x: m.inner(x).view(-1, m.inner.out_channels, 36).view(x.shape),
            inner=nn.Conv2d(8, 8, 1),
        ),
        {"first": 8, "inner": 8},
    ),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_layer_written_as_a_function_is_that_layer(kind):
    torch.manual_seed(0)
    check(*(WRITTEN[kind][0], X, WRITTEN[kind][1]))


def test_code_made_of_a_graph_does_not_spoil_later_traces():
    """torch.fx keeps in one list what the code of any graph asks it to wrap."""
    model = Written(
        lambda m, x: F.conv2d(x, m.inner.weight) + torch.zeros(1), inner=nn.Conv2d(8, 8, 1)
    )
    graph = prunekit.trace(model, X.float())
    torch.testing.assert_close(graph.bound_to(model)(X.float()), model(X.float()))
    assert prunekit.trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), X.float()).prunable
