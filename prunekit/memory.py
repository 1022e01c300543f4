"""The memory that tensors take while operations run."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryMeter(TorchDispatchMode):
    """Adds up the memory behind the tensors that are alive; several may share it.

    Used as a context. ``peak`` is the most bytes at any one time, from
    ``tensors`` at the start and from all that operations make within it.

    Examples
    --------
    >>> import torch
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
