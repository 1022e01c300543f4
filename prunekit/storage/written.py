"""Layers that a graph writes out as functions, made layers again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from prunekit.channels.capture import attribute
from prunekit.channels.functional import FUNCTIONS, arguments

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def call_layers(network: fx.GraphModule) -> None:
    """Let a network call a layer where it hands the tensors that lie in one place to F.conv2d.

    The layers of a class that a file cannot name leave their tensors under their names, and the
    function. As layers they state their sizes, and so can be pruned.
    """
    for node in list(network.graph.nodes):
        names, classes = FUNCTIONS.get(node.target, ((), ()))
        if node.op != "call_function" or not {nn.Linear, *_CONVOLUTIONS}.intersection(classes):
            continue
        given = arguments(node.target, node.args, node.kwargs)
        tensors = {name: given.pop(name, None) for name in ("weight", "bias")}
        own = {name: one for name, one in tensors.items() if one is not None}
        place = _place(network, own)
        nodes: list[fx.Node] = []
        fx.node.map_arg(given, nodes.append)
        if not place or nodes != [given.pop("input", None)] or not given.keys() <= set(names):
            continue
        layer = _layer(
            classes[0], {k: attribute(network, one.target) for k, one in own.items()}, given
        )
        with network.graph.inserting_before(node):
            node.replace_all_uses_with(network.graph.call_module(place, tuple(nodes)))
        for one in (node, *own.values()):
            if not one.users:
                network.graph.erase_node(one)
        network.set_submodule(place, layer)
    network.recompile()


def _place(network: nn.Module, own: dict[str, Any]) -> str:
    """Where the tensors of one layer lie, and nothing else; empty if they do not."""
    if not all(isinstance(one, fx.Node) and one.op == "get_attr" for one in own.values()):
        return ""
    places = {str(one.target).rpartition(".")[0] for one in own.values()}
    if len(places) != 1 or "weight" not in own:
        return ""
    (place,) = places
    if not place or any(one.target != f"{place}.{name}" for name, one in own.items()):
        return ""
    holder = network.get_submodule(place)
    held = [*holder._modules, *holder._parameters, *holder._buffers]
    return place if sorted(held) == sorted(own) and type(holder) is nn.Module else ""


def _layer(kind: type[nn.Module], tensors: dict[str, Tensor], given: dict[str, Any]) -> nn.Module:
    outputs, inputs, *kernel = tensors["weight"].shape
    settings = {**given, "kernel_size": tuple(kernel)} if kernel else given
    inputs *= given.get("groups", 1)
    with torch.device("meta"):
        layer = kind(inputs, outputs, bias="bias" in tensors, **settings)
    for name, tensor in tensors.items():
        setattr(layer, name, tensor)
    return layer
