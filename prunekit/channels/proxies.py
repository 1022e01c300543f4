"""What stands for a tensor or a size while a forward pass is traced.

Written over, as by ``x += y``, a proxy is written over in the graph, too: a second name of the
tensor, or a view of it, changes along. torch.fx by itself would put ``x + y`` there.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from prunekit.channels import rules
from prunekit.channels.labels import tensors_in

# Not imatmul: of tensors it makes a new one, as Python does where there is no such method.
_IN_PLACE = (
    *("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow"),
    *("iand", "ior", "ixor", "ilshift", "irshift"),
)
_OTHER = (
    "these inputs have other sizes than the example inputs, and the forward pass branches on that: "
    "trace the model again with inputs of these sizes"
)


class _Writable(fx.Proxy):
    """Records what is written over a tensor."""

    @property
    def is_number(self) -> bool:
        """Whether it stands for a size or what was computed of sizes, which nothing writes over."""
        raise NotImplementedError

    def __setitem__(self, where: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, where, value), {})


def _in_place(record: Callable) -> Callable:
    def operation(self: _Writable, other: Any) -> Any:
        if self.is_number:
            return NotImplemented  # Python then goes on with a new number, as it always does
        return self.tracer.create_proxy("call_function", record, (self, other), {})

    return operation


for _name in _IN_PLACE:
    setattr(_Writable, f"__{_name}__", _in_place(getattr(operator, _name)))


class Plain(_Writable):
    """What is known without example inputs: from which operations it comes."""

    @property
    def is_number(self) -> bool:
        return _is_number(self.node)

    def __getattr__(self, name: str) -> _Attribute:
        return _Attribute(self, name)


class _Attribute(Plain, fx.proxy.Attribute):
    """Of a tensor that is not known: a method if it is called next."""


def _is_number(node: fx.Node) -> bool:
    target: Any = node.target
    if node.op == "placeholder":  # by its default value
        return isinstance(next(iter(node.args), None), (int, float))
    if target is getattr:
        return node.args[1] in rules.OF_TENSORS
    computed = getattr(target, "__module__", "") in (operator.add.__module__, math.__name__)
    return target in rules.SIZES or (computed and all(map(_is_number, node.all_input_nodes)))


class Known(_Writable):
    """What a node gives on the example inputs, for code that asks."""

    @property
    def known(self) -> Any:
        return self.node.meta["value"]

    @property
    def is_number(self) -> bool:
        return not isinstance(self.known, Tensor)

    def decide(self) -> Any:
        """The value. The graph is right as long as it is the same, and checks that it is."""
        if tensors_in(self.known):
            return self.tracer.to_bool(self)  # which refuses: the values of tensors are not known
        self.tracer.create_proxy("call_function", torch._assert, (self == self.known, _OTHER), {})
        return self.known

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.known, name)
        if callable(value):
            return fx.proxy.Attribute(self, name)  # a method, which is called next
        if isinstance(value, str):
            return value  # of a device: its type
        return self.tracer.create_proxy("call_function", getattr, (self, name), {})

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self.known, dict):
            return iter(self.known)
        return map(partial(operator.getitem, self), range(len(self)))

    def __len__(self) -> int:
        if isinstance(self.known, Tensor):
            return int(self.size(0))
        return len(self.known)

    def __bool__(self) -> bool:
        return bool(self.decide())

    def __int__(self) -> int:
        return int(self.decide())

    def __float__(self) -> float:
        return float(self.decide())

    def __index__(self) -> int:
        return self.decide().__index__()

    def __round__(self, *digits: int) -> Any:
        return round(self.decide(), *digits)

    def __contains__(self, item: Any) -> bool:
        return item in self.decide()

    def keys(self) -> Any:
        return self.known.keys()


def opened(proxy: Any, value: Any) -> Any:
    """An argument of forward: each tensor in it as a proxy, whatever holds them as it is."""
    if isinstance(value, Tensor):
        return proxy
    if isinstance(value, dict):
        return {key: opened(proxy[key], item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [opened(proxy[place], item) for place, item in enumerate(value)]
        if isinstance(value, list):
            return items
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(
            value, **{name: opened(getattr(proxy, name), getattr(value, name)) for name in names}
        )
    return value
