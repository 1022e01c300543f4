"""The memory that tensors take while operations run."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prunekit.checks import checked, inputs, module, run
from prunekit.execution import evaluation_mode, on_device


class MemoryMeter(TorchDispatchMode):
    """Adds up the memory behind the tensors that are alive; several may share it.

    Used as a context. ``peak`` is the most bytes at any one time, from
    ``tensors`` at the start and from all that operations make within it.

    Examples
    --------
    >>> with MemoryMeter([]) as meter:
    ...     x = torch.zeros(100) + 1  # the zeros go as soon as the sum is there
    ...     y = torch.relu(x)
    >>> meter.peak
    800
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self.peak = 0
        self._bytes: dict[int, int] = {}
        self._note(tensors)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        self._note(value for value in tree_leaves(result) if isinstance(value, Tensor))
        return result

    def _note(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if id(storage) not in self._bytes:
                self._bytes[id(storage)] = storage.nbytes()
                weakref.finalize(storage, self._bytes.pop, id(storage))
        self.peak = max(self.peak, sum(self._bytes.values()))


@checked(model=partial(module, numbers=False), example_inputs=inputs)
def peak_memory(model: nn.Module, example_inputs: Tensor | tuple) -> int:
    """The most bytes that tensors take at one moment of a forward pass in evaluation mode.

    Counted are parameters, buffers, inputs, and every activation from the
    operation that makes it until nothing refers to it any more. What an
    operation takes for itself while it runs is not seen.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(1000, 10, bias=False), nn.Linear(10, 500, bias=False))
    >>> weights, activations = 4 * (1000 * 10 + 10 * 500), 4 * (1000 + 10 + 500)
    >>> peak_memory(model, torch.zeros(1, 1000)) == weights + activations
    True
    """
    given = on_device(model, example_inputs)
    tensors = (x for x in tree_leaves(given) if isinstance(x, Tensor))
    known = chain(model.parameters(), model.buffers(), tensors)
    with evaluation_mode(model), torch.inference_mode(), MemoryMeter(known) as meter:
        run(model, given, "example_inputs")
    return meter.peak
