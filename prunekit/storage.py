"""A pruned model in one file: safetensors plus a JSON description, no pickle.

The description is the model's inference graph: its layers with their sizes,
and the operations between them. Loading needs ``prunekit`` alone, not the
class the model was built from, and runs no code from the file: only layers
of ``torch.nn`` and functions the tracer knows are accepted.
"""

from __future__ import annotations

import inspect
import json
import operator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision.ops
from safetensors import SafetensorError, safe_open
from torch import Tensor, fx, nn
from torchvision.models import swin_transformer

from prunekit.channels import rules
from prunekit.channels.capture import attribute, capture, meta_copy
from prunekit.files import write_tensors

VERSION = 1
_NAMESPACES = {
    "operator": operator,
    "torch.nn.functional": F,
    "torch": torch,
    "torchvision.ops": torchvision.ops,
    "torchvision.models.swin_transformer": swin_transformer,
}
_SIZE_ARITHMETIC = (operator.floordiv, operator.mod, operator.eq, torch._assert)
_TENSOR_PROPERTIES = {"shape", "ndim", "dtype", "device"}


def save(model: nn.Module, path: str | Path, metadata: dict[str, Any] | None = None) -> None:
    """Write ``model`` to one safetensors file, whole or not at all.

    Parameters
    ----------
    metadata
        Anything JSON can hold, such as class names; :func:`load` puts it on
        the loaded model as ``.metadata``.

    Raises
    ------
    TraceError
        The model cannot be traced.
    ValueError
        A layer or operation cannot be described.

    Examples
    --------
    >>> import tempfile
    >>> from prunekit.models import TinySqueezeNet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(TinySqueezeNet(), Path(folder) / "tiny.safetensors")
    ...     loaded = load(Path(folder) / "tiny.safetensors")
    >>> loaded(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """
    path = Path(path)
    graph = capture(meta_copy(model).eval())
    description = {
        "prunekit": VERSION,
        "class": type(model).__name__,
        "modules": {},
        "parameters": [],
        "nodes": [_describe_node(node) for node in graph.nodes],
        "metadata": metadata or {},
    }
    tensors: dict[str, Tensor] = {}
    for node in graph.nodes:
        if node.op == "call_module" and node.target not in description["modules"]:
            module = model.get_submodule(node.target)
            description["modules"][node.target] = _describe_module(node.target, module)
            for key, tensor in module.state_dict().items():
                tensors[f"{node.target}.{key}"] = tensor
        elif node.op == "get_attr":
            value = attribute(model, node.target)
            tensors[node.target] = value
            if isinstance(value, nn.Parameter):
                description["parameters"].append(node.target)
    # safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_tensors(tensors, path, {"prunekit": json.dumps(description)})


