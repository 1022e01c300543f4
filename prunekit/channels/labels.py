"""The book of channel labels: which belong together, and which parameter slices carry them.

Label 0 means: must stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, fx

MUST_STAY = 0


class LabelBook:
    """Issues labels, remembers which belong together and which parameter slices carry them."""

    def __init__(self) -> None:
        self.count = 1
        self.edges: list[np.ndarray] = []
        self.outputs: dict[str, Tensor] = {}
        self.inputs: dict[str, Tensor] = {}
        self.unread: dict[str, Tensor] = {}  # what a layer reads if only its tensors are in use
        self.slices: dict[str, dict[int, Tensor]] = {}
        self._groups: tuple[tuple[int, int], np.ndarray] = ((0, 0), np.empty(0, dtype=np.int64))
        self.counted: dict[str, Tensor] = {}  # what modules that are no layers state the number of
        self.held: set[str] = set()  # modules of whose stated sizes the forward pass uses the value

    def issue(self, count: int) -> Tensor:
        """``count`` labels never used before."""
        self.count += count
        return torch.arange(self.count - count, self.count)

    def unite(self, a: Tensor, b: Tensor) -> None:
        """Labels at the same place of two tensors belong together."""
        if a is b:
            return
        a, b = torch.broadcast_tensors(a, b)
        a, b = collapse(a, b)
        first, second = a.reshape(-1).numpy(), b.reshape(-1).numpy()
        different = first != second
        if different.any():
            # Each pair as one number, so that a pair met at many pixels is kept once.
            pairs = pd.unique(first[different] * self.count + second[different])
            self.edges.append(np.stack(np.divmod(pairs, self.count)))

    def freeze(self, *tensors: Tensor) -> None:
        for labels in tensors:
            self.unite(labels, torch.tensor(MUST_STAY))

    def hold_size(self, path: str) -> None:
        """The forward pass computes with a size, of which a removal would change the value."""
        self.held.add(path.rpartition(".")[0])

    def freeze_held(self) -> None:
        """What modules state the number of stays, where the forward pass computes with it."""
        for labels in (self.inputs, self.outputs):
            self.freeze(*(labels[name] for name in self.held & labels.keys()))
        self.freeze(
            *(x for path, x in self.counted.items() if path.rpartition(".")[0] in self.held)
        )

    def groups(self) -> np.ndarray:
        """Group number of every label: 0 for those that must stay, then 1, 2, ... as issued."""
        known, groups = self._groups
        if known == (self.count, len(self.edges)):
            return groups
        edges = np.concatenate([np.empty((2, 0), dtype=np.int64), *self.edges], axis=1)
        shape = (self.count, self.count)
        matrix = coo_array((np.ones(edges.shape[1]), (edges[0], edges[1])), shape=shape)
        _, component = connected_components(matrix, directed=False)
        _, first, group = np.unique(component, return_index=True, return_inverse=True)
        order = np.empty(len(first), dtype=np.int64)
        order[np.argsort(first)] = np.arange(len(first))
        self._groups = (self.count, len(self.edges)), order[group]
        return order[group]

    def varying(self, x: Tensor) -> list[int]:
        """The dimensions along which some positions can go and others stay."""
        dims = [dim for dim in range(x.dim()) if varies(x, dim)]
        if len(dims) < 2:
            return dims
        (x,) = collapse(x)
        groups = torch.from_numpy(self.groups())[x]
        return [dim for dim in dims if varies(groups, dim)]

    def per_channel(self, x: Tensor, dim: int = 1) -> Tensor:
        """One label a channel. Positions of one channel that differ in label are united."""
        where = [slice(None) if d == dim % x.dim() else slice(0, 1) for d in range(x.dim())]
        first = x[tuple(where)]
        if any(varies(x, d) for d in range(x.dim()) if d != dim % x.dim()):
            self.unite(x, first)
        return first.reshape(-1)

    def make(self, name: str, count: int) -> Tensor:
        """The labels of the filters of a layer: the same whenever it is called."""
        if name not in self.outputs:
            self.outputs[name] = self.issue(count)
        return self.outputs[name]

    def carry(self, name: str, dims: dict[int, Tensor]) -> None:
        """Note which dimensions of a parameter or buffer carry which labels."""
        self.tie(self.slices.setdefault(name, dims), dims)

    def tie(self, one: dict[int, Tensor], other: dict[int, Tensor]) -> None:
        """Slices of one tensor under two names, or in two uses, go together."""
        if one is other:
            return
        for dim in one.keys() | other.keys():
            if dim in one and dim in other:
                self.unite(one[dim], other[dim])
            else:
                self.freeze(one[dim] if dim in one else other[dim])

    def read(self, name: str, labels: Tensor) -> None:
        """Note what a layer reads."""
        if name in self.inputs:
            self.unite(self.inputs[name], labels)
        else:
            self.inputs[name] = labels

    def parameter(self, name: str, tensor: Any) -> Any:
        """A parameter that the forward pass reads by itself, outside any layer."""
        if not isinstance(tensor, Tensor):
            return tensor
        long = [d for d, size in enumerate(tensor.shape) if size > 1]
        if len(long) != 1:
            self.carry(name, {d: torch.zeros(tensor.shape[d], dtype=torch.long) for d in long})
            return fixed(tensor)
        if name not in self.slices:
            self.slices[name] = {long[0]: self.issue(tensor.numel())}
        labels = self.slices[name].get(long[0])
        return fixed(tensor) if labels is None else labels.view(tensor.shape)

    def combine(self, tensors: list[Tensor], shape: torch.Size) -> Tensor:
        """Sum, product and the like: channels that meet belong together."""
        result, *others = (x[(None,) * (len(shape) - x.dim())] for x in tensors)
        for labels in others:
            both = torch.broadcast_shapes(result.shape, labels.shape)
            if _stretches(labels, result):
                self.freeze(labels)
            elif _stretches(result, labels):
                self.freeze(result)
                result = labels
            else:
                self.unite(result, labels)
            result = result.expand(both)
        return result.expand(shape)


def fixed(value: Any) -> Any:
    """Labels of a tensor whose size the code fixes: all must stay."""
    if isinstance(value, Tensor):
        return torch.zeros((), dtype=torch.long).expand(value.shape)
    return value


def map_leaves(values: Any, function: Callable[[Any], Any]) -> Any:
    """The same tuples, lists, dictionaries, slices and dataclasses of what ``function`` gives."""

    def inside(value: Any) -> Any:
        if not dataclasses.is_dataclass(value) or isinstance(value, type):
            return function(value)
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(
            value, **{name: map_leaves(getattr(value, name), function) for name in names}
        )

    return fx.node.map_aggregate(values, inside)


def map_tensors(values: Any, function: Callable[[Tensor], Any]) -> Any:
    """The same with each tensor replaced."""
    return map_leaves(values, lambda v: function(v) if isinstance(v, Tensor) else v)


def tensors_in(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(values, found.append)
    return found


def rows(x: Tensor, dim: int) -> Tensor:
    """The labels at each position along a dimension, as a row each."""
    where = (slice(None) if d == dim or varies(x, d) else slice(0, 1) for d in range(x.dim()))
    return x[tuple(where)].movedim(dim, 0).reshape(x.shape[dim], -1)


def varies(x: Tensor, dim: int) -> bool:
    if x.dim() == 0 or x.shape[dim] == 1 or x.stride(dim) == 0:
        return False
    return bool((x != x.narrow(dim, 0, 1)).any())


def _stretches(small: Tensor, large: Tensor) -> bool:
    """Whether one channel of ``small`` meets many of ``large``."""
    return any(
        small.shape[d] == 1 and varies(large, d) for d in range(max(small.dim(), large.dim()))
    )


def collapse(*tensors: Tensor, keep: int | None = None) -> list[Tensor]:
    """Drop the dimensions along which every tensor merely repeats itself."""
    repeated = [
        d != keep and all(t.stride(d) == 0 or t.shape[d] == 1 for t in tensors)
        for d in range(tensors[0].dim())
    ]
    where = tuple(slice(0, 1) if drop else slice(None) for drop in repeated)
    return [t[where] for t in tensors]
