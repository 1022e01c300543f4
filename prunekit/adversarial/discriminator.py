"""Who tells the masked network from the unpruned one, and what each of the two makes small."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunekit.checks import number, whole


class Discriminator(nn.Module):
    """Takes a network's outputs of shape (examples, classes), and gives one logit an example.

    Large logits say that the outputs come from the unpruned network. The
    sizes, and weights drawn with a deviation of 0.01, are those of GAL's
    public code (Lin et al. 2019).

    Parameters
    ----------
    slope
        Of a leaky ReLU between the layers, 0.2 say. By default there is none,
        as in that code, which makes all of it one linear function. With one,
        weights are drawn as PyTorch draws them: from those so small it takes
        thousands of steps to tell even what lies far apart.

    Examples
    --------
    >>> Discriminator(10)(torch.zeros(4, 10)).shape
    torch.Size([4])
    """

    def __init__(
        self,
        classes: int,
        hidden: tuple[int, ...] = (128, 256, 128),
        slope: float | None = None,
    ) -> None:
        super().__init__()
        sizes = [whole("a size of the discriminator", n, least=1) for n in (classes, *hidden, 1)]
        if slope is not None:
            number("slope", slope, least=0)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            if layers and slope is not None:
                layers.append(nn.LeakyReLU(slope))
            linear = nn.Linear(inputs, outputs)
            if slope is None:
                nn.init.normal_(linear.weight, std=0.01)
                nn.init.zeros_(linear.bias)
            layers.append(linear)
        self.layers = nn.Sequential(*layers)

    def forward(self, outputs: Tensor) -> Tensor:
        return self.layers(outputs).squeeze(1)


def discriminator_loss(discriminator: nn.Module, teacher: Tensor, student: Tensor) -> Tensor:
    """What the discriminator makes small, from the outputs of both networks.

    Cross-entropies of taking the teacher's for the teacher's and the
    student's for the student's; and, which keeps it from being too sure, of
    taking the student's for the teacher's (GAL's public code).

    Examples
    --------
    >>> undecided = Discriminator(2)
    >>> outputs = torch.zeros(3, 2)
    >>> round(discriminator_loss(undecided, outputs, outputs).item(), 4)  # three times ln 2
    2.0794
    """
    of_teacher, of_student = discriminator(teacher.detach()), discriminator(student.detach())
    return _said(of_teacher, True) + _said(of_student, False) + _said(of_student, True)


def student_loss(
    discriminator: nn.Module | None,
    teacher: Tensor,
    student: Tensor,
    labels: Tensor | None = None,
    *,
    mse_weight: float = 1.0,
    adversarial_weight: float = 1.0,
    label_weight: float = 0.0,
) -> Tensor:
    """What the masked network makes small: a sum of three parts, by their weights.

    Mean squared difference of the outputs; cross-entropy of the discriminator
    taking them for the teacher's; cross-entropy of the labels, which the
    method does without. A weight of 0 leaves out its part, and what only that
    part needs may be None.

    Raises
    ------
    ValueError
        What a part needs is None, and its weight is not 0.

    Examples
    --------
    >>> teacher, student = torch.ones(2, 2), torch.zeros(2, 2)
    >>> student_loss(None, teacher, student, mse_weight=0.5, adversarial_weight=0).item()
    0.5
    """
    loss = mse_weight * F.mse_loss(student, teacher.detach())
    if adversarial_weight:
        if discriminator is None:
            raise ValueError("adversarial_weight needs a discriminator: pass one, or a weight of 0")
        loss = loss + adversarial_weight * _said(discriminator(student), True)
    if label_weight:
        if labels is None:
            raise ValueError("label_weight needs labels: pass them, or a weight of 0")
        loss = loss + label_weight * F.cross_entropy(student, labels)
    return loss


def _said(logits: Tensor, teacher: bool) -> Tensor:
    """Cross-entropy of the answer "these are the teacher's", or that they are not."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(teacher)))
