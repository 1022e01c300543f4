"""What a step of training makes small: cross-entropy, with a teacher or without, or any loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from prunekit.checks import shown
from prunekit.checks.batches import Loss, class_scores, refuse_mean, total
from prunekit.checks.structures import device_in, examples_of, in_float32, moved
from prunekit.losses import training_loss
from prunekit.training.teaching import said, scores_said


@dataclass(frozen=True)
class Classification:
    """Cross-entropy and accuracy; settings as for :func:`prunekit.training.fit`."""

    labels: ClassVar[bool] = True
    teachers: Sequence[nn.Module]
    label_smoothing: float
    teacher_weight: float
    temperature: float
    precision: str

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
        _refuse_twice(answers)
        return scores_said(self.teachers, given, self.precision)


@dataclass(frozen=True)
class OwnLoss:
    """A loss of a user's own, of which the mean over the examples is made small."""

    labels: ClassVar[bool] = False
    loss: Loss
    teachers: Sequence[nn.Module]
    precision: str

    def __call__(
        self, output: Any, given: tuple, y: Any, answers: Tensor | None, *, first: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As that of :class:`Classification`; nothing is counted."""
        if self.teachers:
            _refuse_twice(answers)
            answers = said(self.teachers, given, self.precision)
        examples = examples_of(given) or 0
        if first and answers is not None:
            _refuse_deaf(self.loss)
        learnt = (y,) if answers is None else (y, answers)
        output, learnt = in_float32(output), moved(learnt, device_in(given))
        loss = total(self.loss, output, *learnt)
        if first:
            refuse_mean(self.loss, output, *learnt, examples=examples)
        return loss / examples, {}


Objective = Classification | OwnLoss
#: What a training adds to its loss: of the model, and the share of the training that is done.
Penalty = Callable[[nn.Module, float], Tensor]


def objective_of(
    loss: Loss | None,
    *,
    label_smoothing: float,
    teacher: nn.Module | Sequence[nn.Module] | None,
    teacher_weight: float,
    temperature: float,
    precision: str,
) -> Objective:
    """What the settings of :func:`prunekit.training.fit` ask for."""
    teachers = [teacher] if isinstance(teacher, nn.Module) else list(teacher or ())
    if loss is not None:
        refuse_beside(loss, teacher, label_smoothing)
        return OwnLoss(loss, teachers, precision)
    return Classification(teachers, label_smoothing, teacher_weight, temperature, precision)


def penalty_of(penalty: Penalty, model: nn.Module, done: float) -> Tensor:
    """What a penalty adds to the loss, if it is one number with a gradient."""
    added = penalty(model, done)
    if not isinstance(added, Tensor) or added.numel() != 1 or not added.requires_grad:
        raise TypeError(
            "penalty must give a tensor of one number that depends on the weights, not "
            f"{shown(added)}"
        )
    return added.squeeze()


def refuse_beside(loss: Loss | None, teacher: object, label_smoothing: float) -> None:
    """A ValueError where settings of cross-entropy stand beside a loss of one's own.

    Or a teacher beside one that does not listen.
    """
    if loss is not None and teacher is not None:
        _refuse_deaf(loss)
    if loss is not None and label_smoothing:
        raise ValueError("label_smoothing is of cross-entropy: do it in your own loss")


def _refuse_deaf(loss: Loss) -> None:
    """A ValueError unless a loss takes what a teacher says."""
    try:
        signature = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss)
    except ValueError:  # a compiled function need not say what it takes
        return
    try:
        signature.bind("output", "targets", "said")
    except TypeError as error:
        raise ValueError(
            "with a teacher, loss is called as loss(output, y, said), and this one does not take "
            f"three arguments ({error}): give it a third, in which it finds what the teacher says"
        ) from error


def _refuse_twice(answers: Tensor | None) -> None:
    if answers is not None:
        raise ValueError("the batches hold a teacher's answers already: leave out teacher")
