"""The optimiser, the schedule of its rate, and the average of the weights it makes."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Scheduler = lr_scheduler.LRScheduler
#: The buffers in which norms follow the data as training goes on, by their names.
RUNNING = ("running_mean", "running_var")


def sgd(
    model: nn.Module, lr: float, momentum: float, weight_decay: float, *, decay_all: bool
) -> SGD:
    """SGD with Nesterov momentum over the parameters that want a gradient.

    Unless ``decay_all``, scales, shifts and biases (parameters of one
    dimension) do not decay.

    Raises
    ------
    ValueError
        No parameter wants a gradient.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError("no parameter of the model requires a gradient: nothing to train")
    groups: list[dict[str, Any]] = [{"params": trainable}]
    if not decay_all:
        weights = [parameter for parameter in trainable if parameter.dim() > 1]
        others = [parameter for parameter in trainable if parameter.dim() <= 1]
        groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
    return SGD(groups, lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0)


def check_warm_up(schedule: str, steps: float, warm_up: float) -> None:
    """Refuse a warm-up as long as the training, or one of ``one_cycle``, which has its own.

    Raises
    ------
    ValueError
        It is one of these.
    """
    if schedule == "one_cycle" and warm_up:
        raise ValueError('schedule="one_cycle" warms up by itself: leave out warm_up')
    if warm_up >= steps:
        raise ValueError(f"warm_up is no shorter than training: {warm_up} of {steps}")


def scheduler_of(name: str, optimizer: SGD, lr: float, steps: int, warm_up: int) -> Scheduler:
    """A schedule by name, over so many steps, of which the rate rises during the first ``warm_up``.

    Raises
    ------
    ValueError
        As :func:`check_warm_up`.
    """
    check_warm_up(name, steps, warm_up)
    if name == "one_cycle":
        return lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps + 1, cycle_momentum=False)
    if name == "cosine":
        after: Scheduler = lr_scheduler.CosineAnnealingLR(optimizer, steps - warm_up)
    else:
        after = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if not warm_up:
        return after
    rising = lr_scheduler.LinearLR(optimizer, 1 / (warm_up + 1), total_iters=warm_up)
    return lr_scheduler.SequentialLR(optimizer, [rising, after], milestones=[warm_up])


def falling(schedule: str, done: float) -> float:
    """The share of the first learning rate that holds once so much of the training is done.

    For trainings that go on an epoch at a time: ``"cosine"``, or steps to a
    tenth after 30, 60 and 90 %.
    """
    if schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    return 0.1 ** math.floor(done / 0.3 + 1e-9)


def averaged(model: nn.Module, decay: float) -> AveragedModel | None:
    """A copy that follows the weights and the running statistics; None at a decay of zero."""
    if not decay:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


@torch.no_grad()
def follow(model: nn.Module, average: AveragedModel | None) -> None:
    """Move an average a step on: weights that learn, and the running statistics of norms.

    All else is taken as it stands. The mean of two indices is none, and that of two
    infinities is no number.
    """
    if average is None:
        return
    average.update_parameters(model)
    followers = dict(chain(average.module.named_parameters(), average.module.named_buffers()))
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if not tensor.requires_grad and name.rpartition(".")[2] not in RUNNING:
            followers[name].copy_(tensor)


@torch.no_grad()
def take_average(model: nn.Module, average: AveragedModel | None) -> None:
    """Give a model the averaged weights."""
    if average is not None:
        model.load_state_dict(average.module.state_dict())
