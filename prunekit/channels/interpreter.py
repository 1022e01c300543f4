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
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from prunekit.channels import functional, mixing, moves, rules
from prunekit.channels.counts import Count, Stated, Unread, hold, shape
from prunekit.channels.functional import Own
from prunekit.channels.kinds import kind_of
from prunekit.channels.labels import LabelBook, fixed, map_tensors, tensors_in
from prunekit.channels.layers import IN, OUT, Call, mix
from prunekit.channels.refusals import TraceError
from prunekit.channels.shapes import RunsOnData
from prunekit.channels.tracer import place

_TRANSPOSED = {"T", "mT"}
_REMEDY = (
    "Write that part with operations prunekit knows, say with prunekit.channels.rule what its "
    "module does, or register that with prunekit.channels.leaf: then the channels that enter or "
    "leave it stay"
)


class LabelInterpreter:
    """Follows a graph that was captured with example inputs on labels.

    Several graphs (training and evaluation mode) may write into the same
    ``book``: a module that both call has the same labels in both.
    """

    def __init__(self, model: nn.Module, graph: fx.Graph, book: LabelBook) -> None:
        self.model, self.graph, self.book = model, graph, book
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.labels: dict[fx.Node, Any] = {}
        self.called: dict[fx.Node, str] = {}  # the layer that a node calls, as module or function

    def run(self) -> None:
        for node in self.graph.nodes:
            if _is_unread_reduction(node):
                continue  # it ties nothing, such as the mean of heads' weights
            try:
                self.labels[node] = self._label(node, node.meta["value"])
            except TraceError:
                raise
            except Exception as error:  # a rule met arguments that it was not written for
                raise _unknown(node, f"calls {_called(node)} in a way") from error

    def _label(self, node: fx.Node, value: Any) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), partial(self._taken, node))
        if node.op == "placeholder":
            return map_tensors(value, fixed)
        if node.op == "get_attr":
            return self._read(str(node.target), value)
        if node.op == "output":
            self.book.freeze(*tensors_in(hold(args)))
            return None
        record: Any = node.target
        if _is_record(record):
            return record(*args, **kwargs)
        if node.target in functional.FUNCTIONS:
            return self._layer_function(node, args, kwargs, value)
        if args and isinstance(args[0], Own):
            return self._size_of_own(node, args[0], value)
        tensors = tensors_in((args, kwargs))
        if not tensors:
            return _of_sizes(node, args, kwargs, value)
        if node.op == "call_module":
            hold((args, kwargs))
            return self._module(node, str(node.target), tensors, value)
        if not args:
            first = next(name for name in ("input", "tensors", "tensor") if name in kwargs)
            args, kwargs = (kwargs[first],), {k: v for k, v in kwargs.items() if k != first}
        if "axis" in kwargs:
            kwargs = {"dim" if name == "axis" else name: v for name, v in kwargs.items()}
        return self._function(node, args, kwargs, value)

    def _read(self, path: str, value: Any) -> Any:
        layer, _, name = path.rpartition(".")
        kind = kind_of(self.modules[layer])
        if not isinstance(value, Tensor):
            made = kind.filters and kind.sizes[name] == OUT
            if not kind.classes:
                if path not in self.book.counted:
                    return Unread(value, path, self.book)
                return Count(value, self.book, self.book.counted[path])
            labels = (self.book.outputs if made else self.book.inputs).get(layer)
            if labels is None or callable(kind.sizes[name]):
                return Stated(value, path, self.book)
            return Count(value, self.book, labels.view(-1, 1))
        if not _is_carried(self.model, path):
            return fixed(value)  # made in the forward pass, of a size written there
        return Own(layer, name, value) if name in kind.cut else self.book.parameter(path, value)

    def _taken(self, user: fx.Node, node: fx.Node) -> Any:
        """The labels of a node for one that uses it."""
        found = self.labels[node]
        if isinstance(found, Stated) and node.op == "get_attr":
            return self._read(str(node.target), node.meta["value"])  # meanwhile known, perhaps
        if isinstance(found, Own) and user.target not in functional.FUNCTIONS:
            if user.target == "size" or (
                user.target is getattr and user.args[1] in rules.OF_TENSORS
            ):
                return found
            found = self.labels[node] = self._computed_with(found)
        return found

    def _computed_with(self, own: Own) -> Tensor:
        """A layer's tensor as any other: its filters may go, but what each of them reads stays."""
        kind = kind_of(self.modules[own.layer])
        if not kind.filters or kind.cut[own.name] != (OUT, IN):
            return self.book.parameter(own.path, own.tensor)
        filters, inputs, *kernel = own.tensor.shape
        labels = self.book.make(own.layer, filters)
        stay = torch.zeros(inputs * getattr(self.modules[own.layer], "groups", 1), dtype=torch.long)
        self.book.unread[own.layer] = stay
        self.book.carry(own.path, {0: labels, 1: stay[:inputs]})
        return labels.view(-1, 1, *[1] * len(kernel)).expand(own.tensor.shape)

    def _size_of_own(self, node: fx.Node, own: Own, value: Any) -> Any:
        if node.target is getattr and node.args[1] != "shape":
            return value
        sides = kind_of(self.modules[own.layer]).cut[own.name]
        sizes = tuple(
            Stated(size, own.path, self.book) if dim < len(sides) else size
            for dim, size in enumerate(own.tensor.shape)
        )
        return _read_sizes("size", sizes, *node.args[1:] if node.op == "call_method" else ())

    def _layer_function(self, node: fx.Node, args: tuple, kwargs: dict, value: Any) -> Any:
        given = functional.arguments(node.target, args, kwargs)
        weight: Any = functional.arguments(node.target, node.args, node.kwargs).get("weight")
        source = self._source(weight) if isinstance(given.get("weight"), Tensor) else ""
        layer = functional.layer_called(node.target, given, self.modules, source)
        if layer:
            if source:
                rows = self.book.per_channel(given["weight"], 0)
                self.book.unite(rows, self.book.outputs[layer])
            return self._module(node, layer, [given["input"]], value)
        given = {
            name: self._computed_with(one) if isinstance(one, Own) else one
            for name, one in given.items()
        }
        return functional.without_layer(self.book, node.target, given, value)

    def _source(self, weight: fx.Node) -> str:
        """The layer of whose weight another was computed, as where it is standardised."""
        pending, seen, found = [weight], set(), set()
        while pending:
            node = pending.pop()
            if node not in seen:
                seen.add(node)
                pending += node.all_input_nodes
                layer, _, name = str(node.target).rpartition(".")
                if node.op == "get_attr" and name == "weight" and layer in self.book.unread:
                    found.add(layer)
        return found.pop() if len(found) == 1 else ""

    def _module(self, node: fx.Node, name: str, inputs: list[Tensor], value: Any) -> Any:
        module = self.modules[name]
        self.called[node] = name
        kind = kind_of(module)
        carry = mix if isinstance(module, RunsOnData) else kind.carry
        if carry is not None:
            return carry(Call(self.book, name, module, kind, inputs, value))
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
        if target is getattr and args[1] in _TRANSPOSED:
            return getattr(x, args[1])
        if target is getattr and (args[1] in rules.ATTRIBUTES or not isinstance(x, Tensor)):
            return value if isinstance(x, Tensor) else _part(x, args[1])
        if target in rules.ELEMENTWISE_FUNCTIONS:
            return book.combine(tensors_in((args, kwargs)), value.shape)
        if target in rules.MAPWISE_FUNCTIONS:
            return mixing.same_maps(book, value, x, rules.POOL_FUNCTIONS.get(target, x.dim() - 2))
        if target in rules.REDUCTIONS:
            return mixing.reduce(book, value, *args, **kwargs)
        if target in moves.MOVES:
            return moves.MOVES[target](book, value, *args, **kwargs)
        if target in rules.MOVING_FUNCTIONS:
            return _execute(target, args, kwargs)
        if target in rules.MIXING_FUNCTIONS:
            book.freeze(*tensors_in((args, kwargs)))
            return map_tensors(value, fixed)
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
    return map_tensors(value, fixed)


