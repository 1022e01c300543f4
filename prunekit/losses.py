"""What training makes small, and what a ranking takes gradients of by default."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from prunekit.checks import shown

# A label that cannot be: cross-entropy leaves out those of -100 else, without a word.
_cross_entropy = partial(F.cross_entropy, ignore_index=torch.iinfo(torch.int64).min)


def summed_cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy, added up over examples."""
    return _cross_entropy(output, y.long(), reduction="sum")


def training_loss(
    output: Tensor,
    y: Tensor,
    answers: Tensor | None,
    *,
    label_smoothing: float,
    teacher_weight: float,
    temperature: float,
) -> Tensor:
    """Mean cross-entropy, and the divergence from what a teacher says, softened."""
    loss = _cross_entropy(output, y.long(), label_smoothing=label_smoothing)
    if answers is None:
        return loss
    if answers.shape != output.shape:
        raise ValueError(
            f"the teacher gives {shown(answers)}, and the model outputs of shape "
            f"{tuple(output.shape)}: they must be alike"
        )
    soft = F.log_softmax(answers.float() / temperature, dim=1)
    divergence = F.kl_div(
        F.log_softmax(output / temperature, dim=1), soft, reduction="batchmean", log_target=True
    )
    # Gradients of softened outputs shrink by the square of the temperature.
    return (1 - teacher_weight) * loss + teacher_weight * temperature**2 * divergence
