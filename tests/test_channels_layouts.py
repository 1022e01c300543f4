"""Where channels lie: without a batch, moved to other dimensions, joined, padded, picked."""

import pytest
import torch
import torch.nn.functional as F
from networks import Between
from test_channels_sizes import X, check
from torch import nn

import prunekit


class Alone(nn.Module):
    """Two convolutions on one signal, map or volume without a batch, and a pool between them."""

    def __init__(self, dims: int, pool) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        self.first, self.second = conv(3, 8, 1), conv(8, 2, 1)
        self.pool = pool

    def forward(self, x):
        return self.second(self.pool(self.first(x)))


POOLS = {
    1: [
        *(nn.MaxPool1d(2), nn.AvgPool1d(2), nn.LPPool1d(2, 2)),
        *(nn.AdaptiveAvgPool1d(3), nn.AdaptiveMaxPool1d(3)),
        *(nn.ReflectionPad1d(1), nn.ReplicationPad1d(1), nn.CircularPad1d(1)),
        *(nn.ZeroPad1d(1), nn.ConstantPad1d(1, 0.5), nn.InstanceNorm1d(8, affine=True)),
        lambda x: F.max_pool1d(x, 2),
        lambda x: F.avg_pool1d(x, 2),
        lambda x: F.adaptive_avg_pool1d(x, 3),
        lambda x: F.adaptive_max_pool1d(x, 3),
        lambda x: F.pad(x, (1, 2), value=0.5),
        lambda x: F.pad(x, (1, 2), mode="circular"),
    ],
    2: [
        *(nn.MaxPool2d(2), nn.AvgPool2d(2), nn.LPPool2d(2, 2), nn.AdaptiveAvgPool2d((None, 2))),
        *(nn.AdaptiveMaxPool2d(3), nn.ReflectionPad2d(1), nn.ReplicationPad2d(1)),
        *(nn.CircularPad2d(1), nn.ZeroPad2d(1), nn.ConstantPad2d((1, 0, 0, 1), 0.5)),
        nn.InstanceNorm2d(8, affine=True),
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.adaptive_avg_pool2d(x, 3),
        lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect"),
    ],
    3: [
        *(nn.MaxPool3d(2), nn.AvgPool3d(2), nn.AdaptiveAvgPool3d(2), nn.AdaptiveMaxPool3d(2)),
        *(nn.ReplicationPad3d(1), nn.CircularPad3d(1), nn.ConstantPad3d(1, 0.5)),
        lambda x: F.max_pool3d(x, 2),
    ],
}


@pytest.mark.parametrize(
    ("dims", "place"), [(dims, place) for dims in POOLS for place in range(len(POOLS[dims]))]
)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_maps_with_and_without_a_batch(dims, place, batch):
    x = torch.randn(*batch, 3, *(6,) * dims, dtype=torch.double)
    check(Alone(dims, POOLS[dims][place]), x, {"first": 8})


class Vectors(nn.Module):
    """Pools the features of vectors, whose second dimension holds no maps."""

    def __init__(self, pool) -> None:
        super().__init__()
        self.first, self.second, self.pool = nn.Linear(3, 8), nn.LazyLinear(4), pool
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.second(self.pool(self.first(x))))


@pytest.mark.parametrize("pool", [nn.MaxPool1d(2), nn.AdaptiveAvgPool1d(3)])
def test_a_pool_over_features_ties_them_all(pool):
    x = torch.randn(5, 3, dtype=torch.double)
    model = Vectors(pool).double()
    model(x)
    graph = prunekit.trace(model, x)
    assert len(set(graph.layers["first"].groups)) == 1
    with pytest.raises(ValueError, match="first would lose all of its 8 filters"):
        graph.groups_of({"first": [0]})
    check(model, x, {"first": 1, "second": 4})


def test_the_largest_values_and_where_they_are():
    class Both(Between):
        def forward(self, x):
            values, places = self.operation(self.first(x))
            return self.head(self.second(values * places))

    check(Both(nn.MaxPool2d(2, return_indices=True)), X, {"first": 8, "second": 6})


