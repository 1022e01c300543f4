"""A network in words, and back: its layers, and the operations between them."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from torch import Tensor, fx, nn

from prunekit.channels.capture import attribute, has_attribute
from prunekit.channels.drawing import OF_CONSTANTS
from prunekit.storage.into import sizes_to_tell
from prunekit.storage.known import ATTRIBUTES, FUNCTION_NAMES, FUNCTIONS, METHODS
from prunekit.storage.layers import build_layer, check_tensors, describe_layer
from prunekit.storage.values import check_name, check_path, check_variable, decode, encode

# Networks have a few thousand; loading takes time for each.
OPERATIONS = 20_000


def describe(
    model: nn.Module, graph: fx.Graph, traced: nn.Module
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description of ``model``, and its tensors by name, each once.

    Parameters
    ----------
    traced
        The copy that ``graph`` was captured on. It holds the tensors that the
        forward pass made on the way.

    Raises
    ------
    ValueError
        Naming the layer or operation that a file cannot hold.
    """
    layers: dict[str, Any] = {}
    named: dict[str, Tensor] = {}
    loose: dict[str, Tensor] = {}
    for node in graph.nodes:
        if node.op == "call_module" and node.target not in layers:
            layer = model.get_submodule(node.target)
            layers[node.target] = describe_layer(node.target, layer)
            state = layer.state_dict(keep_vars=True)
            named |= {f"{node.target}.{key}": tensor for key, tensor in state.items()}
        elif node.op == "get_attr":
            loose[node.target] = _tensor(node.target, model, traced)
    named |= loose
    first: dict[int, str] = {}
    for name, tensor in named.items():
        first.setdefault(id(tensor), name)
    description = {
        "class": type(model).__name__,
        "modules": layers,
        "sizes": sizes_to_tell(model, [name for name in loose if has_attribute(model, name)]),
        "parameters": [name for name, t in loose.items() if isinstance(t, nn.Parameter)],
        "tied": {name: first[id(t)] for name, t in named.items() if first[id(t)] != name},
        "nodes": [_describe_node(node) for node in graph.nodes],
    }
    return description, {name: named[name] for name in first.values()}


