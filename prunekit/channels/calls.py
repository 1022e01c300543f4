"""Where the modules of a network are called, and which norm reads what they give."""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx, nn

from prunekit.channels.kinds import Kind, kind_of


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


def norm_behind(
    calls: list[fx.Node], called: Mapping[str, str], model: nn.Module, *norms: Kind
) -> str | None:
    """The name of the norm that reads what each of these calls gives, where nothing else does."""
    readers = {tuple(called.get(user.name, "") for user in call.users) for call in calls}
    names = readers.pop() if len(readers) == 1 else ()
    if len(names) != 1 or not names[0]:
        return None
    return names[0] if kind_of(model.get_submodule(names[0])) in norms else None
