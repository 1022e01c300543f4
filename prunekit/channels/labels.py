"""The book of channel labels: which belong together, and which parameter slices carry them.

Label 0 means: must stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, fx, nn

from prunekit.channels import rules

MUST_STAY = 0


class LabelBook:
    """Issues labels, remembers which belong together and which parameter slices carry them."""

    def __init__(self) -> None:
        self.count = 1
        self.edges: list[np.ndarray] = []
        self.outputs: dict[str, Tensor] = {}
        self.inputs: dict[str, Tensor] = {}
        self.slices: dict[str, dict[int, Tensor]] = {}

    def issue(self, count: int) -> Tensor:
        """``count`` labels never used before."""
        self.count += count
        return torch.arange(self.count - count, self.count)

    def unite(self, a: Tensor, b: Tensor) -> None:
        """Labels at the same place of two tensors belong together."""
        a, b = torch.broadcast_tensors(a, b)
        a, b = _collapse(a, b)
        a, b = a.reshape(-1).numpy(), b.reshape(-1).numpy()
        different = a != b
        if different.any():
            # Each pair as one number, so that a pair met at many pixels is kept once.
            pairs = pd.unique(a[different] * self.count + b[different])
            self.edges.append(np.stack(np.divmod(pairs, self.count)))

    def freeze(self, *tensors: Tensor) -> None:
        for labels in tensors:
            self.unite(labels, torch.tensor(MUST_STAY))

    def groups(self) -> np.ndarray:
        """Group number of every label: 0 for those that must stay, then 1, 2, ... as issued."""
        edges = np.concatenate([np.empty((2, 0), dtype=np.int64), *self.edges], axis=1)
        shape = (self.count, self.count)
        matrix = coo_array((np.ones(edges.shape[1]), (edges[0], edges[1])), shape=shape)
        _, component = connected_components(matrix, directed=False)
        _, first, group = np.unique(component, return_index=True, return_inverse=True)
        order = np.empty(len(first), dtype=np.int64)
        order[np.argsort(first)] = np.arange(len(first))
        return order[group]

    def per_channel(self, x: Tensor, dim: int = 1) -> Tensor:
        """One label a channel. Positions of one channel that differ in label are united."""
        where = [slice(None) if d == dim % x.dim() else slice(0, 1) for d in range(x.dim())]
        first = x[tuple(where)]
        if any(_varies(x, d) for d in range(x.dim()) if d != dim % x.dim()):
            self.unite(x, first)
        return first.reshape(-1)

    def same_maps(self, x: Tensor, value: Any) -> Any:
        """Labels of maps that changed in size only."""
        value = value[0] if isinstance(value, tuple) else value
        channel = 1 if value.dim() > 1 else 0
        shape = [-1 if d == channel else 1 for d in range(value.dim())]
        return self.per_channel(x, channel).view(shape).expand(value.shape)

    def _outputs(self, name: str, count: int) -> Tensor:
        if name not in self.outputs:
            self.outputs[name] = self.issue(count)
        return self.outputs[name]

    def _reads(self, name: str, labels: Tensor) -> None:
        if name in self.inputs:
            self.unite(self.inputs[name], labels)
        else:
            self.inputs[name] = labels

    def convolution(self, name: str, conv: nn.Module, x: Tensor, shape: torch.Size) -> Tensor:
        channel = x.dim() - len(conv.kernel_size) - 1
        inputs = self.per_channel(x, channel)
        outputs = self._outputs(name, conv.out_channels)
        self._reads(name, inputs)
        # Transposed convolutions store their weight as (inputs, outputs / groups, ...).
        first, second = outputs, inputs
        if isinstance(conv, rules.TRANSPOSED):
            first, second = inputs, outputs
        if conv.groups == 1:
            self.slices[f"{name}.weight"] = {0: first, 1: second}
        elif self._unite_groups(conv, inputs, outputs):
            self.slices[f"{name}.weight"] = {0: first}
        else:
            self.slices[f"{name}.weight"] = {0: first, 1: second[: len(second) // conv.groups]}
        if conv.bias is not None:
            self.slices[f"{name}.bias"] = {0: outputs}
        view = [-1 if d == channel else 1 for d in range(x.dim())]
        return outputs.view(view).expand(shape)

    def _unite_groups(self, conv: nn.Module, inputs: Tensor, outputs: Tensor) -> bool:
        """Remove whole groups (True), or the same position in every group, whichever is finer.

        A depthwise convolution is the first kind with one channel a group.
        """
        by_group = inputs.view(conv.groups, -1), outputs.view(conv.groups, -1)
        whole = by_group[0].shape[1] <= conv.groups
        for labels in by_group:
            self.unite(labels, by_group[0][:, :1] if whole else labels[:1])
        return whole

    def linear(self, name: str, linear: nn.Linear, x: Tensor) -> Tensor:
        inputs, outputs = self.per_channel(x, -1), self._outputs(name, linear.out_features)
        self._reads(name, inputs)
        self.slices[f"{name}.weight"] = {0: outputs, 1: inputs}
        if linear.bias is not None:
            self.slices[f"{name}.bias"] = {0: outputs}
        return outputs.expand(*x.shape[:-1], -1)

    def vector_parameters(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        """A module with one number a channel in each of its tensors, such as batch norm."""
        single = isinstance(module, rules.INSTANCE_NORM) and x.dim() == module._get_no_batch_dim()
        labels = self.per_channel(x, 0 if single else 1)
        self._reads(name, labels)
        tensors = [*module.named_parameters(), *module.named_buffers()]
        for key, tensor in tensors:
            if tensor.dim() == 1:
                self.slices[f"{name}.{key}"] = {0: labels}
        return x

    def group_norm(self, name: str, norm: nn.GroupNorm, x: Tensor) -> Tensor:
        """Statistics are shared within a group, so only whole groups can go."""
        by_group = self.per_channel(x).view(norm.num_groups, -1)
        self.unite(by_group, by_group[:, :1])
        return self.vector_parameters(name, norm, x)

    def normalise(self, x: Tensor, dims: Iterable[int]) -> Tensor:
        """Statistics over positions leave channels apart; over channels they mix them."""
        if any(_varies(x, dim) for dim in dims):
            self.freeze(x)
            return fixed(x)
        return x

    def parameter(self, name: str, tensor: Any) -> Any:
        """A parameter that the forward pass reads by itself, outside any layer."""
        if not isinstance(tensor, Tensor):
            return tensor
        long = [d for d, size in enumerate(tensor.shape) if size > 1]
        if len(long) != 1:
            return fixed(tensor)
        if name not in self.slices:
            self.slices[name] = {long[0]: self.issue(tensor.numel())}
        return self.slices[name][long[0]].view(tensor.shape)

    def combine(self, tensors: list[Tensor], shape: torch.Size) -> Tensor:
        """Sum, product and the like: channels that meet belong together."""
        result = None
        for labels in tensors:
            labels = labels[(None,) * (len(shape) - labels.dim())]
            if result is None:
                result = labels
                continue
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

    def reduce(self, x: Tensor, value: Any, dim: Any = None, *_: Any, **named: Any) -> Any:
        """A mean over positions keeps channels; a mean over channels mixes them."""
        dims = named.get("dim", dim)
        dims = range(x.dim()) if dims is None else [dims] if isinstance(dims, int) else dims
        if any(_varies(x, d) for d in dims):
            self.freeze(x)
            return fx.node.map_aggregate(value, fixed)
        where = [
            slice(0, 1) if d in {e % x.dim() for e in dims} else slice(None) for d in range(x.dim())
        ]
        return x[tuple(where)].reshape(value.shape)

    def concatenate(self, tensors: Any, dim: int = 0, **named: Any) -> Tensor:
        dim = named.get("dim", named.get("axis", dim)) % tensors[0].dim()
        shape = list(tensors[0].shape)
        shape[dim] = sum(t.shape[dim] for t in tensors)
        return torch.cat(_collapse(*tensors, keep=dim), dim).expand(shape)

    def chunk(self, x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """Equal parts stay equal only if the same position goes from each."""
        parts = x.chunk(chunks, dim)
        if _varies(x, dim):
            if len({part.shape[dim] for part in parts}) == 1 and len(parts) == chunks:
                for part in parts[1:]:
                    self.unite(parts[0], part)
            else:
                self.freeze(x)
        return parts

    def cut(self, x: Any, result: Any) -> Any:
        """Slices at places written in the code: channels that are told apart must all stay."""
        if isinstance(x, Tensor):
            whole = x.unique()
            if not all(torch.equal(part.unique(), whole) for part in tensors_in(result)):
                self.freeze(x)
        return result

    def reshape(self, node: fx.Node, x: Tensor, shape: torch.Size) -> Tensor:
        """Sizes written in the code as numbers cannot shrink, computed ones can."""
        result = x.reshape(shape)
        asked = _requested_sizes(node)
        varying = [d for d in range(result.dim()) if _varies(result, d)]
        written = [d for d in varying if asked is not None and asked[d] not in (None, -1)]
        if written and len(written) == len(varying):
            self.freeze(x)
        else:
            for d in written:
                self.unite(result, result.narrow(d, 0, 1))
        return result


def _requested_sizes(node: fx.Node) -> list[int | None] | None:
    """The sizes a reshape names: numbers, or None where computed. None for flatten."""
    if node.target in (torch.flatten, "flatten"):
        return None
    sizes = node.args[1:] if len(node.args) > 1 else tuple(node.kwargs.values())
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    if len(sizes) == 1 and isinstance(sizes[0], fx.Node):
        return None
    return [size if isinstance(size, int) else None for size in sizes]


def fixed(value: Any) -> Any:
    """Labels of a tensor whose size the code fixes: all must stay."""
    if isinstance(value, Tensor):
        return torch.zeros((), dtype=torch.long).expand(value.shape)
    return value


def tensors_in(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    fx.node.map_aggregate(values, lambda v: found.append(v) if isinstance(v, Tensor) else None)
    return found


def _varies(x: Tensor, dim: int) -> bool:
    if x.dim() == 0 or x.shape[dim] == 1 or x.stride(dim) == 0:
        return False
    return bool((x != x.narrow(dim, 0, 1)).any())


def _stretches(small: Tensor, large: Tensor) -> bool:
    """Whether one channel of ``small`` meets many of ``large``."""
    return any(
        small.shape[d] == 1 and _varies(large, d) for d in range(max(small.dim(), large.dim()))
    )


def _collapse(*tensors: Tensor, keep: int | None = None) -> list[Tensor]:
    """Drop the dimensions along which every tensor merely repeats itself."""
    repeated = [
        d != keep and all(t.stride(d) == 0 or t.shape[d] == 1 for t in tensors)
        for d in range(tensors[0].dim())
    ]
    where = tuple(slice(0, 1) if drop else slice(None) for drop in repeated)
    return [t[where] for t in tensors]
