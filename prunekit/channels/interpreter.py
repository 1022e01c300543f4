"""Run a network on channel labels in place of pixels.

Every activation becomes an integer tensor of the right shape whose values
say which channel each number belongs to. A convolution issues fresh labels
for its filters and notes the labels it reads. What adds or multiplies two
tensors unites their labels. What only moves data is executed on the labels,
which land where the channels land. Sizes are counted in labels.
"""

from __future__ import annotations

import math
import operator
from typing import Any

from torch import Tensor, fx, nn

from prunekit.channels import moves, rules
from prunekit.channels.capture import RunsOnData, ShapesOnly, TraceError, attribute
from prunekit.channels.counts import hold, shape
from prunekit.channels.kinds import kind_of
from prunekit.channels.labels import LabelBook, fixed, tensors_in
from prunekit.channels.layers import Call, mix

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
        try:
            self.labels[node] = self._label(node, value)
        except TraceError:
            raise
        except Exception as error:  # a rule met arguments that it was not written for
            raise _unknown(node, f"calls {_called(node)} in a way") from error
        return value

    def get_attr(self, target: Any, args: tuple, kwargs: dict) -> Any:
        value = attribute(self.module, target)
        return value.to("meta") if isinstance(value, Tensor) else value

    def call_module(self, target: Any, args: tuple, kwargs: dict) -> Any:
        return self.submodules[target](*args, **kwargs)

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        value = target(*args, **kwargs)
        made = isinstance(value, Tensor) and not value.is_meta  # such as torch.ones(x.shape[1])
        return value.to("meta") if made else value

    def _label(self, node: fx.Node, value: Any) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.labels[n])
        if node.op == "placeholder":
            return fx.node.map_aggregate(value, fixed) if tensors_in(value) else value
        if node.op == "get_attr":
            if not _is_carried(self.module, str(node.target)):
                return fixed(value)  # made in the forward pass, of a size written there
            return self.book.parameter(str(node.target), value)
        if node.op == "output":
            self.book.freeze(*tensors_in(hold(args)))
            return None
        tensors = tensors_in((args, kwargs))
        if not tensors:
            return _of_sizes(node, args, kwargs, value)
        if node.op == "call_module":
            hold((args, kwargs))
            return self._module(node, self.submodules[node.target], tensors, value)
        if not args:
            first = next(name for name in ("input", "tensors", "tensor") if name in kwargs)
            args, kwargs = (kwargs[first],), {k: v for k, v in kwargs.items() if k != first}
        if "axis" in kwargs:
            kwargs = {"dim" if name == "axis" else name: v for name, v in kwargs.items()}
        return self._function(node, args, kwargs, value)

    def _module(self, node: fx.Node, module: nn.Module, inputs: list[Tensor], value: Any) -> Any:
        kind = kind_of(module)
        carry = mix if isinstance(module, RunsOnData) else kind.carry
        if carry is not None:
            return carry(Call(self.book, str(node.target), module, kind, inputs, value))
        raise _unknown(node, f"is a {type(module).__name__},")

    def _function(self, node: fx.Node, args: tuple, kwargs: dict, value: Any) -> Any:
        book, x = self.book, args[0]
        target: Any = node.target
        if target in ("size", "numel") or (target is getattr and args[1] == "shape"):
            return _read_sizes(target, shape(x, book), *args[1:], **kwargs)
        if target in moves.SIZED:
            return moves.SIZED[target](book, value, *args, **kwargs)
        args, kwargs = hold((args, kwargs))
        if target in rules.SIZES:
            return value
        if target is getattr and (args[1] in rules.ATTRIBUTES or not isinstance(x, Tensor)):
            return value if isinstance(x, Tensor) else getattr(x, args[1])
        if target in rules.ELEMENTWISE_FUNCTIONS:
            return book.combine(tensors_in((args, kwargs)), value.shape)
        if target in rules.MAPWISE_FUNCTIONS:
            return moves.same_maps(book, value, x, rules.POOL_FUNCTIONS.get(target, x.dim() - 2))
        if target in rules.REDUCTIONS:
            return moves.reduce(book, value, *args, **kwargs)
        if target in moves.MOVES:
            return moves.MOVES[target](book, value, *args, **kwargs)
        if target in rules.MOVING_FUNCTIONS:
            return _execute(target, args, kwargs)
        if _is_named_tuple(target):
            return target(*args, **kwargs)
        if target in rules.MIXING_FUNCTIONS:
            book.freeze(*tensors_in((args, kwargs)))
            return fx.node.map_aggregate(value, fixed)
        raise _unknown(node, f"calls {_called(node)},")


def _of_sizes(node: fx.Node, args: tuple, kwargs: dict, value: Any) -> Any:
    """What sizes give, without a tensor: another size, or a value."""
    target: Any = node.target
    if target == "numel":
        return math.prod(*args)
    if getattr(target, "__module__", None) == operator.add.__module__:
        args = (args[0], hold(args[1])) if target is operator.getitem else args
        return target(*args, **kwargs)
    hold((args, kwargs))
    return fx.node.map_aggregate(value, fixed)


def _read_sizes(target: Any, sizes: tuple[int, ...], *args: Any, dim: int | None = None) -> Any:
    if target == "numel":
        return math.prod(sizes)
    dim = args[0] if target == "size" and args else dim
    return sizes if dim is None else sizes[dim]


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


def _unknown(node: fx.Node, what: str) -> TraceError:
    return TraceError(
        f"{_place(node)} {what} which prunekit has no rule for: what it does to channels is not "
        f"known. {_REMEDY}"
    )


def _called(node: fx.Node) -> str:
    if node.target is getattr:
        return f"getattr for {node.args[1]}"
    return node.target if isinstance(node.target, str) else node.target.__name__


def _place(node: fx.Node) -> str:
    if node.op == "call_module":
        return f"module {node.target!r}"
    stack = node.meta.get("nn_module_stack")
    return f"module {list(stack)[-1]!r}" if stack else "the model's forward"
