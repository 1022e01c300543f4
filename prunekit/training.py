"""Training and evaluation of a classifier, fast on whatever machine runs it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

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
        A setting is out of range, or the loss becomes NaN or infinite.
    """
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
    rows: list[dict[str, float]] = []
    interrupted = False
    bar = tqdm(total=total_steps, disable=not progress, unit="batch")
    try:
        while steps_left := total_steps - sum(row["steps"] for row in rows):
            start = time.perf_counter()
            batches = islice(loader, steps_left)
            model.train()
            row = _epoch(model, batches, optimizer, scheduler, label_smoothing, clip_norm, bar)
            held_out = evaluate(model, val_loader) if val_loader is not None else None
            row["val_loss"] = held_out.loss if held_out else float("nan")
            row["val_accuracy"] = held_out.accuracy if held_out else float("nan")
            row["seconds"] = time.perf_counter() - start
            rows.append({"epoch": len(rows) + 1} | row)
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
    label_smoothing: float,
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
        loss = F.cross_entropy(output.float(), y, label_smoothing=label_smoothing)
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
