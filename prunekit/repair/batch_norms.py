"""Batch norm put behind convolutions, and folded into them: the network's function stays.

A network without batch norm, such as SqueezeNet, trains badly once it has been
pruned hard. Inserted before training and folded after it, batch norm costs
nothing where the network is used.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from prunekit.channels import kinds, trace
from prunekit.channels.calls import calls_by_module, modules_called, norm_behind
from prunekit.channels.capture import capture, meta_copy, without_data
from prunekit.channels.kinds import BATCH_NORM, CONVOLUTION, TRANSPOSED, kind_of
from prunekit.checks import checked, module, names, optional
from prunekit.checks.structures import moved
from prunekit.criteria.ranking import two_examples
from prunekit.execution import device_of, evaluation_mode, fastest_layout
from prunekit.repair.calibration import CALIBRATION, Images, channel_moments, hooked, inputs_in
from prunekit.repair.sharing import holds_any, tensors_read, tied_parameters

NORMS = (
    *(BATCH_NORM, kinds.FROZEN_BATCH_NORM),
    *(kinds.INSTANCE_NORM, kinds.GROUP_NORM, kinds.LAYER_NORM),
)


class NormedConvolution(nn.Sequential):
    """A convolution, ``conv``, and the batch norm behind it, ``norm``, in the convolution's place.

    :func:`fold_batch_norm` puts a plain convolution back under the old name.
    """

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def __getattr__(self, name: str) -> Any:
        conv = vars(self).get("_modules", {}).get("conv")
        # A forward pass may ask a convolution for its stride, or how many filters it has.
        if name in getattr(conv, "__constants__", ()):
            return getattr(conv, name)
        return super().__getattr__(name)


@checked(model=module, layers=optional(names), **CALIBRATION)
def insert_batch_norm(
    model: nn.Module,
    loader: Images,
    *,
    layers: Iterable[str] | None = None,
    batches: int | None = None,
) -> nn.Module:
    """A copy with a batch norm behind each convolution that had none, of the same function.

    The mean and deviation of a convolution's output are the running
    statistics of its batch norm, and at first also its shift and scale, so
    that the two cancel. In training mode each batch's own statistics take
    their place. The batch norm takes over the convolution's bias.

    Parameters
    ----------
    model
        Left untouched. In the copy, the convolution that was ``features.0``
        is ``features.0.conv``, and its batch norm ``features.0.norm``: plain
        modules, so that tracing, ranking, rebuilding and saving work as ever.
    loader
        Batches of images, or pairs that begin with images; labels are not read.
        Several inputs come as for :func:`prunekit.rank`, as a tuple or a
        dictionary with which a pair begins: ``((left, right), None)``.
    layers
        Names of convolutions, or one alone. By default all those whose filters may be
        removed, that no norm directly follows, and whose weight and bias the
        forward pass does not read by itself: not those that give the
        network's outputs.
    batches
        How many batches to look at; by default as many as hold 512 images.

    Raises
    ------
    KeyError
        No convolution has a name in ``layers``.
    TypeError
        An argument or a batch is of the wrong type.
    ValueError
        A norm follows one in ``layers`` already, the forward pass reads the
        weight or bias of one by itself, the loader is empty or names inputs
        that ``forward`` does not take, or an image or an output is NaN or
        infinite.
    TraceError
        The model cannot be traced.

    Notes
    -----
    SqueezeNet ends in a ReLU on its class maps, through which a class whose
    map is negative everywhere learns nothing. Take it away before training:
    ``model.set_submodule("classifier.2", nn.Identity())``.

    Examples
    --------
    >>> from prunekit.models import TinySqueezeNet
    >>> model, images = TinySqueezeNet().eval(), torch.randn(8, 3, 32, 32)
    >>> normed = insert_batch_norm(model, [images])
    >>> list(normed.features[0]._modules)
    ['conv', 'norm']
    >>> torch.allclose(normed(images), model(images), atol=1e-4)
    True
    >>> fold_batch_norm(normed).features[0]
    Conv2d(3, 16, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
    """
    images = list(inputs_in(model, loader, batches))
    normed = copy.deepcopy(model)
    graph = trace(normed, two_examples(normed, images[0], "batch 1 of the loader"))
    prunable, called = graph.prunable, modules_called(graph.operations)
    calls = calls_by_module(graph.operations, called)
    convolutions = {
        name: layer for name in calls if kind_of(layer := normed.get_submodule(name)) is CONVOLUTION
    }
    normed_already = {
        name for name in convolutions if norm_behind(calls[name], called, normed, *NORMS)
    }
    read = tensors_read(graph.operations.nodes, normed)
    read_apart = {name for name, conv in convolutions.items() if holds_any(read, conv)}
    if layers is None:
        unfit = normed_already | read_apart
        layers = [name for name in convolutions if name in prunable and name not in unfit]
    for name in layers:
        if name not in convolutions:
            raise KeyError(f"no convolution is named {name!r}; there are {', '.join(convolutions)}")
        if name in normed_already:
            raise ValueError(f"{name} has a norm behind it already: leave it out of layers")
        if name in read_apart:
            raise ValueError(
                f"the forward pass reads the weight or bias of {name} by itself, which would be "
                "found there no more: leave it out of layers"
            )
    for name, moments in _output_moments(normed, layers, images).items():
        conv = convolutions[name]
        pair = NormedConvolution(conv, _cancelling_norm(conv, *moments))
        _replace(normed, conv, pair.train(conv.training))
    return normed


@checked(model=partial(module, numbers=False))
def fold_batch_norm(model: nn.Module, *, example_inputs: Tensor | tuple | None = None) -> nn.Module:
    """A copy in which every batch norm that directly follows a convolution is part of it.

    It computes the same in evaluation mode, up to rounding. Where
    :func:`insert_batch_norm` had put a batch norm, a plain convolution stands
    under the old name again; elsewhere an ``nn.Identity`` takes the batch
    norm's place. Folded convolutions have a bias.

    A batch norm stays if it keeps no running statistics or is torchvision's
    frozen one; if the convolution is transposed and in groups, or computes its
    weight from others, as a parametrisation does; if it or the convolution has
    a forward hook, whose place would be gone; or if it, the convolution or a
    tensor of either is used in a second place too, as by
    ``F.conv2d(x, self.conv.weight)``.

    Parameters
    ----------
    model
        Left untouched.
    example_inputs
        As for :func:`prunekit.trace`, for a network whose forward pass branches on
        sizes, or makes a list of what ``chunk`` gives.

    Raises
    ------
    TraceError
        The model cannot be traced.

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> folded = fold_batch_norm(resnet18())
    >>> folded.bn1, folded.conv1.bias.shape
    (Identity(), torch.Size([64]))
    """
    folded = copy.deepcopy(model)
    inputs = None if example_inputs is None else without_data(example_inputs)
    graph = capture(meta_copy(folded).eval(), inputs)
    called = modules_called(graph)
    calls = calls_by_module(graph, called)
    shared = tied_parameters(folded) | tensors_read(graph.nodes, folded)
    for name, uses in calls.items():
        conv, behind = folded.get_submodule(name), norm_behind(uses, called, folded, BATCH_NORM)
        if behind is None or not _takes_norm(conv) or len(calls[behind]) != len(uses):
            continue
        norm = folded.get_submodule(behind)
        watched = conv._forward_hooks or norm._forward_hooks or norm._forward_pre_hooks
        if norm.running_mean is not None and not watched and not holds_any(shared, conv, norm):
            _replace(folded, conv, _fused(conv, norm))
            _replace(folded, norm, nn.Identity())
    for name, pair in list(folded.named_modules()):
        if _is_inserted(pair, folded) and isinstance(pair.norm, nn.Identity):
            _replace(folded, pair, pair.conv)
            if isinstance(folded, fx.GraphModule):
                _rename_in_graph(folded, name)
    return folded


def _output_moments(
    model: nn.Module, layers: Iterable[str], images: list[tuple]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of each filter's output over all images and positions."""
    sums = dict.fromkeys(layers, torch.zeros(()))

    def observe(module: nn.Module, inputs: tuple, named: dict, maps: Tensor, *, name: str) -> None:
        mean, variance = channel_moments(maps)
        values = torch.ones_like(mean), mean, variance + mean**2
        sums[name] = sums[name] + torch.stack(values) * maps[:, 0].numel()

    device, layout = device_of(model), fastest_layout(model, images[0])
    with hooked(model, {name: partial(observe, name=name) for name in layers}):
        for x in images:
            model(*moved(x, device, layout))
    moments = {}
    for name, (count, first, second) in sums.items():
        mean = first / count
        moments[name] = mean, (second / count - mean**2).clamp_min(0)
        if not moments[name][1].isfinite().all():
            raise ValueError(f"{name}: its outputs on these images are NaN or infinite")
    return moments


def _cancelling_norm(conv: Any, mean: Tensor, variance: Tensor) -> nn.Module:
    """The batch norm that leaves the convolution's output as it is; takes over the bias."""
    weight, bias = conv.weight, conv.bias
    norms: tuple[Any, ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    norm = norms[len(conv.kernel_size) - 1](len(mean), device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        norm.running_mean.copy_(mean if bias is None else mean - bias)
        norm.running_var.copy_(variance)
        norm.weight.copy_((norm.running_var.double() + norm.eps).sqrt())
        norm.bias.copy_(mean)
    norm.weight.requires_grad_(weight.requires_grad)
    norm.bias.requires_grad_((weight if bias is None else bias).requires_grad)
    conv.bias = None
    return norm


def _takes_norm(module: Any) -> bool:
    """Whether a module is a convolution that torch can fold a batch norm into."""
    kind = kind_of(module)
    folds = kind is CONVOLUTION or (kind is TRANSPOSED and module.groups == 1)
    plain = isinstance(module._parameters.get("weight"), nn.Parameter)  # not computed from others
    return plain and folds


def _fused(conv: Any, norm: Any) -> nn.Module:
    with evaluation_mode(conv), evaluation_mode(norm), torch.no_grad():
        fused = fuse_conv_bn_eval(conv, norm, transpose=kind_of(conv) is TRANSPOSED)
    fused.train(conv.training)
    trained = conv.weight if norm.bias is None else norm.bias
    fused.bias.requires_grad_(trained.requires_grad)
    return fused


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put one module in another's place, under every name it has."""
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if child is old and parent is not new:
                parent._modules[key] = new


def _is_inserted(module: nn.Module, model: nn.Module) -> bool:
    """Whether a module is a pair that was inserted; in a model read from a file, its namespace."""
    namespace = type(module) is nn.Module and isinstance(model, fx.GraphModule)
    return isinstance(module, NormedConvolution) or (
        namespace and list(module._modules) == ["conv", "norm"]
    )


def _rename_in_graph(module: fx.GraphModule, name: str) -> None:
    """Call the convolution by the pair's name, and its batch norm, now an identity, no more."""
    for node in module.graph.nodes:
        if node.target == f"{name}.conv":
            node.target = name
        elif node.target == f"{name}.norm":
            node.replace_all_uses_with(node.all_input_nodes[0])
            module.graph.erase_node(node)
    module.recompile()