def _read_sizes(target: Any, sizes: tuple[Any, ...], *args: Any, dim: int | None = None) -> Any:
    if target == "numel":
        return math.prod(sizes)
    dim = args[0] if target == "size" and args else dim
    return sizes if dim is None else sizes[dim]


def _is_unread_reduction(node: fx.Node) -> bool:
    called = node.op in ("call_function", "call_method") and node.target in rules.REDUCTIONS
    return called and not node.users and "out" not in node.kwargs


def _is_carried(model: nn.Module, path: str) -> bool:
    """Whether a path leads to a parameter or buffer."""
    place, _, name = path.rpartition(".")
    owner = model.get_submodule(place)
    return name in owner._parameters or name in owner._buffers


def _part(x: Any, name: str) -> Any:
    """An attribute of what holds tensors; torch.max and its like name their parts in this order."""
    order = ("values", "indices")
    return x[order.index(name)] if type(x) is tuple and name in order else getattr(x, name)


def _execute(target: Any, args: tuple, kwargs: dict) -> Any:
    if isinstance(target, str):
        return getattr(args[0], target)(*args[1:], **kwargs)
    return target(*args, **kwargs)


def _is_record(target: Any) -> bool:
    """Whether a class is a named tuple or a dataclass."""
    return isinstance(target, type) and (hasattr(target, "_fields") or is_dataclass(target))


def _unknown(node: fx.Node, what: str) -> TraceError:
    return TraceError(
        f"{place(node)} {what} which prunekit has no rule for: what it does to channels is not "
        f"known. {_REMEDY}"
    )


def _called(node: fx.Node) -> str:
    if node.target is getattr:
        return f"getattr for {node.args[1]}"
    return node.target if isinstance(node.target, str) else node.target.__name__
