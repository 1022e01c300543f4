"""Operations and layers as functions: in how many groups channels can go, and the first law."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from networks import Between
from test_channels_sizes import X, check
from torch import nn

import prunekit

PLACES = torch.tensor([0, 2, 1, 5, 4, 3])

# What is done to 8 channels of 6 times 6 pixels, and in how many groups they can still go.
FREE = {
    "a batch norm without numbers": (lambda x: F.batch_norm(x, None, None, training=True), 8),
    "an instance norm": (lambda x: F.instance_norm(x), 8),
    "a layer norm over rows": (lambda x: F.layer_norm(x, [6]), 8),
    "rows rolled": (lambda x: torch.roll(x, (1, 2), (2, 3)), 8),
    "a softmax over a row": (lambda x: x.softmax(-1) * F.softmax(x, dim=2), 8),
    "rows of length 1": (lambda x: F.normalize(x, dim=-1), 8),
    "a sorted row": (lambda x: torch.sort(x, dim=-1).values, 8),
    "a running sum": (lambda x: x.cumsum(3), 8),
    "the largest of a row": (lambda x: torch.max(x, dim=3, keepdim=True).values * x, 8),
    "the larger of two": (lambda x: torch.max(x, x.square()).min(-x), 8),
    "deviations": (lambda x: x / (1 + x.std((2, 3), keepdim=True) + x.var(3, keepdim=True)), 8),
    "a length by hand": (lambda x: x * (x.square().sum((2, 3), keepdim=True) + 1).rsqrt(), 8),
    "a length": (lambda x: x / (1 + x.norm(2, (2, 3), keepdim=True)), 8),
    "zeros and ones like it": (lambda x: torch.where(x > 0, torch.ones_like(x), x.abs()), 8),
    "a mask": (lambda x: x.masked_fill((x > 0) & ~(x > 1), 0.5), 8),
    "a shape of another": (lambda x: x.flatten(2).reshape_as(x).view_as(x), 8),
    "parts put together": (lambda x: x.unflatten(1, (2, -1)).flatten(1, 2), 4),
    "rows repeated": (lambda x: x.repeat(1, 1, 2, 1)[:, :, :6].tile(2)[..., ::2], 8),
    "channels repeated": (lambda x: x.repeat(1, 2, 1, 1).chunk(2, 1)[1], 8),
    "each pixel twice": (lambda x: x.repeat_interleave(2, 3)[..., :6], 8),
    "one half gates the other": (lambda x: torch.cat([F.glu(x, 1)] * 2, 1), 4),
    "windows and back": (lambda x: F.fold(F.unfold(x, 3, padding=1), 6, 3, padding=1), 8),
    "windows along a row": (lambda x: x.unfold(3, 3, 3).flatten(3), 8),
    "pixels picked by a tensor": (lambda x: x.index_select(2, PLACES.to(x.device)), 8),
    "read elsewhere": (
        lambda x: F.grid_sample(x, x.new_zeros(2, 6, 6, 2), align_corners=False),
        8,
    ),
}
HELD = {
    "rolled": lambda x: torch.roll(x, 1, 1),
    "rolled as one": lambda x: torch.roll(x, 1),
    "sorted": lambda x: torch.sort(x, dim=1).values,
    "a softmax": lambda x: x.softmax(1),
    "the largest channel": lambda x: torch.max(x, 1, keepdim=True)[0] + x,
    "a deviation of all": lambda x: x / torch.std(x, False),
    "a length of all": lambda x: x / x.norm(),
    "group norm": lambda x: F.group_norm(x, x.shape[1] // 4),
    "layer norm": lambda x: F.layer_norm(x, [8, 6, 6]),
    "neighbours": lambda x: F.local_response_norm(x, 3),
    "windows of channels": lambda x: x.unfold(1, 4, 4).sum(-1).repeat(1, 4, 1, 1),
    "channels picked": lambda x: x.index_select(1, torch.arange(8, device=x.device).flip(0)),
    "gathered": lambda x: x.gather(2, torch.zeros_like(x).long()),
    "by the numbers of another": lambda x: F.linear(
        x.movedim(1, 3), torch.ones(8, 8).to(x)
    ).movedim(3, 1),
}


@pytest.mark.parametrize("kind", FREE)
def test_channels_go_in_groups(kind):
    operation, groups = FREE[kind]
    check(Between(operation), X, {"first": groups, "second": 6})


@pytest.mark.parametrize("kind", HELD)
def test_channels_stay_where_they_depend_on_one_another(kind):
    check(Between(HELD[kind]), X, {"second": 6})


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
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class NormThenAct(nn.BatchNorm2d):
    def forward(self, x):
        torch._assert(x.ndim == 4, "four dimensions")
        x = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)
        return F.relu(x)


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
    "standardised weights": (Written(lambda m, x: m.inner(x), inner=Standardised(8, 8, 1)), {}),
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


def test_channels_stay_at_the_border_of_a_recurrent_layer():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv1d(3, 8, 1), nn.Conv1d(8, 6, 1)
            self.rnn, self.hidden = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 4)
            self.last = nn.Linear(4, 2)

        def forward(self, x):
            sequence, _ = self.rnn(self.second(self.first(x)).transpose(1, 2))
            return self.last(self.hidden(sequence[:, -1]))

    check(Reader(), torch.randn(2, 3, 7, dtype=torch.double), {"first": 8, "hidden": 4})


def test_parts_are_written_over(tmp_path):
    def warmer(x):
        x = x.clone()
        x[:, :, 1:3] += 1
        return x

    model = Between(warmer).double()
    check(model, X, {"first": 8, "second": 6})
    prunekit.save(model, tmp_path / "model.safetensors", example_inputs=X)
    torch.testing.assert_close(prunekit.load(tmp_path / "model.safetensors")(X), model(X))


def test_written_over_channels_stay():
    def first_twice(x):
        x = x.clone()
        x[:, 0] = x[:, 1]
        return x

    check(Between(first_twice), X, {"second": 6})


@dataclasses.dataclass
class Pair:
    one: torch.Tensor
    two: torch.Tensor


def test_inputs_and_outputs_may_be_dictionaries_lists_and_dataclasses():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right, self.last = (nn.Conv2d(3, 4, 1) for _ in range(3))
            self.last = nn.Conv2d(4, 2, 1)

        def forward(self, inputs, pair):
            names = sorted(inputs.keys())
            lists = [self.left(image) for name in names for image in inputs[name]]
            seen = Pair(
                self.last(sum(lists)), self.right(pair.one) if pair.two is None else pair.two
            )
            return {"pair": seen, "size": len(lists)}

    model = Both().double().eval()
    x = ({"a": [X, X + 1], "b": [X * 2]}, Pair(X, X + 2))
    assert list(prunekit.trace(model, x).prunable) == ["left"]
    small, masked = (
        prunekit.rebuild(model, x, {"left": [1]}),
        prunekit.mask(model, x, {"left": [1]}),
    )
    ours, theirs = small(*x), masked(*x)
    assert ours["size"] == 3
    torch.testing.assert_close(ours["pair"].one, theirs["pair"].one)


def test_code_made_of_a_graph_does_not_spoil_later_traces():
    """torch.fx keeps in one list what the code of any graph asks it to wrap."""
    model = Written(
        lambda m, x: F.conv2d(x, m.inner.weight) + torch.zeros(1), inner=nn.Conv2d(8, 8, 1)
    )
    graph = prunekit.trace(model, X.float())
    torch.testing.assert_close(graph.module(X.float()), model(X.float()))
    assert prunekit.trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), X.float()).prunable
