"""How well a classifier does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from prunekit.checks import checked, flag, module, run
from prunekit.checks.batches import Batches, class_scores, no_batch, one_pass, pairs, refuse_nan
from prunekit.execution import device_of, evaluation_mode, fastest_layout
from prunekit.losses import summed_cross_entropy
from prunekit.progress import bar


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
    """
    device, layout = device_of(model), None
    loss, correct, examples = 0.0, 0, 0
    with evaluation_mode(model), torch.inference_mode():
        shown = bar(pairs(loader), show=progress, desc="evaluating", delay=1, leave=False)
        for index, (x, y) in enumerate(shown):
            layout = layout or fastest_layout(model, x)
            where = f"batch {index} of the loader"
            output = run(model, (x.to(device).to(memory_format=layout),), where)
            output = class_scores(output, y, "accuracy", first=not index)
            y = y.to(device)
            of_batch = summed_cross_entropy(output, y).item()
            refuse_nan(of_batch, x, where, "the model's outputs are NaN or infinite")
            loss += of_batch
            correct += (output.argmax(1) == y).sum().item()
            examples += len(y)
    if not examples:
        raise no_batch("the loader", "evaluate on")
    return Evaluation(loss / examples, correct / examples, examples)
