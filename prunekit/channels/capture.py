"""The network as a torch.fx graph, captured without touching the network."""

from __future__ import annotations

import copy
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from prunekit.channels import rules
from prunekit.channels.kinds import KINDS
from prunekit.channels.refusals import Leaves, TraceError, is_leaf, refuse_unreadable

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_PLAINLY_COPIED = ("torch.nn.modules.", "torchvision.")
_CONTAINERS = {OrderedDict, dict, set}
_VALUES = {type(None), bool, int, float, str}


def meta_copy(model: nn.Module, leaves: Leaves = ()) -> nn.Module:
    """A copy with the same structure whose tensors have shapes but no data, and no hooks.

    Instances of ``leaves``, and of classes marked as such, are not looked into.
    """
    refuse_unreadable(model, leaves)
    memo: dict[int, object] = {}
    for module in model.modules():
        memo |= {id(getattr(module, name)): OrderedDict() for name in _HOOKS}
        if is_leaf(module, leaves):
            memo[id(module)] = RunsOnData(module)
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    return quick_deepcopy(model, memo)


class RunsOnData(nn.Module):
    """Stands for a leaf in a copy without data: runs it on zeros, and keeps the shapes.

    A leaf may look at values, which tensors without data do not have.
    """

    def __init__(self, leaf: nn.Module) -> None:
        super().__init__()
        self.leaf = (copy.deepcopy(leaf).eval(),)  # in a tuple: its tensors are not for tracing

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        (leaf,) = self.leaf
        device = next((p.device for p in leaf.parameters()), torch.device("cpu"))

        def move(value: Any, to: Any, make: Callable) -> Any:
            return make(value, device=to) if isinstance(value, Tensor) else value

        with torch.no_grad():
            args, kwargs = fx.node.map_aggregate(
                (args, kwargs), lambda value: move(value, device, torch.zeros_like)
            )
            return fx.node.map_aggregate(
                leaf(*args, **kwargs), lambda value: move(value, "meta", torch.empty_like)
            )


def quick_deepcopy(model: nn.Module, memo: dict[int, object]) -> nn.Module:
    """What ``copy.deepcopy(model, memo)`` gives, in a fraction of its time.

    Every module has some thirty attributes, most of them numbers and empty
    dictionaries, and deepcopy looks at each with care. The modules of torch
    and torchvision have no ways of their own to be copied.
    """
    for module in reversed(list(model.modules())):  # parts before what is made of them
        if id(module) in memo or not type(module).__module__.startswith(_PLAINLY_COPIED):
            continue
        memo[id(module)] = twin = type(module).__new__(type(module))
        for name, value in vars(module).items():
            if type(value) in _CONTAINERS and not value:
                value = type(value)()
            elif not _is_plain(value):
                value = copy.deepcopy(value, memo)
            vars(twin)[name] = value
    return copy.deepcopy(model, memo)


def _is_plain(value: Any) -> bool:
    """Whether a value, such as a stride of (1, 1), never changes and so need not be copied."""
    kind = type(value)
    return kind in _VALUES or (kind is tuple and all(type(item) in _VALUES for item in value))


class ShapesOnly(TorchFunctionMode):
    """Passes over operations that leave the shape as it is.

    On tensors without data they compute nothing, yet take long: torch works
    out the shape of one batch norm in Python, in a millisecond.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if function in rules.SHAPE_KEEPING and args and _keeps_shape(*args):
            return args[0]
        if function is F.layer_norm and len(args) > 1 and _ends_in(*args[:2]):
            return args[0]
        if function in rules.SHAPE_KEEPING_PAIRS and len(args) == 2 and _alike(*args):
            return args[0]
        return function(*args, **(kwargs or {}))


def _keeps_shape(x: Tensor, *others: Any) -> bool:
    return x.is_meta and all(
        len(other) == x.shape[1] for other in others if isinstance(other, Tensor)
    )


def _ends_in(x: Tensor, shape: Sequence[int]) -> bool:
    return x.is_meta and x.shape[-len(shape) :] == tuple(shape)


def _alike(a: Any, b: Any) -> bool:
    return (
        isinstance(a, Tensor)
        and isinstance(b, Tensor)
        and a.is_meta
        and a.shape == b.shape
        and a.dtype == b.dtype
    )


def capture(model: nn.Module) -> fx.Graph:
    """The operations of ``model.forward`` in its present mode (training or evaluation).

    Raises
    ------
    TraceError
        The forward pass branches on data, or does what torch.fx cannot
        follow. The message names the module and the line.
    """
    tracer = _NamingTracer(autowrap_functions=rules.WRAPPED)
    try:
        return tracer.trace(model)
    except Exception as error:
        place = tracer.innermost or type(model).__name__
        frame = traceback.extract_tb(error.__traceback__)
        lines = [entry for entry in frame if "torch/fx" not in entry.filename.replace("\\", "/")]
        line = f" at {lines[-1].filename}:{lines[-1].lineno}" if lines else ""
        raise TraceError(
            f"{place} cannot be traced{line}: {error}. A forward pass that branches on the "
            "values of tensors has no fixed graph: move that part out of the model, or put it into "
            "a module of its own and register its class with prunekit.channels.leaf"
        ) from error


class _NamingTracer(fx.Tracer):
    """Remembers in which module a trace failed."""

    innermost = ""
    proxy_buffer_attributes = True  # as parameters are: a buffer's methods become part of the graph

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, RunsOnData) or type(m) in KINDS
        return known or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.innermost = self.innermost or f"module {self.path_of_module(m)!r}"
            raise


def bind(graph: fx.Graph, model: nn.Module, traced: nn.Module) -> fx.GraphModule:
    """A graph traced on a copy, as a module that shares the modules and tensors of ``model``."""
    root: dict[str, object] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            root[node.target] = model.get_submodule(node.target)
        elif node.op == "get_attr":
            owner = model if has_attribute(model, node.target) else traced
            root[node.target] = attribute(owner, node.target)
    module = fx.GraphModule(root, graph, class_name=type(model).__name__)
    module.training = model.training
    return module


def attribute(module: nn.Module, path: str) -> torch.Tensor:
    """The tensor at a dotted path."""
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name)
    return value


def has_attribute(module: nn.Module, path: str) -> bool:
    """Whether there is something at a dotted path."""
    try:
        attribute(module, path)
    except AttributeError:
        return False
    return True