def build(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> fx.GraphModule:
    """The network that was described, in evaluation mode.

    Raises
    ------
    ValueError
        The description names what is not known, or does not fit the tensors.
    Exception
        Whatever torch makes of arguments that make no sense to it.
    """
    check_name(description["class"])
    layers = {name: build_layer(name, words) for name, words in description["modules"].items()}
    graph = _build_graph(description["nodes"], layers)
    loose = {node.target for node in graph.nodes if node.op == "get_attr"}
    wanted = _wanted(layers, loose)
    parameters, tied = set(description["parameters"]), description.get("tied", {})
    _check_names(wanted, tensors, tied)
    if not parameters <= loose:
        raise ValueError(f"{min(parameters - loose)!r} is called a parameter, but is not used")
    parameters |= {name for name, tensor in wanted.items() if isinstance(tensor, nn.Parameter)}

    made: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        trainable = tensor.is_floating_point() or tensor.is_complex()
        made[name] = nn.Parameter(tensor, trainable) if name in parameters else tensor
    for name, original in tied.items():
        if (name in parameters) != (original in parameters):
            raise ValueError(f"{name!r} and {original!r} cannot be the same tensor")
        made[name] = made[original]
    for name, layer in layers.items():
        state = layer.state_dict(keep_vars=True)
        check_tensors(name, state, {key: made[f"{name}.{key}"] for key in state})
        for key in state:
            _put(layer, key, made[f"{name}.{key}"])
    return fx.GraphModule(
        {**layers, **{name: made[name] for name in loose}}, graph, description["class"]
    ).eval()


def _tensor(path: str, *owners: nn.Module) -> Tensor:
    for owner in owners:
        if has_attribute(owner, path) and isinstance(value := attribute(owner, path), Tensor):
            return value
    raise ValueError(f"{path!r} is no tensor: a model file can hold layers and tensors only")


def _put(layer: nn.Module, key: str, tensor: Tensor) -> None:
    place, _, name = key.rpartition(".")
    owner = layer.get_submodule(place)
    kind: dict[str, Any] = owner._parameters if name in owner._parameters else owner._buffers
    kind[name] = tensor


def _wanted(layers: Mapping[str, nn.Module], loose: set[str]) -> dict[str, Tensor | None]:
    """Every tensor the network has, by name: as its layer wants it, or None."""
    wanted: dict[str, Tensor | None] = {}
    for name, layer in layers.items():
        wanted |= {f"{name}.{key}": t for key, t in layer.state_dict(keep_vars=True).items()}
    places = layers.keys() | loose
    for path in places:
        parts = path.split(".")
        above = {".".join(parts[:depth]) for depth in range(1, len(parts))} & places
        if above and path not in wanted:
            raise ValueError(f"{path!r} cannot lie within {min(above)!r}")
    return {**dict.fromkeys(loose), **wanted}


def _check_names(
    wanted: Mapping[str, Any], tensors: Mapping[str, Tensor], tied: Mapping[str, str]
) -> None:
    """Refuse tensors that are missing, too many, or tied to what is none."""
    unknown = (set(tied.values()) - tensors.keys()) | (tied.keys() & tensors.keys())
    missing = wanted.keys() - tensors.keys() - tied.keys()
    surplus = (tensors.keys() | tied.keys()) - wanted.keys()
    for names, said in (
        (missing, "lacks the tensor"),
        (surplus, "holds a tensor that no layer has:"),
        (unknown, "ties a tensor wrongly:"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(f"it {said} {min(names)!r}{more}")


def _describe_node(node: fx.Node) -> dict[str, Any]:
    target: Any = node.target
    if node.op == "call_function":
        target = FUNCTION_NAMES.get(target)
    if target is None or (node.op == "call_method" and target not in METHODS):
        called = getattr(node.target, "__name__", node.target)
        module = getattr(node.target, "__module__", None)
        raise ValueError(
            f"{_place(node)} calls {f'{module}.{called}' if module else called}, which a model "
            "file cannot hold (prunekit/storage/known.py lists what it can)"
        )
    try:
        return {
            "op": node.op,
            "name": node.name,
            "target": target,
            "args": encode(node.args),
            "kwargs": encode(dict(node.kwargs)),
        }
    except ValueError as error:
        raise ValueError(f"{_place(node)}, at {target}: {error}") from None


def _place(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return "the model's forward"
    path, kind = list(stack.values())[-1]
    return f"module {path!r} ({kind.__name__})"


def _build_graph(described: list[dict[str, Any]], layers: Mapping[str, nn.Module]) -> fx.Graph:
    if len(described) > OPERATIONS:
        raise ValueError(f"{len(described)} operations are more than {OPERATIONS}")
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}
    for words in described:
        op, name, target = words["op"], words["name"], words["target"]
        args, kwargs = decode(words["args"], made), decode(words["kwargs"], made)
        try:
            check_variable(name)
            target = _check_node(op, target, args, kwargs, layers)
        except (ValueError, TypeError) as error:
            raise ValueError(f"operation {name!r:.80}: {error}") from error
        if name in made:
            raise ValueError(f"two operations are named {name!r}")
        made[name] = graph.create_node(op, target, args, kwargs, name)
    nodes = list(graph.nodes)
    if [node for node in nodes if node.op == "output"] != nodes[-1:]:
        raise ValueError("the network must have one output, at its end")
    unused = layers.keys() - {node.target for node in nodes if node.op == "call_module"}
    if unused:
        raise ValueError(f"layer {min(unused)!r} is not used")
    graph.lint()
    return graph


def _check_node(
    op: str, target: Any, args: Any, kwargs: Any, layers: Mapping[str, nn.Module]
) -> str | Callable:
    """The target of one operation, if all of it can be read as one."""
    if not (isinstance(args, tuple) and isinstance(kwargs, dict)):
        raise ValueError("its arguments are none")
    for key in kwargs:
        check_name(key)
    inputs: list[fx.Node] = []
    fx.node.map_arg((args, kwargs), inputs.append)
    if op in ("call_function", "call_method"):
        known = FUNCTIONS if op == "call_function" else METHODS
        if target not in known:
            raise ValueError(f"calls {target!r:.80}, which is not a known {op[5:]}")
        if not inputs and FUNCTIONS.get(target) not in OF_CONSTANTS:
            raise ValueError("computes with constants only")
    if op == "placeholder":
        check_variable(target.removeprefix("*").removeprefix("*"))  # as of *images
        if len(args) > 1 or kwargs or inputs:
            raise ValueError("an input has more than a default value")
    elif op == "get_attr":
        check_path(target)
        if args or kwargs:
            raise ValueError("a tensor has no arguments")
    elif op == "call_module":
        check_path(target)
        if target not in layers:
            raise ValueError(f"there is no layer {target!r}")
        if (signature := _signature(type(layers[target]).forward)) is not None:
            signature.bind(None, *args, **kwargs)
    elif op == "call_method":
        if not (args and isinstance(args[0], fx.Node)):
            raise ValueError("calls a method of a constant")
    elif op == "call_function":
        _check_call(FUNCTIONS[target], args, kwargs)
        return FUNCTIONS[target]
    elif op != "output" or len(args) != 1 or kwargs:
        raise ValueError(f"{op!r:.80} is no operation of a network")
    return target


def _check_call(function: Callable, args: tuple, kwargs: dict[str, Any]) -> None:
    if function is getattr:
        if len(args) != 2 or kwargs or not isinstance(args[0], fx.Node):
            raise ValueError("reads an attribute of no tensor")
        if not (isinstance(args[1], str) and args[1] in ATTRIBUTES):
            raise ValueError(f"reads the attribute {args[1]!r:.80} of a tensor")
    elif (signature := _signature(function)) is not None:
        signature.bind(*args, **kwargs)
    if function is operator.pow and isinstance(args[0], (int, float)) and args[0] < 0:
        # torch.fx writes -2 ** x, which is -(2 ** x).
        raise ValueError(f"raises {args[0]} to a power: write torch.pow({args[0]}, x) for that")


@lru_cache
def _signature(function: Callable) -> inspect.Signature | None:
    """None for the functions of torch that tell nothing of their arguments."""
    try:
        return inspect.signature(function)
    except ValueError:
        return None
