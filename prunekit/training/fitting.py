"""Training of a classifier, fast on whatever machine runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from prunekit.checks import checked, run
from prunekit.checks.batches import (
    Batches,
    Taught,
    class_scores,
    no_batch,
    number_of,
    refuse_nan,
    taught,
)
from prunekit.checks.settings import TRAINING
from prunekit.execution import autocast, device_of, evaluation_mode, fastest_layout, laid_out
from prunekit.losses import training_loss
from prunekit.progress import bar, say
from prunekit.storage.fingerprints import describe, digest_of, digest_of_data
from prunekit.training.checkpoint import TrainingState
from prunekit.training.evaluation import evaluate
from prunekit.training.optimisation import averaged, scheduler_of, sgd, take_average
from prunekit.training.teaching import said

HISTORY_COLUMNS = (
    "epoch",
    "steps",
    "lr",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "seconds",
)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what had been done by then.

    Attributes
    ----------
    history
        What the function that was interrupted would have returned, as far as
        it had come: the whole epochs of :func:`fit`, the whole iterations of
        :func:`prunekit.prune`.

    Examples
    --------
    >>> try:
    ...     raise Interrupted("in epoch 3", history=[1, 2])
    ... except KeyboardInterrupt as interrupted:
    ...     interrupted.history
    [1, 2]
    """

    def __init__(self, message: str, history: Any) -> None:
        super().__init__(message)
        self.history = history


