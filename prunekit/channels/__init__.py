"""Which filters and input slices belong together, for any CNN that torch.fx can trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import Tensor, fx, nn

from prunekit import checks
from prunekit.channels.calls import ends_of_maps
from prunekit.channels.capture import TraceError, bind, has_shapes_of, without_data
from prunekit.channels.kinds import kind_of, rule
from prunekit.channels.passes import on_labels
from prunekit.channels.refusals import Leaves, leaf

__all__ = ["ChannelGraph", "LayerChannels", "TraceError", "leaf", "rule", "trace"]


@dataclass(frozen=True)
class LayerChannels:
    """The channels of one convolution or linear layer, by dependency group.

    Attributes
    ----------
    groups : int64 array of shape (filters,)
        Dependency group of each filter. Filters of one group, in this layer
        or others, can only go together; those of group 0 must stay.
    inputs : int64 array of shape (input channels,)
        Dependency group of each channel the layer reads.
    """

    name: str
    groups: np.ndarray
    inputs: np.ndarray

    @property
    def filters(self) -> int:
        return len(self.groups)


@dataclass(frozen=True)
class ChannelGraph:
    """The result of :func:`trace`.

    Attributes
    ----------
    layers : dict
        Every convolution and linear layer by name, in order of execution.
    slices : dict
        For each parameter and buffer that carries channels, by name: which
        dimension carries which groups.
    norms : dict
        For each batch, instance or group norm and each PReLU, by name: the
        dependency group of each of its channels.
    heads : dict
        For each attribute in which a module that is no layer states how many heads of
        attention it has, or how wide they are together, as in ``"attn.num_heads"``:
        the dependency group of each head, or channel.
    maps : dict
        For each graph node whose output is the activation map of a layer as
        its consumer sees it (after the batch norm and activation that
        directly follow): the name of that layer.
    count : int
        Number of dependency groups, with group 0.
    skeleton : nn.Module
        A copy of the model in evaluation mode, without hooks, whose tensors
        have shapes but no data.
    inputs : tuple
        The example inputs, without data.
    operations : fx.Graph
        The forward pass in evaluation mode.
    calls : dict
        For each of its nodes that calls a layer, as a module or by a function with
        the layer's tensors: the layer's name.
    """

    layers: dict[str, LayerChannels]
    slices: dict[str, dict[int, np.ndarray]]
    norms: dict[str, np.ndarray]
    heads: dict[str, np.ndarray]
    maps: dict[str, str]
    count: int
    skeleton: nn.Module = field(repr=False)
    inputs: tuple = field(repr=False)
    operations: fx.Graph = field(repr=False)
    calls: dict[str, str] = field(repr=False)

    def bound_to(self, model: nn.Module) -> fx.GraphModule:
        """The forward pass in evaluation mode, on the modules of a model of these shapes."""
        return bind(self.operations, model, self.skeleton)

    @property
    def prunable(self) -> dict[str, LayerChannels]:
        """Layers with at least one filter that may go."""
        return {name: layer for name, layer in self.layers.items() if layer.groups.any()}

    def refuse_another(self, model: nn.Module) -> None:
        """Raise a ValueError if this graph is of another network, or of an earlier state of it."""
        if not has_shapes_of(model, self.skeleton, self.slices):
            raise ValueError(
                "the graph is of another network than the model, or from before filters were "
                "removed: trace the model again"
            )

    def members(self, group: int) -> dict[str, list[int]]:
        """The filters of one dependency group, by layer."""
        return self._members.get(group, {})

    @cached_property
    def _members(self) -> dict[int, dict[str, list[int]]]:
        found: dict[int, dict[str, list[int]]] = {}
        for name, layer in self.layers.items():
            for index, group in enumerate(layer.groups.tolist()):
                found.setdefault(group, {}).setdefault(name, []).append(index)
        return found

    def groups_of(self, remove: Mapping[str, Iterable[int]]) -> np.ndarray:
        """The dependency groups that a removal names: a boolean for each, true for these.

        Raises
        ------
        TypeError
            ``remove`` maps no layers to filters, or a boolean mask stands for indices.
        KeyError
            A layer does not exist.
        IndexError
            A filter does not exist.
        ValueError
            A filter must stay, or a layer would lose all its filters.
        """
        if not isinstance(remove, Mapping):
            raise TypeError(
                "remove must map layers to filters, as select gives them or as in "
                f"{{'conv1': [0, 3]}}, not {checks.shown(remove)}"
            )
        gone = np.zeros(self.count, dtype=bool)
        for name, filters in remove.items():
            if name not in self.layers:
                known = ", ".join(self.layers)
                raise KeyError(
                    f"no convolution or linear layer is named {name!r}; there are {known}"
                )
            groups = self.layers[name].groups
            chosen = checks.filters(name, filters)
            unknown = chosen[(chosen < 0) | (chosen >= len(groups))]
            if len(unknown):
                raise IndexError(f"{name} has filters 0 to {len(groups) - 1}, not {unknown[0]}")
            staying = chosen[groups[chosen] == 0]
            if len(staying):
                raise ValueError(
                    f"filter {staying[0]} of {name} must stay: it is tied to the model's input or "
                    "output, or to a size that its code writes or computes with"
                )
            gone[groups[chosen]] = True
        for name, layer in self.layers.items():
            if gone[layer.groups].all():
                raise ValueError(f"{name} would lose all of its {layer.filters} filters")
        return gone


def channel_graph(name: str, value: object) -> ChannelGraph:
    """What :func:`trace` gave, as an argument of another function."""
    if not isinstance(value, ChannelGraph):
        raise TypeError(f"{name} must be what prunekit.trace gives, not {checks.shown(value)}")
    return value


def trace(model: nn.Module, example_inputs: Tensor | tuple, *, leaves: Leaves = ()) -> ChannelGraph:
    """Find which channels belong together, by running the model on channel labels.

    Parameters
    ----------
    model
        A module whose forward pass branches on no value. It is not changed. Its hooks are not
        looked at: what they do to channels must not depend on which there are. What it does in
        training mode only is looked at where a parameter or buffer is read in that mode only.
        Otherwise channels that only training mode returns, or adds to others, may go like any.
    example_inputs
        A tensor, or a tuple of the positional arguments of ``forward``: tensors, plain
        values, and dictionaries, lists and dataclasses of them. Of tensors only shapes matter.
        Where the forward pass branches on sizes of its inputs, what is found is right for
        inputs that branch as these do. On a number of channels it may branch, too: they stay.
        Heads of attention go as wholes where tensors are laid out by a number that the module
        keeps, such as ``num_heads``; those of nn.MultiheadAttention stay until
        :func:`prunekit.attention.free_heads` has freed them.
    leaves
        Classes of modules not to look into, such as one that branches on
        values. The channels that enter or leave them stay. To mark a class
        for all that trace, see :func:`prunekit.channels.leaf`; to say what a class
        does to channels, :func:`prunekit.channels.rule`.

    Raises
    ------
    TypeError
        ``leaves`` is no tuple of classes, or ``example_inputs`` holds no tensor, or an array.
    TraceError
        Naming the module whose effect on channels is not known, or which must
        be unwrapped first, such as a ``DataParallel``, and how.

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> import torch
    >>> graph = trace(resnet18(), torch.zeros(1, 3, 64, 64))
    >>> graph.members(int(graph.layers["conv1"].groups[5]))
    {'conv1': [5], 'layer1.0.conv2': [5], 'layer1.1.conv2': [5]}
    >>> int(graph.layers["fc"].groups.max())
    0
    """
    inputs = without_data(example_inputs)
    if not (isinstance(leaves, tuple) and all(isinstance(kind, type) for kind in leaves)):
        raise TypeError(
            f"leaves must be a tuple of classes, as in (Branching,), not {checks.shown(leaves)}"
        )
    if kind_of(model).filters:
        raise TraceError(
            f"the model is a single {type(model).__name__}, and its filters are the output: put it "
            "into nn.Sequential, with the layers around it"
        )
    evaluation = on_labels(model, inputs, leaves)
    book = evaluation.book
    groups = book.groups()
    layers = {
        name: LayerChannels(name, groups[labels.numpy()], groups[book.inputs[name].numpy()])
        for name, labels in book.outputs.items()
    }
    slices = {
        name: {dim: groups[labels.numpy()] for dim, labels in dims.items()}
        for name, dims in book.slices.items()
    }
    norms = {
        name: groups[labels.numpy()]
        for name, labels in book.inputs.items()
        if name not in book.outputs
    }
    called = {node.name: name for node, name in evaluation.called.items()}
    return ChannelGraph(
        layers,
        slices,
        norms,
        {path: groups[labels.reshape(-1).numpy()] for path, labels in book.counted.items()},
        ends_of_maps(evaluation.graph, called, evaluation.model),
        int(groups.max()) + 1,
        evaluation.model,
        inputs,
        operations=evaluation.graph,
        calls=called,
    )
