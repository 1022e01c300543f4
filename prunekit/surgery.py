"""Removing filters: for good (``rebuild``) or by zeroing them in place (``mask``).

What an optimiser remembers of the weights is cut with them (``rebuild_optimizer``). The first law:
in evaluation mode ``rebuild(...)(x)`` equals ``mask(...)(x)`` up to rounding. The thesis calls the
two coarse and fine pruning (section 6.1).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from prunekit.channels import ChannelGraph, TraceError, trace
from prunekit.channels.capture import attribute, quick_deepcopy
from prunekit.channels.kinds import restate_sizes
from prunekit.channels.shapes import DryRun
from prunekit.checks import shown

Removal = Mapping[str, Iterable[int]]
Kept = dict[str, dict[int, np.ndarray]]  # of each tensor, in each dimension that carries channels
AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)


def rebuild(
    model: nn.Module, example_inputs: Tensor | tuple | ChannelGraph, remove: Removal
) -> nn.Module:
    """A new, smaller model without the filters named, and without all that depended on them.

    Parameters
    ----------
    model
        Left untouched. The result has its class, hooks, mode, dtype, memory
        layout and device, and no gradients. A hook that counts on all channels, such as
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
    kept = _kept(graph, gone)
    # First without data: a size that the code fixes shows at once.
    skeleton = _cut(graph.skeleton, graph, kept, gone)
    try:
        with torch.device("meta"), torch.no_grad(), DryRun():
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
    forward pass may divide by them. Where it divides a channel by the channel's
    own length or deviation and adds no epsilon, a masked one becomes 0 / 0, and
    the output NaN; what :func:`rebuild` gives is right there, too. Arguments and
    errors are those of :func:`rebuild`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1))
    >>> masked = mask(model, torch.zeros(1, 1, 4, 4), {"0": [1]})
    >>> masked[0].weight.flatten().eq(0).tolist(), masked[2].weight[:, 1].eq(0).all().item()
    ([False, True, False], True)
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


