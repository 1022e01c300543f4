"""Where the modules of a network are called, and what reads what they give."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping
from typing import Any

from torch import fx, nn

from prunekit.channels import rules
from prunekit.channels.kinds import INERT, Kind, kind_of

IN_PLACE_OPERATORS = {
    value for name, value in vars(operator).items() if name.startswith("i") and callable(value)
} - {operator.index, operator.inv, operator.invert, operator.is_, operator.is_not}
IN_PLACE_OPERATORS |= {operator.setitem}
_UNDERLINED = {operator.and_, operator.or_}  # since Python has the words for something else


def modules_called(graph: fx.Graph) -> dict[str, str]:
    """The name of the module that a node calls as such, by the node's name."""
    return {node.name: str(node.target) for node in graph.nodes if node.op == "call_module"}


def calls_by_module(graph: fx.Graph, called: Mapping[str, str]) -> dict[str, list[fx.Node]]:
    """The calls of each module, in order of execution.

    Parameters
    ----------
    called
        The name of the module that each node calls: by :func:`modules_called`, or
        ``calls`` of a :class:`prunekit.ChannelGraph`, which knows calls by function, too.
    """
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.name in called:
            calls.setdefault(called[node.name], []).append(node)
    return calls


def readers(node: fx.Node) -> list[fx.Node]:
    """The nodes that read the numbers of a node's output, in order, and not only its sizes."""
    return [user for user in node.users if not _reads_sizes(user)]


def _reads_sizes(node: fx.Node) -> bool:
    if node.op not in ("call_function", "call_method"):
        return False
    if node.target is getattr:
        return node.args[1] in rules.OF_TENSORS
    return node.target in rules.SIZES


def in_place(node: fx.Node, layer: nn.Module | None = None) -> bool:
    """Whether a node writes over what it reads; ``layer`` is the module that it calls, if any."""
    target: Any = node.target
    if getattr(layer, "inplace", False) or node.kwargs.get("inplace", False):
        return True
    if node.op == "call_module":
        return False
    name = target if isinstance(target, str) else target.__name__
    if target in IN_PLACE_OPERATORS or "out" in node.kwargs or _inplace_by_place(node):
        return True
    return name.endswith("_") and target not in _UNDERLINED


def _inplace_by_place(node: fx.Node) -> bool:
    """Whether a function's argument ``inplace`` is given by its place, and true."""
    if not inspect.isfunction(node.target):
        return False
    names = list(inspect.signature(node.target).parameters)
    return "inplace" in names and any(node.args[names.index("inplace") :][:1])


def ends_of_maps(graph: fx.Graph, called: Mapping[str, str], model: nn.Module) -> dict[str, str]:
    """The layer of each node that gives an activation map: what its batch norm and activation give.

    They are followed as long as nothing else reads the numbers between. What
    an evaluation passes through, such as dropout, is no end of the way, and
    an activation that works in place, with its result left unused, is read by
    whatever reads the map after it.
    """

    def layer_of(node: fx.Node) -> nn.Module | None:
        return model.get_submodule(called[node.name]) if node.name in called else None

    maps = {}
    for node in graph.nodes:
        layer = layer_of(node)
        if layer is None or not kind_of(layer).filters:
            continue
        end, following = node, readers(node)
        while following:
            reader, *others = following
            layer, unused = layer_of(reader), not reader.users
            if others and not (unused and in_place(reader, layer)):
                break
            kind = None if layer is None else kind_of(layer)
            if (kind and kind.refines) or reader.target in rules.ACTIVATION_FUNCTIONS:
                end = reader
            elif kind is not INERT and reader.target not in rules.DROPOUT_FUNCTIONS:
                break
            following = others if unused else readers(reader)
        maps[end.name] = called[node.name]
    return maps


def norm_behind(
    calls: list[fx.Node], called: Mapping[str, str], model: nn.Module, *norms: Kind
) -> str | None:
    """The name of the norm that reads what each of these calls gives, where nothing else does."""
    found = {tuple(called.get(user.name, "") for user in readers(call)) for call in calls}
    names = found.pop() if len(found) == 1 else ()
    if len(names) != 1 or not names[0]:
        return None
    return names[0] if kind_of(model.get_submodule(names[0])) in norms else None
