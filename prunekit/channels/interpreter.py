"""Run a network on channel labels in place of pixels.

Every activation becomes an integer tensor of the right shape whose values
say which channel each number belongs to. A convolution issues fresh labels
for its filters and notes the labels it reads. What adds or multiplies two
tensors unites their labels. What only moves data is executed on the labels,
which land where the channels land.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from prunekit.channels import rules
from prunekit.channels.capture import RunsOnData, ShapesOnly, TraceError, attribute
from prunekit.channels.labels import LabelBook, fixed, tensors_in

_REMEDY = (
    "Write that part with operations prunekit knows, or register it with prunekit.channels.leaf: "
    "then the channels that enter or leave it stay"
)


class LabelInterpreter(fx.Interpreter):
    """Executes one captured graph on meta tensors and, beside them, on labels.

    Several graphs (training and evaluation mode) may write into the same
    ``book``: a module that both call has the same labels in both.
    """

    def __init__(self, model: nn.Module, graph: fx.Graph, book: LabelBook) -> None:
        super().__init__(model, garbage_collect_values=False, graph=graph)
        self.extra_traceback = False
        self.book = book
        self.labels: dict[fx.Node, Any] = {}

    def run_node(self, node: fx.Node) -> Any:
        try:
            args, kwargs = self.fetch_args_kwargs_from_env(node)
            with ShapesOnly():
                value = getattr(self, node.op)(node.target, args, kwargs)
        except Exception as error:
            raise TraceError(f"{_place(node)} fails on the example inputs: {error}") from error
        self.labels[node] = self._label(node, value)
        return value

    def get_attr(self, target: str, args: tuple, kwargs: dict) -> Any:
        value = attribute(self.module, target)
        return value.to("meta") if isinstance(value, Tensor) else value

    def call_module(self, target: str, args: tuple, kwargs: dict) -> Any:
        return self.submodules[target](*args, **kwargs)

    def _label(self, node: fx.Node, value: Any) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.labels[n])
        if node.op == "placeholder":
            return fx.node.map_aggregate(value, fixed) if tensors_in(value) else value
        if node.op == "get_attr":
            if not _is_carried(self.module, node.target):
                return fixed(value)  # made in the forward pass, of a size written there
            return self.book.parameter(node.target, value)
        if node.op == "output":
            self.book.freeze(*tensors_in(args))
            return None
        if not tensors_in((args, kwargs)):
            return fx.node.map_aggregate(value, fixed)
        if node.op == "call_module":
            module = self.submodules[node.target]
            return self._module(node, module, tensors_in((args, kwargs)), value)
        return self._function(node, args, kwargs, value)

    def _module(self, node: fx.Node, module: nn.Module, inputs: list[Tensor], value: Any) -> Any:
        book, name, x = self.book, node.target, inputs[0]
        if isinstance(module, RunsOnData):
            book.freeze(*inputs)
            return fx.node.map_aggregate(value, fixed)
        if isinstance(module, rules.CONVOLUTIONS + rules.TRANSPOSED):
            return book.convolution(name, module, x, value.shape)
        if isinstance(module, nn.Linear):
            return book.linear(name, module, x)
        if isinstance(module, rules.BATCH_NORMS):
            return book.vector_parameters(name, module, x)
        if isinstance(module, nn.PReLU):
            return book.vector_parameters(name, module, x) if module.num_parameters > 1 else x
        if isinstance(module, nn.GroupNorm):
            return book.group_norm(name, module, x)
        if isinstance(module, rules.ELEMENTWISE_MODULES):
            return x
        if isinstance(module, rules.MAPWISE_MODULES):
            return book.same_maps(x, value)
        if isinstance(module, rules.MOVING_MODULES):
            return module(x.float()).long()
        if isinstance(module, nn.Flatten):
            return module(x)
        if isinstance(module, nn.LayerNorm):
            return book.normalise(x, range(-len(module.normalized_shape), 0))
        if isinstance(module, (*rules.MIXING_MODULES, nn.MultiheadAttention)):
            # A transformer's attention reads queries, keys and values.
            book.freeze(*inputs)
            return fx.node.map_aggregate(value, fixed)
        raise TraceError(
            f"{_place(node)} is a {type(module).__name__}, which prunekit has no rule for: "
            f"what it does to channels is not known. {_REMEDY}"
        )

    def _function(self, node: fx.Node, args: tuple, kwargs: dict, value: Any) -> Any:
        book, target = self.book, node.target
        x = args[0] if args else next(iter(kwargs.values()))
        if target in rules.SIZES or target is getattr:
            return value
        if target in rules.ELEMENTWISE_FUNCTIONS:
            return book.combine(tensors_in((args, kwargs)), value.shape)
        if target in rules.MAPWISE_FUNCTIONS:
            return book.same_maps(x, value)
        if target in rules.REDUCTIONS:
            return book.reduce(x, value, *args[1:], **kwargs)
        if target in (torch.cat, torch.concat):
            return book.concatenate(*args, **kwargs)
        if target in rules.CHUNKS:
            return book.chunk(*args, **kwargs)
        if target in rules.SLICES:
            return book.cut(x, _execute(target, args, kwargs))
        if target in rules.RESHAPES:
            return book.reshape(node, x, value.shape)
        if target in rules.MOVING_FUNCTIONS:
            return _execute(target, args, kwargs)
        if target is F.pad:
            return F.pad(*args[:2])
        if _is_named_tuple(target):
            return target(*args, **kwargs)
        if target in rules.MIXING_FUNCTIONS:
            book.freeze(*tensors_in((args, kwargs)))
            return fx.node.map_aggregate(value, fixed)
        called = target if isinstance(target, str) else getattr(target, "__name__", target)
        raise TraceError(
            f"{_place(node)} calls {called}, which prunekit has no rule for: what it does to "
            f"channels is not known. {_REMEDY}"
        )


def _is_carried(model: nn.Module, path: str) -> bool:
    """Whether a path leads to a parameter or buffer."""
    place, _, name = path.rpartition(".")
    owner = model.get_submodule(place)
    return name in owner._parameters or name in owner._buffers


def _execute(target: Any, args: tuple, kwargs: dict) -> Any:
    if isinstance(target, str):
        return getattr(args[0], target)(*args[1:], **kwargs)
    return target(*args, **kwargs)


def _is_named_tuple(target: Any) -> bool:
    return isinstance(target, type) and issubclass(target, tuple) and hasattr(target, "_fields")


def _place(node: fx.Node) -> str:
    if node.op == "call_module":
        return f"module {node.target!r}"
    stack = node.meta.get("nn_module_stack")
    return f"module {list(stack)[-1]!r}" if stack else "the model's forward"
