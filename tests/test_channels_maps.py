"""Where an activation map is read: after the norm and the activation, however they are written."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import prunekit


class Written(nn.Module):
    """Convolution, batch norm, ReLU and a reader; ``way`` is how the network goes between."""

    def __init__(self, way) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.way, self.relu, self.last = way, nn.ReLU(), nn.Conv2d(8, 4, 1)
        self.in_place, self.dropout = nn.ReLU(inplace=True), nn.Dropout2d(0.3)
        self.nothing = nn.Identity()

    def forward(self, x):
        return self.last(self.way(self, self.conv(x))).mean((2, 3))


def plainly(net, x):
    return net.relu(net.norm(x))


def past_nothing(net, x):
    return net.relu(net.nothing(net.norm(net.nothing(x))))


def past_dropout(net, x):
    return net.relu(F.dropout(net.dropout(net.norm(x)), training=net.training))


def after_its_sizes(net, x):
    _, _, height, width = x.shape
    if height != width or x.ndim != 4:
        raise ValueError("a square image, please")
    return net.relu(net.norm(x))


def as_a_statement(net, x):
    x = net.norm(x)
    net.in_place(x)
    return x


def by_a_function(net, x):
    x = net.norm(x)
    F.relu(x, inplace=True)
    return x


def told_by_place(net, x):
    return F.relu(net.norm(x), True)


def written_over_later(net, x):
    x = net.norm(x)
    net.in_place(x)
    x += 1
    return x - 1


WAYS = (past_nothing, past_dropout, after_its_sizes, as_a_statement, by_a_function, told_by_place)


def written(way) -> Written:
    torch.manual_seed(0)
    net = Written(way)
    nn.init.normal_(net.norm.running_mean)
    nn.init.uniform_(net.norm.running_var, 0.5, 2)
    return net.eval()


def scores(net: nn.Module, criterion: str) -> torch.Tensor:
    torch.manual_seed(1)
    batch = [(torch.randn(16, 3, 8, 8), torch.arange(16) % 4)]
    ranking = prunekit.rank(net, batch, criterion, progress=False)
    return torch.tensor(ranking["score"].to_numpy())


@pytest.mark.parametrize(
    ("way", "criterion"),
    [
        *itertools.product(WAYS, ["activation_l2", "apoz", "taylor", "combined"]),
        *((written_over_later, criterion) for criterion in ("activation_l2", "apoz")),
    ],
)
def test_one_function_has_one_ranking_however_it_is_written(way, criterion):
    torch.testing.assert_close(
        scores(written(way), criterion), scores(written(plainly), criterion), atol=1e-6, rtol=1e-4
    )


def test_where_torch_gives_no_gradient_the_ranking_says_so_too():
    """A ReLU's gradient is computed of its output, which is written over."""
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        written(written_over_later)(torch.randn(2, 3, 8, 8)).sum().backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        scores(written(written_over_later), "taylor")


def test_a_map_that_something_else_reads_ends_there():
    def read_before(net, x):
        return net.relu(net.norm(x)) + x.mean()

    graph = prunekit.trace(written(read_before), torch.zeros(1, 3, 8, 8))
    assert sorted(graph.maps.values()) == ["conv", "last"]
    (end,) = (node for node, layer in graph.maps.items() if layer == "conv")
    assert end == "conv"


def test_a_norm_is_found_behind_a_layer_whose_sizes_are_read():
    x = torch.randn(2, 3, 8, 8)
    net = written(after_its_sizes)
    normed = prunekit.insert_batch_norm(net, [x])
    assert isinstance(normed.conv, nn.Conv2d)
    folded = prunekit.fold_batch_norm(net, example_inputs=x)
    assert not isinstance(folded.norm, nn.BatchNorm2d)
    torch.testing.assert_close(folded(x), net(x), atol=1e-5, rtol=1e-4)


def test_folding_keeps_the_ranking_by_maps():
    x = torch.randn(2, 3, 8, 8)
    net = written(plainly)
    torch.testing.assert_close(
        scores(prunekit.fold_batch_norm(net, example_inputs=x), "activation_l2"),
        scores(net, "activation_l2"),
        atol=1e-5,
        rtol=1e-4,
    )