def rebuild_optimizer(
    optimizer: AnyOptimizer,
    small: nn.Module,
    model: nn.Module,
    example_inputs: Tensor | tuple | ChannelGraph,
    remove: Removal,
) -> AnyOptimizer:
    """The optimiser of a network, for what :func:`rebuild` made of it: training just goes on.

    Momentum and moments are cut as the weights were, so what stays moves on as it would have in
    a network of the same size whose removed filters are held at zero. Not so where a step depends
    on the tensor as a whole, as Adafactor's and Muon's do: there it goes on nearly like that.

    Parameters
    ----------
    optimizer
        Trains parameters of ``model``. Left untouched, with its hooks; a
        scheduler of learning rates is made anew for the result, and takes the
        ``state_dict`` of the old one.
    small
        ``rebuild(model, example_inputs, remove)``, or the same after a
        :func:`prunekit.repair`. A bias that the repair put in is not in the
        result: ``add_param_group`` adds it.
    model, example_inputs, remove
        As for :func:`rebuild`.

    Returns
    -------
    An optimiser of the same class, settings and parameter groups. Parameters
    that are none of the model's, such as those of a loss, it shares with the old one.

    Raises
    ------
    TypeError
        ``optimizer`` is none.
    ValueError
        It trains no parameter of ``model``, ``small`` is not what is left of
        that, or the optimiser remembers what is not shaped as a parameter, as
        LBFGS does.
    KeyError, IndexError, TraceError
        As for :func:`rebuild`.

    Examples
    --------
    >>> model, x = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 1, 1)), torch.ones(1, 1, 2, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> model(x).sum().backward()
    >>> optimizer.step()
    >>> small = rebuild(model, x, {"0": [1]})
    >>> optimizer = rebuild_optimizer(optimizer, small, model, x, {"0": [1]})
    >>> optimizer.state[small[0].weight]["momentum_buffer"].shape
    torch.Size([2, 1, 1, 1])

    An exponential average is a network like any other, its layers one level down:

    >>> from torch.optim.swa_utils import AveragedModel
    >>> average = AveragedModel(model)
    >>> average = rebuild(average, x, {"module.0": [1]})
    >>> average.update_parameters(small)
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be a torch.optim.Optimizer, not {shown(optimizer)}")
    if isinstance(optimizer, LBFGS):
        raise ValueError(
            "LBFGS remembers all parameters as one long vector, which cannot be cut: make a new "
            "one for the small network"
        )
    graph = _graph_of(model, example_inputs)
    kept = _kept(graph, graph.groups_of(remove))
    cuts = {id(attribute(model, name)): dims for name, dims in kept.items()}
    left = dict(small.named_parameters())
    twins: dict[int, Tensor] = {}
    for name, old in model.named_parameters():
        wanted = list(old.shape)
        for dim, indices in cuts.get(id(old), {}).items():
            wanted[dim] = len(indices)
        if name not in left or list(left[name].shape) != wanted:
            there = f"of shape {tuple(left[name].shape)}" if name in left else "missing"
            raise ValueError(
                f"small must be what rebuild makes of the model without these filters: its {name} "
                f"is {there}, and would be of shape {tuple(wanted)}"
            )
        twins[id(old)] = left[name]
    trained = [one for group in optimizer.param_groups for one in group["params"]]
    if twins.keys().isdisjoint(map(id, trained)):
        raise ValueError(f"the {type(optimizer).__name__} trains no parameter of this model")
    memo: dict[int, object] = {id(one): twins.get(id(one), one) for one in trained}
    for parameter, state in optimizer.state.items():
        dims = cuts.get(id(parameter), {})
        memo |= {id(v): _moment(optimizer, k, v, parameter, dims) for k, v in state.items()}
    return copy.deepcopy(optimizer, memo)


def _moment(
    optimizer: Optimizer, key: str, value: object, parameter: Tensor, dims: dict[int, np.ndarray]
) -> object:
    """What an optimiser remembers of a parameter under a key, cut as that is.

    Where a moment has one number for a whole dimension, as Adafactor's do, its size there is 1.
    """
    if isinstance(value, Tensor) and value.dim():
        if value.dim() == parameter.dim():
            of_one = {dim for dim, size in enumerate(value.shape) if size != parameter.shape[dim]}
            if all(value.shape[dim] == 1 for dim in of_one):
                return _sliced(value, {dim: dims[dim] for dim in dims.keys() - of_one})
    elif not isinstance(value, (list, tuple, dict)):
        return copy.deepcopy(value)  # a number of steps
    raise ValueError(
        f"the {type(optimizer).__name__} remembers {key!r}, which is not shaped as its parameter "
        "and cannot be cut with it: make a new one for the small network"
    )


def _kept(graph: ChannelGraph, gone: np.ndarray) -> Kept:
    return {
        name: {dim: np.flatnonzero(~gone[groups]) for dim, groups in dims.items()}
        for name, dims in graph.slices.items()
    }


def _sliced(tensor: Tensor, kept: dict[int, np.ndarray]) -> Tensor:
    # In the order in which they lie in memory, so that channels-last weights stay so.
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    result = tensor.detach().permute(order)
    for dim, indices in kept.items():
        if len(indices) < tensor.shape[dim]:
            left = torch.from_numpy(indices).to(tensor.device)
            result = result.index_select(order.index(dim), left)
    result = result.permute([order.index(dim) for dim in range(tensor.dim())])
    result = result.clone() if result.data_ptr() == tensor.data_ptr() else result
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(result, requires_grad=tensor.requires_grad)
    return result


def _graph_of(model: nn.Module, given: Tensor | tuple | ChannelGraph) -> ChannelGraph:
    if not isinstance(given, ChannelGraph):
        return trace(model, given)
    given.refuse_another(model)
    return given


def _cut(model: nn.Module, graph: ChannelGraph, kept: Kept, gone: np.ndarray) -> nn.Module:
    """A copy with what is kept of its tensors, whose layers state the sizes that are left."""
    memo: dict[int, object] = {}
    for name, dims in kept.items():
        tensor = attribute(model, name)
        memo[id(tensor)] = _sliced(tensor, dims)
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        if id(tensor) not in memo:  # uncut: deepcopy would take long over each
            memo[id(tensor)] = _sliced(tensor, {})
    small = quick_deepcopy(model, memo)
    for name, layer in graph.layers.items():
        inputs, outputs = (int((~gone[groups]).sum()) for groups in (layer.inputs, layer.groups))
        restate_sizes(small.get_submodule(name), inputs, outputs)
    for name, groups in graph.norms.items():
        channels = int((~gone[groups]).sum())
        restate_sizes(small.get_submodule(name), channels, channels)
    for path, groups in graph.heads.items():
        module, _, size = path.rpartition(".")
        vars(small.get_submodule(module))[size] = int((~gone[groups]).sum())
    return small