def halves(x):
    return x.view(2, 2, x.shape[1] // 2, 6, 6)


MOVED = {
    "pixels shuffled and back": (lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2), 2),
    "stacked with its double": (lambda x: torch.stack([x, x * 2], 1).sum(1), 8),
    "stacked and laid in turns": (lambda x: torch.stack(x.chunk(2, 1), 2).flatten(1, 2), 4),
    "joined along the width": (lambda x: torch.cat([x, x.flip(1)], 3)[..., ::2], 4),
    "padded with constant maps": (lambda x: F.pad(x, (0, 0, 0, 0, 2, 0), value=0.5)[:, 2:], 0),
    "sorted by a tensor": (lambda x: x[:, torch.tensor([7, 6, 5, 4, 3, 2, 1, 0])], 0),
    "the same pixels in turns": (lambda x: x.flatten(1)[:, :288].view(x.shape), 8),
    "in another place": (lambda x: x.permute(2, 3, 0, 1).movedim((2, 3), (0, 1)), 8),
    "a mean by another name": (lambda x: x * x.mean(axis=(2, 3), keepdim=True), 8),
    "a sum over groups": (lambda x: torch.cat([halves(x).sum(1), halves(x).amax(1)], 1), 4),
}


@pytest.mark.parametrize("kind", MOVED)
def test_channels_are_followed_where_they_move(kind):
    operation, groups = MOVED[kind]
    check(Between(operation), X, {"first": groups, "second": 6} if groups else {"second": 6})


class Keeps(Between):
    """Has tensors of its own that the forward pass reads."""

    def __init__(self, operation) -> None:
        super().__init__(operation)
        self.scale = nn.Parameter(torch.rand(8, 1, 1) + 0.5)
        self.register_buffer("order", torch.randperm(8))
        self.register_buffer("columns", torch.randperm(6))

    def forward(self, x):
        return self.head(self.second(self.operation(self, self.first(x))))


READ = {
    "a scale": (lambda self, x: x * self.scale, 8),
    "divided by a scale": (lambda self, x: x / self.scale, 8),
    "sorted by a buffer": (lambda self, x: x[:, self.order], 0),
    "pixels sorted by a buffer": (lambda self, x: x[..., self.columns], 8),
    "a layer's bias": (lambda self, x: x * self.first.bias.view(-1, 1, 1), 8),
    "the number of a layer's biases": (lambda self, x: x / self.first.bias.shape[0], 0),
    "a layer's weight": (lambda self, x: x * self.first.weight.mean(), 0),
    "the number of a layer's filters": (lambda self, x: x * self.first.weight.shape[0], 0),
    "what a layer states": (lambda self, x: x * self.first.out_channels, 0),
    "a root of what it states": (lambda self, x: x * self.first.out_channels**-0.5, 0),
    "a choice by what it states": (lambda self, x: x if self.first.out_channels > 7 else -x, 0),
}


@pytest.mark.parametrize("kind", READ)
def test_tensors_and_sizes_that_the_forward_pass_reads(kind):
    operation, groups = READ[kind]
    check(Keeps(operation), X, {"first": groups, "second": 6} if groups else {"second": 6})


def test_a_layer_that_states_its_inputs_to_the_forward_pass_keeps_all_its_channels():
    check(Keeps(lambda self, x: x + 1 / self.second.in_channels), X, {})


def test_a_weight_that_a_grouped_convolution_shares_with_a_plain_one_stays_whole():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.grouped = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=4)
            self.plain, self.head = nn.Conv2d(2, 8, 1), nn.Conv2d(8, 2, 1)
            self.plain.weight = self.grouped.weight

        def forward(self, x):
            return self.head(self.plain(self.grouped(self.first(x)).chunk(4, 1)[0]))

    check(Shared(), X, {})


def test_operations_called_by_name_are_like_those_called_in_order():
    by_name = Between(lambda x: torch.cat(tensors=torch.chunk(input=x, chunks=2, dim=1), dim=1))
    check(by_name, X, {"first": 4, "second": 6})


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda x: x.view(torch.complex128).abs(), "calls view in a way which prunekit has no"),
        (lambda x: x.data, "calls getattr for data, which prunekit has no rule for"),
        (lambda x: torch.fft.fft(x).real, "calls fft_fft, which"),
        (lambda x: x * float(x.sum()), r"cannot be traced at .*test_channels_layouts"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(operation, message):
    with pytest.raises(prunekit.TraceError, match=message):
        prunekit.trace(Between(operation).double(), X)
