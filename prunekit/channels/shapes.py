"""Running parts of a network on tensors that have shapes but no data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from prunekit.channels import rules
from prunekit.channels.labels import map_tensors, tensors_in


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


class DryRun(ShapesOnly):
    """Runs a whole copy without data, in which tensors that are no buffers still have theirs.

    Where they meet others they lose it. By themselves they keep it, as code may read their values.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        given = args, kwargs or {}
        if len({tensor.is_meta for tensor in tensors_in(given)}) > 1:
            given = map_tensors(given, lambda tensor: tensor.to("meta"))
        return super().__torch_function__(function, types, *given)


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
