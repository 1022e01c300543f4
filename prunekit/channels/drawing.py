"""Random numbers in a forward pass: operations of the graph, whatever they are drawn by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from prunekit.channels.refusals import TraceError

# New ones in each forward pass, also where only constants are given.
DRAWING = {
    *(torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli),
    *(torch.rand_like, torch.randn_like, torch.randint_like, torch.multinomial, torch.poisson),
}
_IN_PLACE = {
    getattr(Tensor, name): name
    for name in ("bernoulli_", "exponential_", "normal_", "random_", "uniform_")
}


class Draws(TorchFunctionMode):
    """Puts into the graph what is drawn by constants alone: fx would keep what it drew once.

    Not in training mode, of which only the channels matter: there, code also branches at random.
    """

    def __init__(self, tracer: Any) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not (self.tracer.running or self.tracer.root.training):
            if (function in DRAWING or function in _IN_PLACE) and kwargs.get("generator"):
                raise TraceError(
                    f"the forward pass calls {function.__name__} with a generator, which no graph "
                    "can hold: leave it out, and torch's own is drawn from"
                )
            if function in DRAWING:
                return self.tracer.create_proxy("call_function", function, args, kwargs)
            if name := _IN_PLACE.get(function):
                return self.tracer.create_proxy("call_method", name, args, kwargs)
        return function(*args, **kwargs)
