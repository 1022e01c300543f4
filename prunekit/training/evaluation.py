"""How well a classifier does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor, nn

from prunekit.checks import checked, flag, module, run, shown
from prunekit.checks.batches import Batches, class_scores, no_batch, one_pass, refuse_nan, taught
from prunekit.checks.structures import arguments, moved
from prunekit.execution import device_of, evaluation_mode, fastest_layout
from prunekit.losses import summed_cross_entropy
from prunekit.progress import bar

#: A function that says how well a model does on a loader: the first number decides.
Judge = Callable[[nn.Module, Batches], Mapping[str, float]]
ACCURACY = "accuracy (where fit or prune ask for it, pass evaluate= for another task)"


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and accuracy (a fraction, not a percentage) over ``examples``."""

    loss: float
    accuracy: float
    examples: int


@checked(model=module, loader=one_pass, progress=flag)
def evaluate(model: nn.Module, loader: Batches, *, progress: bool = False) -> Evaluation:
    """Mean cross-entropy and accuracy of ``model`` over all of ``loader``.

    Every module is in the mode it had afterwards.

    Parameters
    ----------
    progress
        Whether to show a bar, where there is a terminal or a notebook.

    Raises
    ------
    ValueError
        The loader is empty, an output is NaN or infinite, the outputs are not
        of shape (examples, classes), or the labels are not the whole numbers
        of classes.
    TypeError
        The model's output is no tensor, or a batch no pair of tensors.

    Examples
    --------
    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]])
    >>> found = evaluate(nn.Identity(), [(scores, torch.tensor([0, 1, 1]))])
    >>> round(found.loss, 3), round(found.accuracy, 3), found.examples
    (0.856, 0.667, 3)
    """
    device, layout = device_of(model), None
    loss, correct, examples = 0.0, 0, 0
    with evaluation_mode(model), torch.inference_mode():
        batches = bar(taught(loader), show=progress, desc="evaluating", delay=1, leave=False)
        for index, (x, y, _) in enumerate(batches):
            layout = layout or fastest_layout(model, x)
            where = f"batch {index} of the loader"
            output = run(model, moved(arguments(model, x, where), device, layout), where)
            output = class_scores(output, y, ACCURACY, first=not index)
            y = y.to(device)
            of_batch = summed_cross_entropy(output, y).item()
            refuse_nan(of_batch, x, where, "the model's outputs are NaN or infinite")
            loss += of_batch
            correct += (output.argmax(1) == y).sum().item()
            examples += len(y)
    if not examples:
        raise no_batch("the loader", "evaluate on")
    return Evaluation(loss / examples, correct / examples, examples)


def validated(model: nn.Module, loader: Batches | None, judge: Judge | None) -> dict[str, float]:
    """The columns of a history that say how well a model does on what it did not learn from."""
    if judge is not None:
        numbers = numbers_by(judge, model, loader) if loader is not None else {}
        return {f"val_{name}": number for name, number in numbers.items()}
    held_out = evaluate(model, loader) if loader is not None else None
    return {
        "val_loss": held_out.loss if held_out else math.nan,
        "val_accuracy": held_out.accuracy if held_out else math.nan,
    }


def numbers_by(judge: Judge, model: nn.Module, loader: Batches) -> dict[str, float]:
    """What a function of a user's own says of a model: named numbers, of which the first decides.

    It is called in evaluation mode and without gradients. Every module is in
    the mode it had afterwards.

    Raises
    ------
    TypeError
        It gives no names with numbers.
    ValueError
        It gives none at all, or the first is NaN or infinite.
    """
    with evaluation_mode(model), torch.no_grad():
        given = judge(model, loader)
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise TypeError(
            "evaluate must give numbers by name, as in {'mean_iou': 0.7}, the one that decides "
            f"first, not {shown(given)}"
        )
    numbers = {name: _number(name, value) for name, value in given.items()}
    if not numbers:
        raise ValueError("evaluate gave no number, and the first is to decide")
    name, first = next(iter(numbers.items()))
    if not math.isfinite(first):
        raise ValueError(f"evaluate gave {name} = {first}, and the first number is to decide")
    return numbers


def _number(name: str, value: object) -> float:
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"evaluate must give a number as {name}, not {shown(value)}")
    return float(value)
