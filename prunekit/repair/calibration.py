"""Calibration: what unlabelled images show of a network's layers, with nothing trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from prunekit.checks import Check, optional, shown, whole
from prunekit.checks.batches import one_pass
from prunekit.execution import evaluation_mode

ENOUGH_IMAGES = 512
Images = Iterable[Tensor | Sequence[Tensor]]
#: Which images are looked at.
CALIBRATION: dict[str, Check] = {
    "loader": one_pass,
    "batches": optional(partial(whole, least=1)),
}


def images_in(loader: Images, batches: int | None = None) -> Iterator[Tensor]:
    """The images of the first batches of a loader, whether or not labels come with them.

    Raises
    ------
    ValueError
        There is no image, or one is NaN or infinite.
    TypeError
        A batch is no tensor and does not begin with one.
    """
    count = 0
    for index, batch in enumerate(loader, start=1):
        x = batch[0] if isinstance(batch, Sequence) and len(batch) else batch
        if not isinstance(x, Tensor):
            raise TypeError(
                f"a batch is a tensor of images or begins with one, and batch {index} of the "
                f"loader is {shown(batch)}"
            )
        if not x.isfinite().all():
            raise ValueError(f"batch {index} of the loader has images that are NaN or infinite")
        count += len(x)
        yield x
        if index == batches or (batches is None and count >= ENOUGH_IMAGES):
            break
    if not count:
        raise ValueError("the loader gave no images")


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
