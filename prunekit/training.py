"""Training and evaluation of a classifier, fast on whatever machine runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from prunekit.training_state import TrainingState

Batches = Iterable[tuple[Tensor, Tensor]]
HISTORY_COLUMNS = (
    *("epoch", "steps", "lr", "loss", "accuracy"),
    *("val_loss", "val_accuracy", "seconds"),
)


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and accuracy (a fraction, not a percentage) over ``examples``."""

    loss: float
    accuracy: float
    examples: int


def autocast(device: torch.device) -> AbstractContextManager:
    """bfloat16 autocast where it pays: on CUDA, and on CPUs with AVX-512.

    A CPU without AVX-512 emulates bfloat16: SqueezeNet at 64 px then takes
    over six times as long as in float32.
    """
    if device.type == "cpu":
        pays = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    else:
        pays = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=pays)


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter; the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the time being; afterwards every module is in the mode it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def evaluate(model: nn.Module, loader: Batches) -> Evaluation:
    """Mean cross-entropy and accuracy of ``model`` over all of ``loader``.

    Every module is in the mode it had afterwards.

    Raises
    ------
    ValueError
        The loader is empty, or an output is NaN or infinite.
    """
    device = device_of(model)
    loss, correct, examples = 0.0, 0, 0
    with evaluation_mode(model), torch.inference_mode():
        for x, y in loader:
            x, y = _to(x, device), y.to(device)
            output = model(x).float()
            loss += F.cross_entropy(output, y, reduction="sum").item()
            correct += (output.argmax(1) == y).sum().item()
            examples += len(y)
    if not examples:
        raise ValueError("the loader gave no batch: there is nothing to evaluate on")
    if not loss < float("inf"):
        raise ValueError("the model's outputs are NaN or infinite")
    return Evaluation(loss / examples, correct / examples, examples)


