"""Tensors that a forward pass draws or makes of constants alone: operations of the graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from prunekit.channels.refusals import TraceError

_DRAWING = {
    *(torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli),
    *(torch.rand_like, torch.randn_like, torch.randint_like, torch.multinomial, torch.poisson),
}
_MADE = {torch.zeros, torch.ones, torch.full, torch.empty}  # often to be written over
# What gives new numbers, or a new tensor, in each forward pass where it is given constants only.
OF_CONSTANTS = _DRAWING | _MADE
IN_PLACE = {
    getattr(Tensor, name): name
    for name in ("bernoulli_", "exponential_", "normal_", "random_", "uniform_")
}


class Draws(TorchFunctionMode):
    """Puts into the graph what is drawn or made by constants alone: fx would keep it as it was.

    In training mode, of which only the channels matter, nothing drawn: there, code also branches
    at random.
    """

    def __init__(self, tracer: Any) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.tracer.running:
            return function(*args, **kwargs)
        if function in _MADE and _are_numbers(args, kwargs):
            return self.tracer.create_proxy("call_function", function, args, kwargs)
        if not self.tracer.root.training:
            if (function in _DRAWING or function in IN_PLACE) and kwargs.get("generator"):
                raise TraceError(
                    f"the forward pass calls {function.__name__} with a generator, which no graph "
                    "can hold: leave it out, and torch's own is drawn from"
                )
            if function in _DRAWING:
                return self.tracer.create_proxy("call_function", function, args, kwargs)
            if name := IN_PLACE.get(function):
                return self.tracer.create_proxy("call_method", name, args, kwargs)
        return function(*args, **kwargs)


def _are_numbers(*arguments: Any) -> bool:
    """Whether a graph and a file can hold the arguments, as they cannot hold a device."""
    return all(isinstance(one, (int, float, torch.dtype)) for one in tree_leaves(arguments))
