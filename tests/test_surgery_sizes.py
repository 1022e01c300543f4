"""The first law on networks that compute with sizes, on other inputs than the example too."""

from collections.abc import Iterator

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import some_of_every_layer
from sized_networks import sized_network
from torch import Tensor, nn

import prunekit

seeds = st.integers(0, 2**32 - 1)
lengths = st.integers(1, 9)
ROUNDING = {"rtol": 1e-7, "atol": 1e-9, "equal_nan": True}


def inputs_like(x: Tensor) -> Iterator[Tensor]:
    """Other values, another first size, another last size."""
    yield x
    yield torch.randn_like(x)
    yield torch.cat([x, x.flip(0)])
    yield torch.cat([x, x[..., :2]], -1)


def runs_alike(model: nn.Module, x: Tensor, graph: prunekit.ChannelGraph) -> bool:
    """Whether a network runs on an input, and lays its channels out there as in its graph.

    A reshape that writes the batch size as 1 makes channels of images where there are more.
    """
    try:
        model(x)
        again = prunekit.trace(model, x)
    except (RuntimeError, IndexError, ValueError):
        return False
    return all(
        layer.groups.tolist() == again.layers[name].groups.tolist()
        and layer.inputs.tolist() == again.layers[name].inputs.tolist()
        for name, layer in graph.layers.items()
    )


@settings(max_examples=2 * settings.default.max_examples)
@given(seeds, lengths)
def test_rebuild_equals_mask_where_sizes_are_numbers(seed, length):
    model, example = sized_network(seed, length)
    try:
        graph = prunekit.trace(model, example)
    except prunekit.TraceError:
        return
    remove = some_of_every_layer(graph, 0.9, seed)
    small = prunekit.rebuild(model, example, remove)
    masked = prunekit.mask(model, example, remove)
    with torch.inference_mode():
        for x in inputs_like(example):
            if x is example or runs_alike(model, x, graph):
                torch.testing.assert_close(small(x), masked(x), **ROUNDING)
            if not any(remove.values()):
                assert torch.equal(small(example), model(example))


def test_such_networks_can_often_be_pruned():
    graphs = []
    for seed in range(40):
        try:
            graphs.append(prunekit.trace(*sized_network(seed, 1 + seed % 9)))
        except prunekit.TraceError:
            continue
    assert len(graphs) >= 30
    assert sum(any(some_of_every_layer(graph, 0.9, 0).values()) for graph in graphs) >= 10
