"""Training, fast on whatever machine runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
    Loss,
    Taught,
    no_batch,
    number_of,
    refuse_nan,
    taught,
)
from prunekit.checks.settings import TRAINING
from prunekit.checks.structures import arguments, examples_of, moved
from prunekit.execution import autocast, device_of, evaluation_mode, fastest_layout, laid_out
from prunekit.progress import bar, say
from prunekit.storage.fingerprints import describe, digest_of, digest_of_data, form_of, frozen_in
from prunekit.training.checkpoint import TrainingState
from prunekit.training.evaluation import Judge, validated
from prunekit.training.interrupted import Interrupted
from prunekit.training.objective import Objective, Penalty, objective_of, penalty_of
from prunekit.training.optimisation import averaged, follow, scheduler_of, sgd, take_average

#: Of a classifier's training.
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


@checked(**TRAINING)
def fit(
    model: nn.Module,
    loader: Batches,
    val_loader: Batches | None = None,
    *,
    loss: Loss | None = None,
    evaluate: Judge | None = None,
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
    penalty: Penalty | None = None,
    teacher: nn.Module | Sequence[nn.Module] | None = None,
    teacher_weight: float = 0.9,
    temperature: float = 4.0,
    precision: str = "mixed",
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train ``model`` in place by SGD with Nesterov momentum.

    Meanwhile all of it is in training mode, as ``model.train()`` puts it, and
    so are modules that were in ``eval()``: a batch norm that is to keep its
    statistics overrides ``train``. Afterwards every module is in the mode it had.

    Parameters
    ----------
    loader
        Batches ``(x, y)``, or ``(x, y, answers)`` with what a teacher says,
        scores of shape (examples, classes) such as those of
        :class:`prunekit.data.Views`. ``x`` is a tensor, or a tuple or
        dictionary of the arguments of ``forward``, of which the first tensor
        tells how many examples there are. A loader without a length is passed
        over once more at the start, to count its batches.
    loss
        Called as ``loss(output, y)`` in place of the cross-entropy of labels,
        with targets ``y`` of any structure. As for :func:`prunekit.rank` it is
        the sum over examples, or one value for each; their mean is made small.
        With a teacher it is called as ``loss(output, y, said)``, and mixes
        what the targets ask and what the teacher says by itself.
    evaluate
        Called as ``evaluate(model, val_loader)`` after each epoch, in
        evaluation mode, in place of loss and accuracy of a classifier. It
        gives numbers by name, as in ``{"mean_iou": 0.7, "pixels": 0.9}``, of
        which the first decides where one is asked for, higher being better.
    epochs
        Passes over ``loader``; a fraction stops part of the way through one.
    lr
        Highest learning rate of the schedule.
    momentum
        Share of its last step that a step goes on with.
    weight_decay
        What each parameter loses of itself in a step, times the learning rate.
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
        Decay of an exponential moving average of the weights that learn and
        the running mean and variance of norms, a step at a time: 0.999 looks
        back over about a thousand steps. The model ends with the average, and
        validation judges it. Other buffers are those of the last step. 0 for none.
    label_smoothing
        Share of each label that is spread evenly over all classes. Of the
        cross-entropy only: a ``loss`` does it by itself.
    clip_norm
        Largest norm of the whole gradient.
    penalty
        Called as ``penalty(model, done)`` in each step, with the share of the
        steps that are done, from 0 to 1. What it gives is added to the loss
        that is made small, not to the one that is told: a :class:`GroupLasso`.
    teacher, teacher_weight, temperature
        Distillation (Hinton, Vinyals and Dean 2015): ``teacher_weight`` of
        the loss is the divergence from the teacher's probabilities, both
        softened by ``temperature``; the labels have the rest. Of several
        teachers, the outputs are averaged. With answers in the batches there
        is no teacher to give. A ``loss`` uses neither number.
    precision
        ``"mixed"``: in training, the model and its teachers compute in
        bfloat16 where that pays, on CUDA and on CPUs with AVX-512, and in the
        precision of the weights elsewhere, or if that is float16. bfloat16 keeps
        two to three digits, and so do the outputs from which ``loss`` is told.
        ``"full"``: in the precision of the weights everywhere, as validation
        always does.
    checkpoint
        A file that each epoch replaces as it ends. Training that finds one of
        the same settings, data and network goes on from it, and ends with the
        weights of an unbroken run. Networks are the same if they start with the
        same weights and buffers, of which the same are frozen, and their modules
        are of the same classes with the same public attributes. The generators of
        torch, NumPy and Python go on where they were; one of your own does not.
    progress
        Whether to show a bar and a line an epoch, where there is a terminal
        or a notebook.

    Returns
    -------
    DataFrame with a row an epoch: ``epoch``, ``steps``, ``lr`` (last used),
    ``loss``, ``accuracy`` (both running means over training batches, the
    second unless ``loss`` is given), ``val_loss``, ``val_accuracy`` (NaN
    without ``val_loader``), ``seconds``. With ``evaluate``, its numbers stand
    in place of the last two, as ``val_mean_iou``.

    Raises
    ------
    ValueError
        A setting is out of range, the loss or its gradient becomes NaN or
        infinite (that step is not made), the loss is a mean over examples,
        outputs or labels are not as :func:`evaluate` needs them, ``loss`` takes
        no third argument and there is a teacher, there is a teacher and the
        batches hold answers, ``label_smoothing`` stands beside ``loss``, no
        parameter requires a gradient, or ``checkpoint`` is damaged or of a
        training with other settings or of another network.
    TypeError
        As :func:`evaluate`, ``loss`` gives no tensor or ``evaluate`` no
        numbers, or a loader is an iterator, used up after one pass.
    Interrupted
        Ctrl-C, a :class:`KeyboardInterrupt`. Its ``history`` holds the rows
        so far; the model has the weights of that moment, not their average.

    Examples
    --------
    Images of the second class are brighter:

    >>> _ = torch.manual_seed(0)
    >>> y = torch.arange(32) % 2
    >>> x = torch.randn(32, 1, 8, 8) + y.view(-1, 1, 1, 1)
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
    >>> history = fit(model, [(x, y)], epochs=20, lr=0.02, progress=False)
    >>> len(history), history["accuracy"].iloc[-1]
    (20, np.float64(1.0))
    """
    objective = objective_of(
        loss,
        label_smoothing=label_smoothing,
        teacher=teacher,
        teacher_weight=teacher_weight,
        temperature=temperature,
        precision=precision,
    )
    batches_an_epoch = number_of(loader)
    total_steps = max(1, round(epochs * batches_an_epoch))
    optimizer = sgd(model, lr, momentum, weight_decay, decay_all=decay_all)
    rising = round(warm_up * batches_an_epoch)
    scheduler = scheduler_of(schedule, optimizer, lr, total_steps, rising)
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    state = TrainingState(model, optimizer, scheduler, averaged(model, average))
    judged = model if state.average is None else state.average.module
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        settings = {
            "loss": describe(loss, "loss"),
            "evaluate": describe(evaluate, "evaluate"),
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
            "precision": precision,
            "penalty": describe(penalty, "penalty"),
            "teacher": describe(teacher, "teacher"),
            "teacher_weight": teacher_weight,
            "temperature": temperature,
            "starting_weights": digest_of(model),
            "network": form_of(model),
            "frozen": frozen_in(model),
            "data": digest_of_data(loader, "loader"),
            "val_data": None if val_loader is None else digest_of_data(val_loader, "val_loader"),
        }
        if checkpoint.is_file():
            state.read(checkpoint, settings)

    def penalized() -> Tensor | float:
        if penalty is None:
            return 0.0
        return penalty_of(penalty, model, scheduler.last_epoch / total_steps)

    rows = state.rows
    done = sum(row["steps"] for row in rows)
    if done == total_steps:  # not even a first batch is drawn: the generators stay where they were
        take_average(model, state.average)
        return _history(rows)
    shown = bar(total=total_steps, initial=done, show=progress, unit="batch")
    try:
        looked_over = partial(taught, labels=objective.labels)
        first_pass, layout = _begun(model, looked_over(loader))
        # Each epoch sets its own mode; afterwards every module is in the one it had.
        with evaluation_mode(model), laid_out(model, layout), laid_out(judged, layout):
            for batches in chain([first_pass], map(looked_over, repeat(loader))):
                steps_left = total_steps - sum(row["steps"] for row in rows)
                if not steps_left:
                    break
                start = time.perf_counter()
                model.train()
                steps = islice(batches, steps_left)
                row = _epoch(state, steps, layout, objective, clip_norm, penalized, shown)
                row |= validated(judged, val_loader, evaluate)
                row["seconds"] = time.perf_counter() - start
                rows.append({"epoch": len(rows) + 1} | row)
                if checkpoint is not None:
                    state.write(checkpoint, settings)
                say("  ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()), progress)
            take_average(model, state.average)
    except Exception:
        if not scheduler.last_epoch:  # no step yet: what has seen what is refused forgets it
            for buffer, before in buffers:
                buffer.copy_(before)
            for parameter, slope in gradients:
                parameter.grad = slope
        raise
    except KeyboardInterrupt as error:
        message = f"training was interrupted in epoch {len(rows) + 1}"
        raise Interrupted(message, _history(rows)) from error
    finally:
        shown.close()
    return _history(rows)


def _history(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=None if rows else list(HISTORY_COLUMNS))


def _begun(model: nn.Module, remaining: Taught) -> tuple[Taught, torch.memory_format]:
    """A pass over the data whose first batch has been looked at, and the layout it asks for."""
    first = next(remaining, None)
    if first is None:
        raise no_batch("the loader", "train on")
    return chain([first], remaining), fastest_layout(model, first[0])


def _epoch(
    state: TrainingState,
    batches: Taught,
    layout: torch.memory_format,
    objective: Objective,
    clip_norm: float,
    penalized: Callable[[], Tensor | float],
    shown: tqdm,
) -> dict[str, Any]:
    model, optimizer, scheduler = state.model, state.optimizer, state.scheduler
    device = device_of(model)
    examples, steps, sums, means = 0, 0, dict[str, float](), dict[str, float]()
    for x, y, answers in batches:
        where = f"batch {steps} of the loader"
        given = moved(arguments(model, x, where), device, layout)
        with autocast(device, objective.precision, [model]):
            # A teacher is to see the inputs as they came, and the model may write over them.
            output = run(model, moved(given, device) if objective.teachers else given, where)
        loss, counts = objective(output, given, y, answers, first=not steps)
        optimizer.zero_grad()
        (loss + penalized()).backward()
        norm = nn.utils.clip_grad_norm_(state.trained, clip_norm)
        # In one transfer, and before the step: what is not finite must not reach the weights.
        value, slope, *counted = torch.stack([loss.detach(), norm, *counts.values()]).tolist()
        refuse_nan(value, given, where, "lower the learning rate")
        refuse_nan(slope, given, where, "lower the learning rate, or mend the loss", "gradient")
        lr = scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()
        follow(model, state.average)
        size = examples_of(given) or 0
        examples += size
        of_batch = {"loss": value * size} | dict(zip(counts, counted, strict=True))
        sums = {name: sums.get(name, 0.0) + number for name, number in of_batch.items()}
        means = {name: number / examples for name, number in sums.items()}
        steps += 1
        shown.update()
        shown.set_postfix({name: f"{mean:.3f}" for name, mean in means.items()})
    if not steps:
        raise no_batch("the loader", "train on")
    return {"steps": steps, "lr": lr} | means
