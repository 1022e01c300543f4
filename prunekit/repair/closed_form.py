"""Closed-form repair of a network that has lost filters: no training, and no labels."""

from __future__ import annotations

import copy
from collections import Counter
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, fx, nn

from prunekit.channels import ChannelGraph, trace
from prunekit.channels.calls import calls_by_module, modules_called, norm_behind
from prunekit.channels.kinds import BATCH_NORM, IN, TRANSPOSED, by_filter, kind_of
from prunekit.checks import checked, choice, flag, module
from prunekit.checks.settings import Method
from prunekit.checks.structures import moved
from prunekit.criteria.ranking import two_examples
from prunekit.execution import device_of, fastest_layout
from prunekit.progress import bar
from prunekit.repair.calibration import (
    CALIBRATION,
    Images,
    as_one_batch,
    channel_moments,
    hooked,
    inputs_in,
    read_by,
)
from prunekit.repair.least_squares import at_places, fit
from prunekit.repair.sharing import holds_any, tensors_read, tied_parameters
from prunekit.surgery import Removal


@checked(
    pruned=module,
    original=module,
    method=partial(choice, among=get_args(Method)),
    progress=flag,
    **CALIBRATION,
)
def repair(
    pruned: nn.Module,
    original: nn.Module,
    remove: Removal,
    loader: Images,
    *,
    method: Method = "least_squares",
    batches: int | None = None,
    progress: bool = True,
) -> nn.Module:
    """A copy of a pruned network whose layers give again what they gave before, as far as possible.

    Layers are repaired in order of execution, each on what the repaired
    layers before it give. A layer used in several places stays as it is, and
    so does one that shares its weights, or whose weights the forward pass reads by itself.

    Parameters
    ----------
    pruned
        What ``rebuild(original, x, remove)`` gave, or that repaired or trained
        since. Left untouched, as is ``original``.
    original
        The network before the removal.
    remove
        The removal, as :func:`prunekit.select` returns it.
    loader
        Batches of images, or pairs that begin with images; labels are not read.
        Several inputs come as for :func:`prunekit.rank`, as a tuple or a
        dictionary with which a pair begins: ``((left, right), None)``.
        Some hundred images of the training set are enough.
    method
        ``"least_squares"``: each filter's weights over the inputs that are
        left, and its bias, come as near as they can to its old output (He,
        Zhang and Sun 2017; Luo, Wu and Lin 2017), by ridge regression on
        patches drawn from the images. Transposed convolutions are repaired by
        moments. ``"moments"``: each filter is scaled and shifted, so that its
        output has its old mean and deviation. ``"batch_norm"``: running
        statistics are estimated anew, as they are over all the images, and
        nothing else changes.
    batches
        How many batches to look at; by default as many as hold 512 images.
        They go through the network as one batch, whose maps must fit into
        memory.
    progress
        Whether to show a bar, where there is a terminal or a notebook.

    Returns
    -------
    nn.Module
        Of the same class as ``pruned``. The shift of a filter goes into its
        bias, or into the running mean of the batch norm that follows; with
        neither, the layer gets a bias. Layers used in several places, or
        written out as functions (``F.conv2d(x, self.conv.weight)``), stay as
        they are.

    Raises
    ------
    ValueError
        The three do not fit together, the loader is empty or names inputs that
        ``forward`` does not take, an image or a map is NaN or infinite, the
        method is not known, or no batch norm has running statistics and
        ``method`` is ``"batch_norm"``.
    TypeError
        An argument or a batch is of the wrong type.
    KeyError, IndexError
        ``remove`` names a layer or filter that ``original`` does not have.
    TraceError
        A model cannot be traced.

    Examples
    --------
    >>> from prunekit import rebuild
    >>> from prunekit.models import TinySqueezeNet
    >>> _ = torch.manual_seed(0)
    >>> model, images = TinySqueezeNet().eval(), torch.randn(64, 3, 32, 32)
    >>> remove = {"features.0": [0, 3, 5]}
    >>> small = rebuild(model, images, remove)
    >>> repaired = repair(small, model, remove, [images])
    >>> error, left = ((m(images) - model(images)).norm() for m in (small, repaired))
    >>> bool(left < error / 2)
    True
    """
    device, images = device_of(original), as_one_batch(list(inputs_in(original, loader, batches)))
    images = moved(images, device, fastest_layout(original, images))
    few = two_examples(original, images, "the loader")
    repaired = copy.deepcopy(pruned)
    graph = trace(repaired, few)
    kept = _kept_filters(original, graph, remove, few)
    called, once = modules_called(graph.operations), _used_once(repaired, graph)
    calls = calls_by_module(graph.operations, called)
    # Of norms, those too whose forward pass is written out as a function.
    norms = [name for name in once if _keeps_statistics(repaired.get_submodule(name))]
    if method == "batch_norm":
        if not norms:
            raise ValueError("the network has no batch norm with running statistics to estimate")
        with hooked(repaired, dict.fromkeys(norms, _estimate_statistics)):
            repaired(*moved(images, device))
        return repaired
    layers = [name for name in once if name in kept and name in calls]
    wanted: dict[str, Tensor] = {}

    def note(layer: nn.Module, inputs: tuple, named: dict, output: Tensor, *, name: str) -> None:
        seen = _looked_at(layer, by_filter(layer, output), method)
        wanted[name] = seen[:, kept[name].to(seen.device)]

    def correct(
        layer: nn.Module, inputs: tuple, named: dict, output: Tensor, *, name: str
    ) -> Tensor:
        maps = by_filter(layer, output)
        found, goal = _looked_at(layer, maps, method), wanted.pop(name)
        if not (found.isfinite().all() and goal.isfinite().all()):
            raise ValueError(f"{name}: its output on these images is NaN or infinite")
        shown.update()
        # Nothing before it has changed. Rounding of half precision hides what has: 8 % in bfloat16.
        rounding = torch.finfo(torch.promote_types(maps.dtype, torch.float32)).eps
        if (goal - found).norm() <= 10 * rounding * goal.norm():
            return output
        if _by_moments(layer, method):
            weight, constant = _rescaled(layer, found, goal)
        else:
            weight, constant = fit(layer, read_by(inputs, named), goal - found, maps.shape[2])
        norm = norm_behind(calls[name], called, repaired, BATCH_NORM)
        _put(layer, repaired.get_submodule(norm) if norm in norms else None, weight, constant)
        return layer.forward(*inputs, **named)

    with bar(total=len(layers), show=progress, desc="repairing", leave=False) as shown:
        with hooked(original, {name: partial(note, name=name) for name in layers}):
            original(*moved(images, device))
        with hooked(repaired, {name: partial(correct, name=name) for name in layers}):
            repaired(*moved(images, device))
    return repaired