@checked(**TRAINING)
def fit(
    model: nn.Module,
    loader: Batches,
    val_loader: Batches | None = None,
    *,
    epochs: float = 1,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    decay_all: bool = True,
    schedule: str = "one_cycle",
    warm_up: float = 0.0,
    average: float = 0.0,
    label_smoothing: float = 0.0,
    clip_norm: float = 5.0,
    teacher: nn.Module | Sequence[nn.Module] | None = None,
    teacher_weight: float = 0.9,
    temperature: float = 4.0,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train ``model`` in place by SGD with Nesterov momentum.

    Parameters
    ----------
    loader
        Batches ``(x, y)``, or ``(x, y, answers)`` with a teacher's scores of
        shape (examples, classes), such as those of
        :class:`prunekit.data.Views`. A loader without a length is passed over
        once more at the start, to count its batches.
    epochs
        Passes over ``loader``; a fraction stops part of the way through one.
    lr
        Highest learning rate of the schedule.
    decay_all
        Whether weight decay also shrinks scales, shifts and biases: all
        parameters of one dimension.
    schedule
        ``"one_cycle"`` (rises for 30 % of the steps, then falls to zero),
        ``"cosine"`` (falls from the start) or ``"constant"``.
    warm_up
        Epochs during which the rate first rises, in a straight line, to
        ``lr``. Not with ``"one_cycle"``.
    average
        Decay of an exponential moving average of the weights and running
        statistics, a step at a time: 0.999 looks back over about a thousand
        steps. The model ends with the average, and validation judges it.
        0 for none.
    clip_norm
        Largest norm of the whole gradient.
    teacher, teacher_weight, temperature
        Distillation (Hinton, Vinyals and Dean 2015): ``teacher_weight`` of
        the loss is the divergence from the teacher's probabilities, both
        softened by ``temperature``; the labels have the rest. Of several
        teachers, the scores are averaged. With answers in the batches there
        is no teacher to give.
    checkpoint
        A file that each epoch replaces as it ends. Training that finds one of
        the same settings, data and starting weights goes on from it, and ends
        with the weights of an unbroken run.
    progress
        Whether to show a bar and a line an epoch, where there is a terminal
        or a notebook.

    Returns
    -------
    DataFrame with a row an epoch: ``epoch``, ``steps``, ``lr`` (last used),
    ``loss``, ``accuracy`` (both running means over training batches),
    ``val_loss``, ``val_accuracy`` (NaN without ``val_loader``), ``seconds``.

    Raises
    ------
    ValueError
        A setting is out of range, the loss becomes NaN or infinite (that step
        is not made), outputs or labels are not as :func:`evaluate` needs
        them, or ``checkpoint`` is damaged or of a training with other
        settings.
    TypeError
        As :func:`evaluate`, or a loader is an iterator, used up after one pass.
    Interrupted
        Ctrl-C, a :class:`KeyboardInterrupt`. Its ``history`` holds the rows
        so far; the model has the weights of that moment, not their average.
    """
    batches_an_epoch = number_of(loader)
    total_steps = max(1, round(epochs * batches_an_epoch))
    optimizer = sgd(model, lr, momentum, weight_decay, decay_all=decay_all)
    rising = round(warm_up * batches_an_epoch)
    scheduler = scheduler_of(schedule, optimizer, lr, total_steps, rising)
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    state = TrainingState(model, optimizer, scheduler, averaged(model, average))
    judged = model if state.average is None else state.average.module
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        settings = {
            "steps": total_steps,
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "decay_all": decay_all,
            "schedule": schedule,
            "warm_up": rising,
            "average": average,
            "label_smoothing": label_smoothing,
            "clip_norm": clip_norm,
            "teacher": describe(teacher, "teacher"),
            "teacher_weight": teacher_weight,
            "temperature": temperature,
            "starting_weights": digest_of(model),
            "data": digest_of_data(loader, "loader"),
            "val_data": None if val_loader is None else digest_of_data(val_loader, "val_loader"),
        }
        if checkpoint.is_file():
            state.read(checkpoint, settings)
    rows = state.rows
    loss_of = partial(
        training_loss,
        label_smoothing=label_smoothing,
        teacher_weight=teacher_weight,
        temperature=temperature,
    )
    teachers = [teacher] if isinstance(teacher, nn.Module) else list(teacher or ())
    done, was_training = sum(row["steps"] for row in rows), model.training
    shown = bar(total=total_steps, initial=done, show=progress, unit="batch")
    try:
        first_pass, layout = _begun(model, loader)
        with laid_out(model, layout), laid_out(judged, layout):
            for batches in chain([first_pass], map(taught, repeat(loader))):
                steps_left = total_steps - sum(row["steps"] for row in rows)
                if not steps_left:
                    break
                start = time.perf_counter()
                model.train()
                steps = islice(batches, steps_left)
                row = _epoch(state, steps, layout, teachers, loss_of, clip_norm, shown)
                held_out = evaluate(judged, val_loader) if val_loader is not None else None
                row["val_loss"] = held_out.loss if held_out else float("nan")
                row["val_accuracy"] = held_out.accuracy if held_out else float("nan")
                row["seconds"] = time.perf_counter() - start
                rows.append({"epoch": len(rows) + 1} | row)
                if checkpoint is not None:
                    state.write(checkpoint, settings)
                say("  ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()), progress)
            take_average(model, state.average)
    except (TypeError, ValueError):
        if not scheduler.last_epoch:  # no step yet: batch norms alone have seen what is refused
            for buffer, before in buffers:
                buffer.copy_(before)
        raise
    except KeyboardInterrupt as error:
        message = f"training was interrupted in epoch {len(rows) + 1}"
        raise Interrupted(message, _history(rows)) from error
    finally:
        shown.close()
        model.train(was_training)
    return _history(rows)


def _history(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))


def _begun(model: nn.Module, loader: Batches) -> tuple[Taught, torch.memory_format]:
    """A pass over the data whose first batch has been looked at, and the layout it asks for."""
    remaining = taught(loader)
    first = next(remaining, None)
    if first is None:
        raise no_batch("the loader", "train on")
    return chain([first], remaining), fastest_layout(model, first[0])


def _epoch(
    state: TrainingState,
    batches: Taught,
    layout: torch.memory_format,
    teachers: Sequence[nn.Module],
    loss_of: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    clip_norm: float,
    shown: tqdm,
) -> dict[str, Any]:
    model, optimizer, scheduler = state.model, state.optimizer, state.scheduler
    device = device_of(model)
    loss_sum, correct, examples, steps = 0.0, 0, 0, 0
    for x, y, answers in batches:
        where = f"batch {steps} of the loader"
        x = x.to(device).to(memory_format=layout)
        with autocast(device):
            output = run(model, (x,), where)
        output = class_scores(output, y, "training by cross-entropy", first=not steps)
        y = y.to(device)
        loss = loss_of(output, y, _answers(x, answers, teachers))
        right = (output.argmax(1) == y).sum()
        # In one transfer, and before the step: what is not finite must not reach the weights.
        value, right = torch.stack([loss.detach(), right]).tolist()
        refuse_nan(value, x, where, "lower the learning rate")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(state.trained, clip_norm)
        lr = scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()
        if state.average is not None:
            state.average.update_parameters(model)
        loss_sum += value * len(y)
        correct += int(right)
        examples += len(y)
        steps += 1
        shown.update()
        shown.set_postfix(loss=f"{loss_sum / examples:.3f}", accuracy=f"{correct / examples:.3f}")
    if not steps:
        raise no_batch("the loader", "train on")
    return {"steps": steps, "lr": lr, "loss": loss_sum / examples, "accuracy": correct / examples}


def _answers(x: Tensor, given: Tensor | None, teachers: Sequence[nn.Module]) -> Tensor | None:
    """What is to be learnt of a batch besides its labels."""
    if not teachers:
        return None if given is None else given.to(x.device)
    if given is not None:
        raise ValueError("the batches hold a teacher's answers already: leave out teacher")
    with ExitStack() as modes:
        for teacher in teachers:
            modes.enter_context(evaluation_mode(teacher))
        return torch.stack([said(teacher, x) for teacher in teachers]).mean(0)
