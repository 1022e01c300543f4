"""Loaders, batches, outputs and losses, looked over as they are used: no pass is made for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten
from torch.utils.data import Dataset, IterableDataset

from prunekit.checks import shown
from prunekit.checks.structures import examples_of, finite, first_examples

Batches = Iterable[tuple[Any, ...]]
#: Batches looked over, each with a teacher's answers or None.
Taught = Iterator[tuple[Any, Any, Tensor | None]]
#: What is small where outputs answer the targets: the sum over examples, or one value for each.
Loss = Callable[..., Tensor]
# Of the first batch, so many examples show whether a loss adds up.
TRIED = 8


def one_pass(name: str, value: Any) -> Batches:
    """Something that gives batches; which ones, :func:`pairs` looks at."""
    by_example = isinstance(value, Dataset) and not isinstance(value, IterableDataset)
    if by_example:
        raise TypeError(
            f"{name} must give batches, and a Dataset gives examples: wrap it in a DataLoader"
        )
    wrong = isinstance(value, (str, bytes, dict, Tensor, nn.Module, type))
    if wrong or not (hasattr(value, "__iter__") or hasattr(value, "__getitem__")):
        raise TypeError(
            f"{name} must give batches (x, y), as a DataLoader or a list of them does, not "
            f"{shown(value)}"
        )
    return value


def repeatable(name: str, value: Any) -> Batches:
    """A loader that can be passed over many times."""
    one_pass(name, value)
    if isinstance(value, Iterator):
        raise TypeError(
            f"{name} is an iterator, which is used up after one pass, and it is passed over many "
            "times: pass a DataLoader, or a list of its batches"
        )
    return value


def number_of(batches: Batches) -> int:
    """How many batches a loader has; one that does not know is passed over once to count them."""
    if isinstance(batches, Sized):
        with suppress(TypeError):  # a DataLoader has this method even where it has no length
            return len(batches)
    return sum(1 for _ in batches)


def pairs(batches: Batches, name: str = "loader") -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of a loader, each found to be a pair of tensors of as many examples.

    What teachers say of the examples, if it comes third, is left out.
    """
    for index, (x, y, _) in enumerate(taught(batches, name)):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"batch {index} of {name} must be a pair (x, y) of tensors, not {shown((x, y))}"
            )
        yield x, y


def taught(batches: Batches, name: str = "loader", *, labels: bool = True) -> Taught:
    """The batches of a loader, each found to hold examples, with a teacher's answers if they come.

    Inputs are a tensor, or a tuple, list or dictionary of the arguments of
    ``forward`` with a tensor among them. Where no ``labels`` are needed,
    targets may be anything. Answers are of shape (examples, classes).
    """
    one_pass(name, batches)
    for index, batch in enumerate(batches):
        where = f"batch {index} of {name}"
        x, y, answers = _parts(batch)
        examples = examples_of(x)
        if examples is None or (labels and not (isinstance(y, Tensor) and y.dim())):
            raise TypeError(f"{where} must be a pair (x, y) of tensors, not {shown(batch)}")
        if labels and examples != len(y):
            raise ValueError(f"{where} has {examples} examples and {len(y)} labels")
        if not examples:
            raise ValueError(f"{where} is empty")
        if answers is not None and examples != len(answers):
            raise ValueError(f"{where} has {examples} examples and {len(answers)} answers")
        yield x, y, answers


def _parts(batch: Any) -> tuple[Any, Any, Tensor | None]:
    """Images, labels and a teacher's answers; nothing, where it is neither a pair nor these."""
    if isinstance(batch, (tuple, list)):
        if len(batch) == 2:
            return *batch, None
        answers = batch[-1] if len(batch) == 3 else batch
        if answers is None or (isinstance(answers, Tensor) and answers.is_floating_point()):
            return tuple(batch)
    return None, None, None


def no_batch(name: str, purpose: str) -> ValueError:
    """What to raise where a loader has given nothing."""
    return ValueError(
        f"{name} gave no batch: there is nothing to {purpose}. An iterator is used up after one "
        "pass: pass a DataLoader, or a list of batches"
    )


def first_batch(name: str, batches: Batches) -> tuple[Tensor, Tensor]:
    """The first batch of a loader that has one."""
    for batch in pairs(batches, name):
        return batch
    raise no_batch(name, "rank on")


