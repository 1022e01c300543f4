"""Tensors that are in use in a second place: what changes them there changes more than a layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import fx, nn

from prunekit.channels.capture import attribute, has_attribute


def tied_parameters(model: nn.Module) -> set[int]:
    """The ids of parameters that several modules share."""
    holders = Counter(id(p) for module in model.modules() for p in module._parameters.values())
    return {parameter for parameter, times in holders.items() if times > 1}


def tensors_read(nodes: Iterable[fx.Node], model: nn.Module) -> set[int]:
    """The ids of the tensors of a model that these nodes of its graph read, outside any module."""
    paths = (str(node.target) for node in nodes if node.op == "get_attr")
    # Tensors made in the forward pass are in the graph, but not in the model.
    return {id(attribute(model, path)) for path in paths if has_attribute(model, path)}


def holds_any(tensors: set[int], *modules: nn.Module) -> bool:
    """Whether one of these tensors, by their ids, is a parameter or buffer of the modules."""
    own = (t for module in modules for t in (*module.parameters(), *module.buffers()))
    return any(id(tensor) in tensors for tensor in own)
