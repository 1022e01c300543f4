"""What training makes small, and what a ranking takes gradients of by default."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunekit.checks import run, shown
from prunekit.execution import autocast, evaluation_mode

# A label that cannot be: cross-entropy leaves out those of -100 else, without a word.
_cross_entropy = partial(F.cross_entropy, ignore_index=torch.iinfo(torch.int64).min)


def summed_cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy, added up over examples."""
    return _cross_entropy(output, y.long(), reduction="sum")


def training_loss(
    x: Tensor,
    output: Tensor,
    y: Tensor,
    *,
    label_smoothing: float,
    teacher: nn.Module | None,
    teacher_weight: float,
    temperature: float,
) -> Tensor:
    """Mean cross-entropy, and with a teacher the divergence from what it says, softened."""
    loss = _cross_entropy(output, y.long(), label_smoothing=label_smoothing)
    if teacher is None:
        return loss
    with evaluation_mode(teacher), torch.no_grad(), autocast(x.device):
        said = run(teacher, (x,), "the images", who="the teacher")
        if not isinstance(said, Tensor) or said.shape != output.shape:
            raise ValueError(
                f"teacher gives {shown(said)}, and the model outputs of shape "
                f"{tuple(output.shape)}: they must be alike"
            )
        soft = F.log_softmax(said.float() / temperature, dim=1)
    divergence = F.kl_div(
        F.log_softmax(output / temperature, dim=1), soft, reduction="batchmean", log_target=True
    )
    # Gradients of softened outputs shrink by the square of the temperature.
    return (1 - teacher_weight) * loss + teacher_weight * temperature**2 * divergence
