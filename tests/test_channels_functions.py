"""Operations: in how many groups channels can go, and the first law."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from networks import Between
from test_channels_sizes import X, check
from torch import nn

import prunekit


def centred(x, scale, mean):
    return (x - mean) / (1 + scale)


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
    "both moments": (lambda x: centred(x, *torch.var_mean(x, (2, 3), keepdim=True)), 8),
    "deviation and mean": (lambda x: centred(x, *torch.std_mean(x, dim=3, keepdim=True)), 8),
    "a length by hand": (lambda x: x * (x.square().sum((2, 3), keepdim=True) + 1).rsqrt(), 8),
    "a length": (lambda x: x / (1 + x.norm(2, (2, 3), keepdim=True)), 8),
    "zeros and ones like it": (lambda x: torch.where(x > 0, torch.ones_like(x), x.abs()), 8),
    "a mask": (lambda x: x.masked_fill((x > 0) & ~(x > 1), 0.5), 8),
    "a mask in place": (lambda x: x.clone().masked_fill_(x > 1, 0.5), 8),
    "a shape of another": (lambda x: x.flatten(2).reshape_as(x).view_as(x), 8),
    "parts put together": (lambda x: x.unflatten(1, (2, -1)).flatten(1, 2), 4),
    "rows repeated": (lambda x: x.repeat(1, 1, 2, 1)[:, :, :6].tile(2)[..., ::2], 8),
    "channels repeated": (lambda x: x.repeat(1, 2, 1, 1).chunk(2, 1)[1], 8),
    "each pixel twice": (lambda x: x.repeat_interleave(2, 3)[..., :6], 8),
    "one half gates the other": (lambda x: torch.cat([F.glu(x, 1)] * 2, 1), 4),
    "windows and back": (lambda x: F.fold(F.unfold(x, 3, padding=1), 6, 3, padding=1), 8),
    "windows along a row": (lambda x: x.unfold(3, 3, 3).flatten(3), 8),
    "pixels picked by a tensor": (lambda x: x.index_select(2, PLACES.to(x.device)), 8),
    "random numbers like it": (lambda x: x + 0 * torch.rand_like(x) * torch.randn_like(x), 8),
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
    "both moments of all": lambda x: centred(x, *torch.var_mean(x, 1, keepdim=True)),
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


class Conditional(nn.Module):
    """Each class shifts and scales maps, by rows of a table of its own."""

    def __init__(self, tied=False):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 3, padding=1)
        self.shift, self.scale = nn.Embedding(5, 8, padding_idx=0), nn.Embedding(8, 8)
        self.inner, self.last = nn.Linear(8, 8), nn.Conv2d(6, 2, 1)
        if tied:
            self.inner.weight = self.scale.weight = nn.Parameter(torch.randn(8, 8))

    def forward(self, x, classes):
        shift, scale = self.shift(classes), self.inner(self.scale(classes))
        y = self.first(x) * scale[..., None, None] + shift[..., None, None]
        return self.last(self.second(y))


@pytest.mark.parametrize("tied", [False, True])
def test_the_width_of_an_embedding_follows_the_layer_it_meets(tied, tmp_path):
    torch.manual_seed(0)
    model, x = Conditional(tied).double().eval(), (X, torch.tensor([4, 0]))
    graph = prunekit.trace(model, x)
    free = {name: len({*layer.groups} - {0}) for name, layer in graph.prunable.items()}
    assert free == ({"second": 6} if tied else {"first": 8, "second": 6, "inner": 8})
    remove = {"second": [0]} if tied else {"first": [1, 7], "second": [0]}
    small, masked = prunekit.rebuild(model, graph, remove), prunekit.mask(model, graph, remove)
    assert (small.shift.embedding_dim, small.scale.embedding_dim) == ((8, 8) if tied else (6, 8))
    assert small.shift.weight.shape == (5, small.shift.embedding_dim)
    torch.testing.assert_close(small(*x), masked(*x))
    prunekit.save(small, tmp_path / "model")
    torch.testing.assert_close(prunekit.load(tmp_path / "model")(*x), small(*x))
    into = prunekit.load(tmp_path / "model", into=Conditional(tied).double())
    torch.testing.assert_close(into.eval()(*x), small(*x))


def test_an_index_that_was_computed_stays():
    class Quantised(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.table = nn.Conv2d(3, 8, 1), nn.Embedding(8, 4)
            self.last = nn.Linear(4, 2)

        def forward(self, x):
            return self.last(self.table(self.first(x).argmax(1)))

    graph = prunekit.trace(Quantised().double(), X)
    assert not graph.prunable


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