def fit(
    model: nn.Module,
    loader: Batches,
    val_loader: Batches | None = None,
    *,
    epochs: float = 1,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    schedule: str = "one_cycle",
    label_smoothing: float = 0.0,
    clip_norm: float = 5.0,
    teacher: nn.Module | None = None,
    teacher_weight: float = 0.9,
    temperature: float = 4.0,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train ``model`` in place by SGD with Nesterov momentum.

    Parameters
    ----------
    epochs
        Passes over ``loader``; a fraction stops part of the way through one.
    lr
        Highest learning rate of the schedule.
    schedule
        ``"one_cycle"`` (rises for 30 % of the steps, then falls to zero),
        ``"cosine"`` (falls from the start) or ``"constant"``.
    clip_norm
        Largest norm of the whole gradient.
    teacher, teacher_weight, temperature
        Distillation (Hinton, Vinyals and Dean 2015): ``teacher_weight`` of
        the loss is the divergence from the teacher's probabilities, both
        softened by ``temperature``; the labels have the rest.
    checkpoint
        A file that each epoch replaces as it ends. Training that finds one of
        the same settings goes on from it, and ends with the weights of an
        unbroken run.

    Returns
    -------
    DataFrame with a row an epoch: ``epoch``, ``steps``, ``lr`` (last used),
    ``loss``, ``accuracy`` (both running means over training batches),
    ``val_loss``, ``val_accuracy`` (NaN without ``val_loader``), ``seconds``.
    Ctrl-C ends training cleanly: the rows so far are returned and
    ``.attrs["interrupted"]`` is True.

    Raises
    ------
    ValueError
        A setting is out of range, the loss becomes NaN or infinite, or
        ``checkpoint`` is damaged or of a training with other settings.
    """
    if not 0 <= teacher_weight <= 1 or temperature <= 0:
        raise ValueError(
            "teacher_weight lies between 0 and 1 and temperature is positive, "
            f"not {teacher_weight} and {temperature}"
        )
    if epochs <= 0 or lr <= 0:
        raise ValueError(f"epochs and lr must be positive, not {epochs} and {lr}")
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError("no parameter of the model requires a gradient: nothing to train")
    total_steps = max(1, round(epochs * len(loader)))
    optimizer = torch.optim.SGD(
        trainable, lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0
    )
    scheduler = _scheduler(schedule, optimizer, lr, total_steps)
    was_training = model.training
    model.to(memory_format=torch.channels_last)
    state = TrainingState(model, optimizer, scheduler)
    settings = {
        "steps": total_steps,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "label_smoothing": label_smoothing,
        "clip_norm": clip_norm,
        "teacher": (teacher_weight, temperature) if teacher is not None else None,
    }
    if checkpoint is not None and Path(checkpoint).is_file():
        state.read(Path(checkpoint), settings)
    rows = state.rows
    interrupted = False
    loss_of = partial(
        _loss,
        label_smoothing=label_smoothing,
        teacher=teacher,
        teacher_weight=teacher_weight,
        temperature=temperature,
    )
    done = sum(row["steps"] for row in rows)
    bar = tqdm(total=total_steps, initial=done, disable=not progress, unit="batch")
    try:
        while steps_left := total_steps - sum(row["steps"] for row in rows):
            start = time.perf_counter()
            batches = islice(loader, steps_left)
            model.train()
            row = _epoch(model, batches, optimizer, scheduler, loss_of, clip_norm, bar)
            held_out = evaluate(model, val_loader) if val_loader is not None else None
            row["val_loss"] = held_out.loss if held_out else float("nan")
            row["val_accuracy"] = held_out.accuracy if held_out else float("nan")
            row["seconds"] = time.perf_counter() - start
            rows.append({"epoch": len(rows) + 1} | row)
            if checkpoint is not None:
                state.write(Path(checkpoint), settings)
            if progress:
                bar.write("  ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        bar.close()
        model.train(was_training)
    history = pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))
    history.attrs["interrupted"] = interrupted
    return history


def _epoch(
    model: nn.Module,
    batches: Batches,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor],
    clip_norm: float,
    bar: tqdm,
) -> dict[str, float]:
    device = device_of(model)
    trainable = optimizer.param_groups[0]["params"]
    loss_sum, correct, examples, steps = 0.0, 0, 0, 0
    for x, y in batches:
        x, y = _to(x, device), y.to(device)
        with autocast(device):
            output = model(x)
        loss = loss_of(x, output.float(), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trainable, clip_norm)
        lr = scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()
        loss_sum += loss.item() * len(y)
        if not loss_sum < float("inf"):
            raise ValueError(f"the loss became {loss.item()}: lower the learning rate")
        correct += (output.argmax(1) == y).sum().item()
        examples += len(y)
        steps += 1
        bar.update()
        bar.set_postfix(loss=f"{loss_sum / examples:.3f}", accuracy=f"{correct / examples:.3f}")
    if not steps:
        raise ValueError("the loader gave no batch: there is nothing to train on")
    return {"steps": steps, "lr": lr, "loss": loss_sum / examples, "accuracy": correct / examples}


def _loss(
    x: Tensor,
    output: Tensor,
    y: Tensor,
    *,
    label_smoothing: float,
    teacher: nn.Module | None,
    teacher_weight: float,
    temperature: float,
) -> Tensor:
    loss = F.cross_entropy(output, y, label_smoothing=label_smoothing)
    if teacher is None:
        return loss
    with evaluation_mode(teacher), torch.no_grad(), autocast(x.device):
        soft = F.log_softmax(teacher(x).float() / temperature, dim=1)
    divergence = F.kl_div(
        F.log_softmax(output / temperature, dim=1), soft, reduction="batchmean", log_target=True
    )
    # Gradients of softened outputs shrink by the square of the temperature.
    return (1 - teacher_weight) * loss + teacher_weight * temperature**2 * divergence


def _to(x: Tensor, device: torch.device) -> Tensor:
    x = x.to(device)
    return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x


def _scheduler(
    name: str, optimizer: torch.optim.Optimizer, lr: float, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    schedulers = torch.optim.lr_scheduler
    if name == "one_cycle":
        return schedulers.OneCycleLR(optimizer, lr, total_steps=steps + 1, cycle_momentum=False)
    if name == "cosine":
        return schedulers.CosineAnnealingLR(optimizer, steps)
    if name == "constant":
        return schedulers.ConstantLR(optimizer, factor=1.0)
    raise ValueError(f"schedule must be one_cycle, cosine or constant, not {name!r}")
