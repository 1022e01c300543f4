"""Sizes that a removal changes, and what the forward pass makes of them.

A size read from a tensor is a plain ``int``, or a :class:`Count` where channels
lie along that dimension. A count may be the size of a dimension that shrinks
with it. In any other use it is a value, and a removal would change the value:
the channels that it counts stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from prunekit.channels.labels import LabelBook, map_leaves, rows

_BINARY = (
    *("add", "sub", "mul", "floordiv", "truediv", "mod", "divmod", "pow"),
    *("and", "or", "xor", "lshift", "rshift"),
)
_OPERATIONS = (
    *(f"__{side}{name}__" for name in _BINARY for side in ("", "r")),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__bool__"),
    *("__neg__", "__pos__", "__abs__", "__invert__", "__round__", "__floor__", "__ceil__"),
    *("__trunc__", "__float__", "__int__", "__index__"),
)


class _Watched:
    """A number of which any use but those that a subclass defines is a use of its value."""

    value: int

    def hold(self) -> None:
        raise NotImplementedError


def _watched(name: str) -> Callable:
    def operation(*numbers: Any) -> Any:
        first, *others = map(_held, numbers)
        kind = float if float in map(type, others) else int
        return getattr(kind, name)(kind(first), *others)

    return operation


for _name in _OPERATIONS:
    setattr(_Watched, _name, _watched(_name))


def _held(number: Any) -> Any:
    if isinstance(number, _Watched):
        number.hold()
        return number.value
    return number


def number(value: Any) -> Any:
    """A size as a plain number, for one who does nothing with it that a removal would change."""
    return value.value if isinstance(value, _Watched) else value


def hold(values: Any) -> Any:
    """The same arguments with plain numbers: the channels that they count stay."""
    return map_leaves(values, _held)


class Count(_Watched, int):
    """A size that falls by ``share`` with each row of ``labels`` that goes.

    Where it was divided, the division is exact as long as ``multiple`` rows go at a time.
    """

    book: LabelBook
    labels: Tensor
    share: Fraction
    multiple: int

    def __new__(
        cls,
        value: int,
        book: LabelBook,
        labels: Tensor,
        share: Fraction = Fraction(1),
        multiple: int = 1,
    ) -> Count:
        count = super().__new__(cls, value)
        count.value, count.book, count.labels = value, book, labels
        count.share, count.multiple = share, multiple
        return count

    def hold(self) -> None:
        self.book.freeze(self.labels)

    @property
    def is_a_size(self) -> bool:
        """Whether it is one for each row, as read from a tensor."""
        return self.share == self.multiple == 1

    def __mul__(self, other: Any) -> Any:
        if type(other) is not int or other < 1:
            return super().__mul__(other)
        share = self.share * other
        return Count(self.value * other, self.book, self.labels, share, self.multiple)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if type(other) is not int or other < 1 or self.value % other:
            return super().__floordiv__(other)
        share = self.share / other
        multiple = math.lcm(self.multiple, share.denominator)
        return Count(self.value // other, self.book, self.labels, share, multiple)

    def measures(self, labels: Tensor) -> None:
        """Make the count right for a dimension of these rows of labels, whatever goes."""
        if self.is_a_size and torch.equal(self.labels, labels):
            return
        for side in (self.labels, labels):
            self.book.unite(side, side[:, :1])
        counted, measured = self.labels[:, 0], labels[:, 0]
        if not self._agrees(counted, measured) and len(counted) == len(measured):
            self.book.unite(counted, measured)
        if not self._agrees(counted, measured):
            self.book.freeze(counted, measured)

    def _agrees(self, counted: Tensor, measured: Tensor) -> bool:
        groups = self.book.groups()
        gone, short = (
            np.bincount(groups[rows], minlength=groups.max() + 1)[1:]
            for rows in (counted, measured)
        )
        right = gone * self.share.numerator == short * self.share.denominator
        return bool((right & (gone % self.multiple == 0)).all())


def shape(x: Tensor, book: LabelBook) -> tuple[int, ...]:
    """The sizes of a tensor of labels: counts where channels lie."""
    varying = book.varying(x)
    return tuple(
        Count(size, book, rows(x, dim)) if dim in varying else size
        for dim, size in enumerate(x.shape)
    )


class Unread(_Watched, int):
    """A size that a module states at ``path``, of channels that no tensor has shown yet."""

    path: str
    book: LabelBook

    def __new__(cls, value: int, path: str, book: LabelBook) -> Unread:
        size = super().__new__(cls, value)
        size.value, size.path, size.book = value, path, book
        return size

    def hold(self) -> None:
        self.book.hold_size(self.path)

    def measures(self, labels: Tensor) -> None:
        """Whatever it is first the size of, it counts: each of these rows goes as a whole."""
        self.book.unite(labels, labels[:, :1])
        self.book.counted[self.path] = labels[:, :1]


class Stated(_Watched):
    """A size that a module states about itself; handed on it is read again, at ``path``."""

    def __init__(self, value: int, path: str, book: LabelBook) -> None:
        self.value, self.path, self.book = value, path, book

    def hold(self) -> None:
        self.book.hold_size(self.path)

    def __fx_create_arg__(self, tracer: fx.Tracer) -> fx.Node:
        return tracer.create_node("get_attr", self.path, (), {})

    def __repr__(self) -> str:
        return repr(self.value)


@contextmanager
def watched_sizes(stated: Iterable[tuple[str, nn.Module, str]], book: LabelBook) -> Iterator[None]:
    """While it lasts, a forward pass that computes with a size which a module states is noticed.

    ``stated`` holds the name of each module, the module, and the attribute.

    A removal changes the attribute, and what the code made of it is a constant of the graph.
    """
    found = [
        (module, size, vars(module)[size], f"{name}.{size}" if name else size)
        for name, module, size in stated
        if size in vars(module)
    ]
    for module, size, value, path in found:
        vars(module)[size] = Stated(value, path, book)
    try:
        yield
    finally:
        for module, size, value, _ in found:
            vars(module)[size] = value


@contextmanager
def unwatched(layer: nn.Module) -> Iterator[None]:
    """While it lasts, a layer may read the sizes that it states: it works with what is left."""
    watched = {name: size for name, size in vars(layer).items() if isinstance(size, Stated)}
    vars(layer).update({name: size.value for name, size in watched.items()})
    try:
        yield
    finally:
        vars(layer).update(watched)
