"""Calibration: what unlabelled images show of a network's layers, with nothing trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from prunekit.checks import Check, optional, shown, whole
from prunekit.checks.batches import one_pass
from prunekit.checks.structures import arguments, examples_of, finite
from prunekit.execution import evaluation_mode

ENOUGH_IMAGES = 512
Images = Iterable[Any]
#: Which images are looked at.
CALIBRATION: dict[str, Check] = {
    "loader": one_pass,
    "batches": optional(partial(whole, least=1)),
}


def inputs_in(model: nn.Module, loader: Images, batches: int | None = None) -> Iterator[tuple]:
    """The first batches of a loader as arguments of ``forward``, whether or not labels come along.

    Raises
    ------
    ValueError
        There is no image, one is NaN or infinite, or ``forward`` does not take
        arguments of these names.
    TypeError
        A batch neither is nor begins with a tensor, or a structure of some.
    """
    count = 0
    for index, batch in enumerate(loader, start=1):
        x = batch[0] if isinstance(batch, Sequence) and len(batch) else batch
        where, examples = f"batch {index} of the loader", examples_of(x)
        if examples is None:
            raise TypeError(
                "a batch is a tensor of images or begins with one, or with a tuple or dictionary "
                f"of several, and {where} is {shown(batch)}"
            )
        if not finite(x):
            raise ValueError(f"{where} has images that are NaN or infinite")
        count += examples
        yield arguments(model, x, where)
        if index == batches or (batches is None and count >= ENOUGH_IMAGES):
            break
    if not count:
        raise ValueError("the loader gave no images")


def as_one_batch(batches: Sequence[tuple]) -> tuple:
    """Batches one behind the other; what belongs to no example is that of the first.

    Examples
    --------
    >>> as_one_batch([(torch.zeros(2), 0.5), (torch.ones(1), 0.5)])
    (tensor([0., 0., 1.]), 0.5)
    """
    examples = [examples_of(batch) for batch in batches]

    def joined(*parts: Any) -> Any:
        lengths = [len(x) if isinstance(x, Tensor) and x.dim() else None for x in parts]
        return torch.cat(parts) if lengths == examples else parts[0]

    return tree_map(joined, *batches)


@contextmanager
def hooked(model: nn.Module, hooks: dict[str, Callable]) -> Iterator[None]:
    """Evaluation mode, and no gradients, with a forward hook at each of the modules named.

    A hook takes the module, its arguments, those by name, and the output.
    """
    # No inference mode: what a hook makes a parameter must be trainable afterwards.
    with ExitStack() as stack, evaluation_mode(model), torch.no_grad():
        for name, hook in hooks.items():
            module = model.get_submodule(name)
            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        yield


def read_by(inputs: tuple, named: dict) -> Tensor:
    """The tensor that a layer reads, whether it is given by place or by name."""
    return next(x for x in (*inputs, *named.values()) if isinstance(x, Tensor))


def channel_moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over all but dimension 1, in float64 of at least float32's precision."""
    maps = maps if maps.dtype == torch.float64 else maps.float()
    others = [dim for dim in range(maps.dim()) if dim != 1]
    variance, mean = torch.var_mean(maps, others, correction=0)
    return mean.double(), variance.double()