def _used_once(model: nn.Module, graph: ChannelGraph) -> list[str]:
    """The layers that are called in one place, as module or function, and nowhere else in use."""
    read_apart = (
        node
        for node in graph.operations.nodes
        if {graph.calls.get(user.name) for user in node.users} - {_owner(node)}
    )
    shared = tied_parameters(model) | tensors_read(read_apart, model)
    return [
        name
        for name, times in Counter(graph.calls.values()).items()
        if times == 1 and not holds_any(shared, model.get_submodule(name))
    ]


def _owner(node: fx.Node) -> str:
    """The module of which a node reads a tensor."""
    return str(node.target).rpartition(".")[0]


def _kept_filters(
    original: nn.Module, pruned: ChannelGraph, remove: Removal, x: tuple
) -> dict[str, Tensor]:
    """The filters left of each layer."""
    before = trace(original, x)
    gone = before.groups_of(remove)
    kept = {name: ~gone[layer.groups] for name, layer in before.layers.items()}
    expected = {
        name: (int(kept[name].sum()), int((~gone[layer.inputs]).sum()))
        for name, layer in before.layers.items()
    }
    found = _sizes(pruned)
    for name in {**expected, **found}:
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{name}: (filters, inputs) are {found.get(name)} in the pruned network, and "
                f"{expected.get(name)} in the original after the removal: pass what "
                "rebuild(original, x, remove) gave, and the same original and remove"
            )
    return {name: torch.from_numpy(np.flatnonzero(filters)) for name, filters in kept.items()}


def _sizes(graph: ChannelGraph) -> dict[str, tuple[int, int]]:
    return {name: (layer.filters, len(layer.inputs)) for name, layer in graph.layers.items()}


def _keeps_statistics(module: nn.Module) -> bool:
    return kind_of(module) is BATCH_NORM and module.running_mean is not None


def _estimate_statistics(norm: Any, inputs: tuple, named: dict, output: Tensor) -> Tensor:
    x = read_by(inputs, named)
    mean, variance = channel_moments(x)
    count = x[:, 0].numel()
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance * count / max(count - 1, 1))  # unbiased, as in training
    return norm.forward(*inputs, **named)


def _by_moments(layer: nn.Module, method: Method) -> bool:
    return method == "moments" or kind_of(layer) is TRANSPOSED


def _looked_at(layer: nn.Module, maps: Tensor, method: Method) -> Tensor:
    """What is compared of a layer's maps: mean and deviation, or the values at some places."""
    if _by_moments(layer, method):
        mean, variance = channel_moments(maps)
        return torch.stack([mean, variance.sqrt()])
    return at_places(maps)


def _rescaled(layer: Any, found: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """The weight and bias that give each filter's output the mean and deviation it should have."""
    (mean, deviation), (goal_mean, goal_deviation) = found, goal
    # What is constant, up to rounding, stays so: it can be shifted, not scaled.
    varies = deviation > 1e-4 * goal_deviation
    scale = torch.where(varies, goal_deviation / deviation, 1)
    bias = 0 if layer.bias is None else layer.bias
    weight, kernel = layer.weight.double(), [1] * (layer.weight.dim() - 2)
    if kind_of(layer).cut["weight"][0] == IN:  # filters come second, counted within a group
        by_group = weight.unflatten(0, (layer.groups, -1))
        by_group = by_group * scale.view(layer.groups, 1, -1, *kernel)
        return by_group.flatten(0, 1), scale * (bias - mean) + goal_mean
    return weight * scale.view(-1, 1, *kernel), scale * (bias - mean) + goal_mean


def _put(layer: Any, norm: Any, weight: Tensor, constant: Tensor) -> None:
    """Give a layer its weights, and its bias to it or to the batch norm behind it."""
    layer.weight.copy_(weight)
    if layer.bias is not None:
        layer.bias.copy_(constant)
    elif norm is not None:
        norm.running_mean.sub_(constant)
    else:
        bias = constant.to(layer.weight.dtype)
        layer.bias = nn.Parameter(bias, requires_grad=layer.weight.requires_grad)
