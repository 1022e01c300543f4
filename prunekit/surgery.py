"""Removing filters: for good (``rebuild``) or by zeroing them in place (``mask``).

The first law: in evaluation mode ``rebuild(...)(x)`` equals ``mask(...)(x)``
up to rounding. The thesis calls the two coarse and fine pruning (section 6.1).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from prunekit.channels import ChannelGraph, TraceError, trace
from prunekit.channels.capture import attribute, quick_deepcopy
from prunekit.channels.kinds import restate_sizes
from prunekit.channels.shapes import ShapesOnly

Removal = Mapping[str, Iterable[int]]


def rebuild(
    model: nn.Module, example_inputs: Tensor | tuple | ChannelGraph, remove: Removal
) -> nn.Module:
    """A new, smaller model without the filters named, and without all that depended on them.

    Parameters
    ----------
    model
        Left untouched. The result has its class, hooks, mode, dtype and
        device, and no gradients. A hook that counts on all channels, such as
        one that scales each by a number of its own, fails on the result.
    example_inputs
        As for :func:`prunekit.trace`; or what that gave for this model, if it
        is at hand.
    remove
        Filter indices by layer name, as :func:`prunekit.select` returns them.
        Filters that are coupled to these go with them.

    Raises
    ------
    KeyError, IndexError, ValueError
        A layer or filter does not exist or must stay, or a layer would be
        left empty.
    TraceError
        The model cannot be traced, or its code fixes a size that would change.

    Examples
    --------
    >>> from prunekit.models import TinySqueezeNet
    >>> model = TinySqueezeNet().eval()
    >>> x = torch.randn(2, 3, 32, 32)
    >>> small = rebuild(model, x, {"features.0": [0, 3, 5]})
    >>> small.features[0].weight.shape
    torch.Size([13, 3, 3, 3])
    >>> same = mask(model, x, {"features.0": [0, 3, 5]})
    >>> torch.allclose(small(x), same(x), atol=1e-5)
    True
    """
    graph = _graph_of(model, example_inputs)
    gone = graph.groups_of(remove)
    kept = {
        name: {dim: np.flatnonzero(~gone[groups]) for dim, groups in dims.items()}
        for name, dims in graph.slices.items()
    }
    # First without data: a size that the code fixes shows at once.
    skeleton = _cut(graph.skeleton, graph, kept, gone)
    try:
        with torch.device("meta"), torch.no_grad(), ShapesOnly():
            skeleton(*graph.inputs)
    except Exception as error:
        raise TraceError(
            f"the model does not run without these filters, so its code must fix a size: {error}"
        ) from error
    return _cut(model, graph, kept, gone)


def mask(
    model: nn.Module, example_inputs: Tensor | tuple | ChannelGraph, remove: Removal
) -> nn.Module:
    """A copy of the same size in which every slice of the filters named is zero, in every layer.

    Slices are zeroed on both sides: in the layer that makes a channel and in
    the layers that read it, so that nothing passes even where an activation
    does not map zero to zero. Parameters outside layers keep their values: the
    forward pass may divide by them. Arguments and errors are those of
    :func:`rebuild`.
    """
    graph = _graph_of(model, example_inputs)
    gone = graph.groups_of(remove)
    masked = copy.deepcopy(model)
    with torch.no_grad():
        for name, dims in graph.slices.items():
            tensor = attribute(masked, name)
            layer = name.rpartition(".")[0]
            if not isinstance(tensor, nn.Parameter) or layer not in graph.layers | graph.norms:
                continue
            for dim, groups in dims.items():
                indices = torch.from_numpy(np.flatnonzero(gone[groups]))
                tensor.index_fill_(dim, indices.to(tensor.device), 0)
    return masked


def _sliced(tensor: Tensor, kept: dict[int, np.ndarray]) -> Tensor:
    result = tensor.detach()
    for dim, indices in kept.items():
        if len(indices) < tensor.shape[dim]:
            result = result.index_select(dim, torch.from_numpy(indices).to(tensor.device))
    result = result.clone() if result.data_ptr() == tensor.data_ptr() else result
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(result, requires_grad=tensor.requires_grad)
    return result


def _graph_of(model: nn.Module, given: Tensor | tuple | ChannelGraph) -> ChannelGraph:
    if not isinstance(given, ChannelGraph):
        return trace(model, given)
    given.refuse_another(model)
    return given


def _cut(
    model: nn.Module, graph: ChannelGraph, kept: dict[str, dict[int, np.ndarray]], gone: np.ndarray
) -> nn.Module:
    """A copy with what is kept of its tensors, whose layers state the sizes that are left."""
    memo: dict[int, object] = {}
    for name, dims in kept.items():
        tensor = attribute(model, name)
        memo[id(tensor)] = _sliced(tensor, dims)
    small = quick_deepcopy(model, memo)
    for name, layer in graph.layers.items():
        inputs, outputs = (int((~gone[groups]).sum()) for groups in (layer.inputs, layer.groups))
        restate_sizes(small.get_submodule(name), inputs, outputs)
    for name, groups in graph.norms.items():
        channels = int((~gone[groups]).sum())
        restate_sizes(small.get_submodule(name), channels, channels)
    return small