def load(path: str | Path) -> nn.Module:
    """Read a model that :func:`save` wrote. It comes in evaluation mode, on the CPU.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, or was not written by :func:`save`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as stored:
            header = (stored.metadata() or {}).get("prunekit")
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    if header is None:
        raise ValueError(f"{path} holds tensors but no prunekit description: use prunekit.save")
    description = json.loads(header)
    if description["prunekit"] != VERSION:
        raise ValueError(
            f"{path} has format version {description['prunekit']}, this prunekit reads {VERSION}"
        )
    root: dict[str, Any] = {
        name: _build_module(name, described) for name, described in description["modules"].items()
    }
    for node in description["nodes"]:
        if node["op"] == "get_attr":
            value, name = tensors[node["target"]], node["target"]
            root[name] = nn.Parameter(value) if name in description["parameters"] else value
    module = fx.GraphModule(root, _build_graph(description["nodes"]), description["class"])
    for name in {key.rpartition(".")[0] for key in tensors} & set(description["modules"]):
        part = {
            key.removeprefix(f"{name}."): tensor
            for key, tensor in tensors.items()
            if key.rpartition(".")[0] == name
        }
        module.get_submodule(name).load_state_dict(part, assign=True)
    module.metadata = description["metadata"]
    return module.eval()


def _describe_module(name: str, module: nn.Module) -> dict[str, Any]:
    kind = type(module)
    if getattr(nn, kind.__name__, None) is not kind:
        raise ValueError(f"{name} is a {kind.__name__}, which is not a layer of torch.nn")
    arguments = {}
    for parameter in inspect.signature(kind.__init__).parameters:
        if parameter == "bias":
            holder = "in_proj_bias" if kind is nn.MultiheadAttention else "bias"
            arguments[parameter] = getattr(module, holder) is not None
        elif parameter not in ("self", "device", "dtype") and hasattr(module, parameter):
            arguments[parameter] = _encode(getattr(module, parameter))
    described = {"type": kind.__name__, "arguments": arguments}
    with torch.device("meta"):
        again = _build_module(name, described).state_dict()
    if {k: v.shape for k, v in again.items()} != {
        k: v.shape for k, v in module.state_dict().items()
    }:
        raise ValueError(f"{name}, a {kind.__name__}, cannot be described by its arguments")
    return described


def _build_module(name: str, described: dict[str, Any]) -> nn.Module:
    kind = getattr(nn, described["type"], None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ValueError(f"{name}: torch.nn has no layer {described['type']!r}")
    return kind(**{key: _decode(value, {}) for key, value in described["arguments"].items()})


def _describe_node(node: fx.Node) -> dict[str, Any]:
    target = _function_name(node.target) if node.op == "call_function" else node.target
    return {
        "op": node.op,
        "name": node.name,
        "target": target,
        "args": _encode(node.args),
        "kwargs": _encode(dict(node.kwargs)),
    }


def _build_graph(nodes: list[dict[str, Any]]) -> fx.Graph:
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}
    functions = _known_functions()
    for node in nodes:
        target = node["target"]
        args, kwargs = _decode(node["args"], made), _decode(node["kwargs"], made)
        if node["op"] == "call_function":
            if target not in functions:
                raise ValueError(f"the file calls {target}, which is not a known function")
            target = functions[target]
            if target is getattr and args[1] not in _TENSOR_PROPERTIES:
                raise ValueError(f"the file reads the attribute {args[1]!r} of a tensor")
        elif node["op"] == "call_method" and target not in _known_methods():
            raise ValueError(f"the file calls the method {target!r}, which is not a known one")
        made[node["name"]] = graph.create_node(node["op"], target, args, kwargs, node["name"])
    graph.lint()
    return graph


def _known_targets() -> set[Any]:
    tables = (
        *(rules.ELEMENTWISE_FUNCTIONS, rules.MAPWISE_FUNCTIONS, rules.REDUCTIONS),
        *(rules.MOVING_FUNCTIONS, rules.RESHAPES, rules.CHUNKS, rules.SLICES),
        *(rules.MIXING_FUNCTIONS, rules.SIZES, rules.JOINS, _SIZE_ARITHMETIC),
    )
    return {target for table in tables for target in table}


def _known_methods() -> set[str]:
    return {target for target in _known_targets() if isinstance(target, str)}


def _known_functions() -> dict[str, Any]:
    functions = [target for target in _known_targets() if not isinstance(target, (str, type))]
    return {_function_name(function): function for function in functions} | {"getattr": getattr}


def _function_name(function: Any) -> str:
    """A public name where there is one: it stays the same from one version of torch to the next."""
    if function is getattr:
        return "getattr"
    for space, module in _NAMESPACES.items():
        for name in (function.__name__, function.__name__.rstrip("_")):
            if getattr(module, name, None) is function:
                return f"{space}.{name}"
    raise ValueError(f"the model calls {function}, which a file cannot name")


def _encode(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_encode(item) for item in value]}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, dict):
        return {"dict": {key: _encode(item) for key, item in value.items()}}
    if isinstance(value, slice):
        return {"slice": [_encode(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if value is Ellipsis:
        return {"ellipsis": True}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{value!r} cannot be described in a file")


def _decode(value: Any, nodes: dict[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_decode(item, nodes) for item in value]
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "node":
        return nodes[content]
    if kind == "tuple":
        return tuple(_decode(item, nodes) for item in content)
    if kind == "dict":
        return {key: _decode(item, nodes) for key, item in content.items()}
    if kind == "slice":
        return slice(*(_decode(part, nodes) for part in content))
    if kind == "dtype":
        return getattr(torch, content)
    return Ellipsis
