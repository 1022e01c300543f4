"""Units: the channels of a network that share one width."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch
from torch import fx

from prunekit.channels import ChannelGraph, channel_graph, rules
from prunekit.checks import checked, choice

Scope = Literal["blocks", "everywhere"]
_SUMS = {torch.add, operator.add, operator.iadd, "add", "add_"}


@dataclass(frozen=True)
class Unit:
    """Dependency groups that can stand for one another: what goes is a matter of score alone.

    Attributes
    ----------
    name : str
        The first layer that makes its channels. Where the filters of a layer
        fall into several units, later ones are called ``"name#2"`` and so on.
    makers : tuple of str
        The layers that make its channels, in order of execution: several
        where channels enter a sum. A depthwise convolution passes channels
        on, and makes them only where nothing else does.
    layers : tuple of str
        All layers that lose filters with it.
    groups : int64 array of shape (width,)
        Its dependency groups, as in :class:`prunekit.ChannelGraph`.
    """

    name: str
    makers: tuple[str, ...]
    layers: tuple[str, ...]
    groups: np.ndarray

    @property
    def width(self) -> int:
        """How many channels can go independently."""
        return len(self.groups)


@checked(graph=channel_graph, scope=partial(choice, among=get_args(Scope)))
def units(graph: ChannelGraph, scope: Scope = "blocks") -> list[Unit]:
    """The units of a network, in order of execution.

    Two dependency groups are of one unit if they take equally many filters
    from the same layers: then either costs the same, and a width says all
    about how many stay.

    Parameters
    ----------
    scope
        ``"blocks"``: units whose channels enter no sum, such as those between
        the two convolutions of a residual block, or the expanded channels of
        an inverted residual, its depthwise convolution included.
        ``"everywhere"``: all of them; the channels of a stage's sums are then
        one unit, of as many layers as end in the sum.

    Examples
    --------
    >>> from prunekit import trace
    >>> from prunekit.models import ResNet
    >>> graph = trace(ResNet(blocks=1), torch.zeros(1, 3, 32, 32))
    >>> [(unit.name, unit.width) for unit in units(graph)]
    [('layer1.0.conv1', 16), ('layer2.0.conv1', 32), ('layer3.0.conv1', 64)]
    >>> units(graph, "everywhere")[0].makers
    ('conv1', 'layer1.0.conv2', 'layer2.0.conv2', 'layer3.0.conv2')
    """
    if not graph.layers:
        return []
    names, seen = list(graph.layers), set(graph.maps.values())
    summed = _entering_sums(graph) if scope == "blocks" else set()
    filters = np.stack(
        [np.bincount(layer.groups, minlength=graph.count) for layer in graph.layers.values()],
        axis=1,
    )
    _, kinds = np.unique(filters, axis=0, return_inverse=True)
    found: list[Unit] = []
    for kind in range(kinds.max() + 1):
        groups = np.flatnonzero(kinds == kind)
        groups = groups[groups > 0]
        layers = [names[place] for place in np.flatnonzero(filters[groups[:1]].any(axis=0))]
        # Layers that run in training only have no maps, and cost nothing in use.
        if seen.isdisjoint(layers):
            continue
        makers = [name for name in layers if not is_depthwise(graph, name)] or layers
        if summed.isdisjoint(makers):
            found.append(Unit(makers[0], tuple(makers), tuple(layers), groups))
    found.sort(key=lambda unit: (names.index(unit.name), unit.groups[0]))
    return _named_apart(found)


def is_depthwise(graph: ChannelGraph, layer: str) -> bool:
    """Whether a layer filters each channel by itself."""
    module = graph.skeleton.get_submodule(layer)
    groups = getattr(module, "groups", 1)
    return groups > 1 and groups == module.in_channels


def _entering_sums(graph: ChannelGraph) -> set[str]:
    """The layers whose channels are added to those of others before another layer reads them."""
    pending: list[fx.Node] = []
    for node in graph.operations.nodes:
        if node.target in _SUMS and len(node.all_input_nodes) > 1:
            pending += node.all_input_nodes
    found, seen = set(), set()
    while pending:
        node = pending.pop()
        if node in seen or node.target in rules.SIZES or node.target is getattr:
            continue
        seen.add(node)
        layer = graph.calls.get(node.name, "")
        if layer in graph.layers and not is_depthwise(graph, layer):
            found.add(layer)
        else:
            pending += node.all_input_nodes
    return found


def _named_apart(found: list[Unit]) -> list[Unit]:
    times: dict[str, int] = {}
    apart = []
    for unit in found:
        times[unit.name] = number = times.get(unit.name, 0) + 1
        name = unit.name if number == 1 else f"{unit.name}#{number}"
        apart.append(Unit(name, unit.makers, unit.layers, unit.groups))
    return apart
