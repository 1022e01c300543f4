"""What a teacher says of images: as training goes on, or of fixed views once and for all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from prunekit.checks import checked, flag, module, run, shown, whole
from prunekit.checks.structures import device_in, in_float32, moved
from prunekit.data import Views
from prunekit.execution import autocast, device_of, evaluation_mode, fastest_layout, laid_out
from prunekit.progress import bar


def said(teachers: Sequence[nn.Module], given: tuple, precision: str = "mixed") -> Any:
    """What teachers say of one batch, in float32: the mean of each tensor of their outputs.

    They compute in the ``precision`` of :func:`prunekit.training.fit`.
    """
    device = device_in(given)
    with ExitStack() as modes, torch.no_grad(), autocast(device, precision, teachers):
        for teacher in teachers:
            modes.enter_context(evaluation_mode(teacher))
        outputs = [
            run(teacher, moved(given, device), "the images", who="the teacher")
            for teacher in teachers
        ]
    return tree_map(_mean, *map(in_float32, outputs))


def scores_said(teachers: Sequence[nn.Module], given: tuple, precision: str = "mixed") -> Tensor:
    """As :func:`said`, of teachers that give scores of shape (examples, classes)."""
    scores = said(teachers, given, precision)
    if not isinstance(scores, Tensor):
        raise ValueError(f"the teacher gives {shown(scores)}, not one tensor of scores")
    return scores.float()


def _mean(*outputs: Any) -> Any:
    return torch.stack(outputs).mean(0) if isinstance(outputs[0], Tensor) else outputs[0]


def _views(name: str, value: object) -> Views:
    if not isinstance(value, Views):
        raise TypeError(f"{name} must be Views of images, not {shown(value)}")
    return value


@checked(
    teacher=module,
    views=_views,
    batch_size=partial(whole, least=1),
    progress=flag,
)
def answers(
    teacher: nn.Module, views: Views, *, batch_size: int = 256, progress: bool = True
) -> Tensor:
    """What a teacher says of every view of every image, to learn from again and again.

    The answers of several teachers are added up as
    ``torch.stack([...]).mean(0)``: the mean of scores is the geometric mean of
    what they hold likely. A teacher may see the views at a size of its own.

    Returns
    -------
    Tensor of shape (views, images, classes), float16
        Scores before softmax. On CUDA, and on CPUs with AVX-512, the teacher
        computes them in bfloat16, which keeps two to three digits.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range, or the teacher gives no
        tensor of scores.

    Examples
    --------
    >>> from prunekit.data import load_dataset
    >>> from prunekit.models import TinySqueezeNet
    >>> views = Views(load_dataset("digits").val, views=2, flip=False)
    >>> scores = answers(TinySqueezeNet(), views)
    >>> scores.shape[0] == 2, scores.shape[2] == 10
    (True, True)
    >>> x, y, said_of_x = next(iter(views.answered(scores)))
    """
    everything = torch.arange(len(views.images))
    device = device_of(teacher)
    layout = fastest_layout(teacher, views.view(0, everything[:2]))
    given: list[list[Tensor]] = []
    total = views.views * -(-len(everything) // batch_size)
    with (
        bar(total=total, show=progress, unit="batch", desc="answers") as seen,
        laid_out(teacher, layout),
    ):
        for view in range(views.views):
            given.append([])
            for indices in everything.split(batch_size):
                x = views.view(view, indices).to(device).to(memory_format=layout)
                given[-1].append(scores_said([teacher], (x,)).half().cpu())
                seen.update()
    return torch.stack([torch.cat(parts) for parts in given])
