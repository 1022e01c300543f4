"""Batches of any structure: inputs as the arguments of forward, and the examples they hold."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_is_leaf, tree_leaves, tree_map, tree_map_only


def examples_of(inputs: Any) -> int | None:
    """How many examples inputs hold: the length of the first tensor; None if there is none.

    Examples
    --------
    >>> examples_of((torch.zeros(4, 3, 8, 8), torch.zeros(7)))
    4
    """
    batched = (len(x) for x in tree_leaves(inputs) if isinstance(x, Tensor) and x.dim())
    return next(batched, None)


def arguments(model: nn.Module, inputs: Any, where: str) -> tuple:
    """Inputs as the positional arguments of ``model.forward``.

    A tensor is the only one, a tuple or a list holds them in order (a
    DataLoader makes lists of tuples), and a dictionary names them.

    Raises
    ------
    ValueError
        ``forward`` does not take arguments of these names, or by keyword only.

    Examples
    --------
    >>> class Scaled(nn.Module):
    ...     def forward(self, x, scale=2.0):
    ...         return scale * x
    >>> arguments(Scaled(), {"x": 3}, "the batch")
    (3, 2.0)
    """
    if isinstance(inputs, Mapping):
        try:
            bound = inspect.signature(model.forward).bind(**inputs)
        except TypeError as error:
            raise ValueError(f"{where} does not suit the arguments of forward: {error}") from error
        bound.apply_defaults()
        if bound.kwargs:
            raise ValueError(
                f"{where} does not suit the arguments of forward, which takes "
                f"{', '.join(bound.kwargs)} by keyword only: wrap the model in a module whose "
                "forward takes them by position"
            )
        return bound.args
    return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)


def first_examples(structure: Any, examples: int, few: int, times: int = 1) -> Any:
    """The first few of the examples that a structure holds, ``times`` times over.

    Tensors of as many rows as there are examples are cut, and lists with an
    entry for each example; the rest belongs to no example and stays.

    Examples
    --------
    >>> y = {"boxes": [[1], [2, 3], []], "labels": torch.arange(3), "scale": torch.ones(2)}
    >>> first_examples(y, 3, 1, times=2)
    {'boxes': [[1], [1]], 'labels': tensor([0, 0]), 'scale': tensor([1., 1.])}
    """
    if isinstance(structure, list) and len(structure) == examples:
        leaves = [x for x in tree_leaves(structure) if isinstance(x, Tensor)]
        if not leaves or any(not x.dim() or len(x) != examples for x in leaves):
            return structure[:few] * times
    if tree_is_leaf(structure):
        batched = isinstance(structure, Tensor) and structure.dim() and len(structure) == examples
        return torch.cat([structure[:few]] * times) if batched else structure
    # One level down: a list further in may have an entry for each example, too.
    return tree_map(
        lambda part: first_examples(part, examples, few, times),
        structure,
        is_leaf=lambda part: part is not structure,
    )


def moved(structure: Any, device: torch.device, layout: torch.memory_format | None = None) -> Any:
    """Copies of a structure's tensors on a device; with a layout, those of four dimensions in it.

    Copies, as a network may write over its inputs, and these are the caller's.

    Examples
    --------
    >>> x = torch.ones(2)
    >>> moved((x,), x.device)[0].zero_(), x
    (tensor([0., 0.]), tensor([1., 1.]))
    """

    def one(tensor: Tensor) -> Tensor:
        there = tensor.to(device)
        if layout is not None:
            of = layout if tensor.dim() == 4 else torch.contiguous_format
            there = there.to(memory_format=of)
        return there.clone() if there is tensor else there

    return tree_map_only(Tensor, one, structure)


def device_in(inputs: tuple) -> torch.device:
    """Where the first tensor of inputs is."""
    return next(x.device for x in tree_leaves(inputs) if isinstance(x, Tensor))


def in_float32(output: Any) -> Any:
    """Outputs that autocast left in half precision, as float32; the rest as it is."""
    halves = (torch.float16, torch.bfloat16)
    return tree_map_only(Tensor, lambda x: x.float() if x.dtype in halves else x, output)


def finite(structure: Any) -> bool:
    """Whether no tensor of a structure holds NaN or infinite values.

    Examples
    --------
    >>> finite((torch.zeros(2), {"scale": torch.tensor(float("inf"))}))
    False
    """
    return all(bool(x.isfinite().all()) for x in tree_leaves(structure) if isinstance(x, Tensor))
