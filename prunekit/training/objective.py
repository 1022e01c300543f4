"""What a step of training makes small: cross-entropy, with a teacher or without, or any loss."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from prunekit.checks.batches import Loss, class_scores, refuse_mean, total
from prunekit.checks.structures import device_in, examples_of, in_float32, moved
from prunekit.execution import evaluation_mode
from prunekit.losses import training_loss
from prunekit.training.teaching import said


@dataclass(frozen=True)
class Classification:
    """Cross-entropy and accuracy; settings as for :func:`prunekit.training.fit`."""

    labels: ClassVar[bool] = True
    teachers: Sequence[nn.Module]
    label_smoothing: float
    teacher_weight: float
    temperature: float

    def __call__(
        self, output: Any, given: tuple, y: Any, answers: Tensor | None, *, first: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of a batch, and what is counted over its examples, by name.

        Parameters
        ----------
        given
            The inputs as the arguments of ``forward``, where the model is.
        y, answers
            As they come from the loader.
        first
            Whether this batch is the first, which is looked over longer.
        """
        judge = "training by cross-entropy (pass loss= for another task)"
        output = class_scores(output, y, judge, first=first)
        y = y.to(device_in(given))
        loss = training_loss(
            output,
            y,
            self._answers(given, answers),
            label_smoothing=self.label_smoothing,
            teacher_weight=self.teacher_weight,
            temperature=self.temperature,
        )
        return loss, {"accuracy": (output.argmax(1) == y).sum()}

    def _answers(self, given: tuple, answers: Tensor | None) -> Tensor | None:
        """What is to be learnt of a batch besides its labels."""
        if not self.teachers:
            return None if answers is None else answers.to(device_in(given))
        if answers is not None:
            raise ValueError("the batches hold a teacher's answers already: leave out teacher")
        with ExitStack() as modes:
            for teacher in self.teachers:
                modes.enter_context(evaluation_mode(teacher))
            return torch.stack([said(teacher, *given) for teacher in self.teachers]).mean(0)


@dataclass(frozen=True)
class OwnLoss:
    """A loss of a user's own, of which the mean over the examples is made small."""

    labels: ClassVar[bool] = False
    loss: Loss

    def __call__(
        self, output: Any, given: tuple, y: Any, answers: Tensor | None, *, first: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As that of :class:`Classification`; nothing is counted."""
        if answers is not None:
            raise ValueError(
                "a loss of your own does not see a teacher's answers that come third in a batch: "
                "put them into the targets"
            )
        examples = examples_of(given) or 0
        output, y = in_float32(output), moved(y, device_in(given))
        loss = total(self.loss, output, y)
        if first:
            refuse_mean(self.loss, output, y, examples)
        return loss / examples, {}


Objective = Classification | OwnLoss


def objective_of(
    loss: Loss | None,
    *,
    label_smoothing: float,
    teacher: nn.Module | Sequence[nn.Module] | None,
    teacher_weight: float,
    temperature: float,
) -> Objective:
    """What the settings of :func:`prunekit.training.fit` ask for."""
    if loss is not None:
        refuse_beside(loss, teacher, label_smoothing)
        return OwnLoss(loss)
    teachers = [teacher] if isinstance(teacher, nn.Module) else list(teacher or ())
    return Classification(teachers, label_smoothing, teacher_weight, temperature)


def refuse_beside(loss: Loss | None, teacher: object, label_smoothing: float) -> None:
    """A ValueError where settings of cross-entropy stand beside a loss of one's own."""
    if loss is not None and teacher is not None:
        raise ValueError(
            "loss and teacher do not go together: a loss of your own sees outputs and targets "
            "only. Put the teacher's answers into the targets, and learn from them there"
        )
    if loss is not None and label_smoothing:
        raise ValueError("label_smoothing is of cross-entropy: do it in your own loss")
