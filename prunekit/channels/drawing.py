"""Random numbers in a forward pass: operations of the graph, whatever they are drawn by."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
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


@contextmanager
def only_by_torch(model: nn.Module) -> Iterator[None]:
    """Refuse a forward pass that draws by Python or NumPy: the graph would keep what it drew once.

    Not in training mode, as :class:`Draws`. The generators end as they were.
    """
    before = _generators()
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    yield
    drawn = [name for name, state in _generators().items() if state != before[name]]
    random.setstate(of_python)
    np.random.set_state(of_numpy)  # noqa: NPY002
    if drawn and not model.training:
        raise TraceError(
            f"the forward pass draws by {drawn[0]} in evaluation mode, which no graph can hold: "
            "draw by torch, as in torch.rand(())"
        )


def _generators() -> dict[str, bytes]:
    """The states of generators that no graph draws from, by what code calls them."""
    states = {"Python's random": random.getstate(), "numpy.random": np.random.get_state()}  # noqa: NPY002
    return {name: pickle.dumps(state) for name, state in states.items()}