def class_scores(
    output: Any, y: Tensor, judge: str, *, first: bool, positions: bool = False
) -> Tensor:
    """The outputs of a classifier in float32, found to suit the labels.

    Parameters
    ----------
    y
        As the loader gives them: those on the CPU are read in every batch,
        and others in the ``first`` only. To read them all would make the CPU
        wait for the GPU, whose own kernels stop at a label out of range.
    judge
        What needs them, as the error begins.
    positions
        Whether outputs may be of shape (examples, classes, ...), with a label
        at each position, as those of a segmentation are.

    Raises
    ------
    TypeError
        The output is no tensor.
    ValueError
        Its shape is not (examples, classes), or the labels are not whole
        numbers from 0 to below the number of classes, one an example.
    """
    one = "one label an example" + (" or position" if positions else "")
    needs = f"{judge} needs outputs of shape (examples, classes) and {one}"
    if not isinstance(output, Tensor):
        raise TypeError(
            f"{needs}; the model gives {type(output).__name__}, not one tensor: wrap it in a "
            "module that gives the scores of the classes alone"
        )
    fits = output.dim() > 1 and y.shape == output.shape[:1] + output.shape[2:]
    if not fits or (output.dim() > 2 and not positions):
        raise ValueError(
            f"{needs}; these are outputs of shape {tuple(output.shape)} and labels of shape "
            f"{tuple(y.shape)}"
        )
    if y.is_floating_point() or y.is_complex() or y.dtype is torch.bool:
        raise ValueError(f"{needs}, the whole number of its class; these labels are {y.dtype}")
    if first or y.device.type == "cpu":
        low, high = (int(bound) for bound in y.long().aminmax())
        if low < 0 or high >= output.shape[1]:
            raise ValueError(
                f"labels must lie between 0 and {output.shape[1] - 1}, as the model has "
                f"{output.shape[1]} outputs, and one is {low if low < 0 else high}"
            )
    return output.float()


def refuse_nan(value: float, inputs: Any, where: str, cause: str, what: str = "loss") -> None:
    """A ValueError unless a value is finite: the images are to blame, or else ``cause``."""
    if not math.isfinite(value):
        if not finite(inputs):
            cause = f"{where} holds NaN or infinite values"
        raise ValueError(f"the {what} became {value}: {cause}")


def total(loss: Loss, output: Any, *answers: Any) -> Tensor:
    """The loss of a batch, one value of an example or all of them added up already.

    Answers are the targets, and after them what a teacher says, if there is one.
    """
    value = loss(output, *answers)
    if not isinstance(value, Tensor) or not value.requires_grad:
        raise TypeError(
            "loss must give a tensor that it computes from the outputs by differentiable "
            f"operations, not {shown(value)}"
        )
    return value.sum()


def refuse_mean(loss: Loss, output: Any, *answers: Any, examples: int) -> None:
    """Refuse a loss that does not add up over examples, such as their mean.

    The gradient of an example would then not be that of its own loss, but
    shrink with the size of its batch. The loss is shown the first few
    examples once and twice over, on a generator of its own: no gradient may
    change.
    """
    of_cuda = {leaf.device for leaf in tree_leaves(output) if getattr(leaf, "is_cuda", False)}
    with torch.random.fork_rng(of_cuda):
        once, twice = (_slopes(loss, output, answers, examples, times) for times in (1, 2))
    if (twice - once).norm() > 0.1 * once.norm():
        raise ValueError(
            "loss must add up over examples, or give one value each: this one weighs an example "
            'by how many there are, as a mean does. Use reduction="sum"'
        )


def _slopes(loss: Loss, output: Any, answers: tuple, examples: int, times: int) -> Tensor:
    """Derivatives of the loss at the first few examples, if each is there ``times`` times."""
    few = min(examples, TRIED)
    leaves, form = tree_flatten(output)
    moving = []
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) and leaf.requires_grad and leaf.dim() and len(leaf) == examples:
            leaves[place] = torch.cat([leaf.detach()[:few]] * times).requires_grad_()
            moving.append(leaves[place])
    if not moving:
        raise ValueError(
            f"the outputs hold no tensor of {examples} examples, as the inputs do, by which a loss "
            f"could judge each: {shown(output)}"
        )
    answers = first_examples(answers, examples, few, times)
    try:
        value = total(loss, tree_unflatten(leaves, form), *answers)
    except Exception as error:  # whatever it is that a function of the user's raises
        raise ValueError(
            f"loss must take any number of examples, and fails on {few * times} of the first "
            f"batch: {error}"
        ) from error
    slopes = torch.autograd.grad(value, moving, allow_unused=True)
    return torch.cat([torch.zeros(1), *(s[:few].flatten().cpu() for s in slopes if s is not None)])
