"""The settings of training and of pruning, and what each may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, get_args

import numpy as np
from torch import nn

from prunekit.checks import (
    Check,
    choice,
    file,
    flag,
    folder,
    function,
    module,
    modules,
    names,
    number,
    optional,
    shown,
    whole,
)
from prunekit.checks.batches import repeatable

Budget = Literal["filters", "parameters", "macs", "latency"]
#: A budget of one's own: what a network costs, such as its milliseconds on a board.
Cost = Callable[[nn.Module], float]
Normalizer = Literal["l2", "mean", False]
Floor = int | Mapping[str, int]
PerLayer = Mapping[str, int | float]
Method = Literal["least_squares", "moments", "batch_norm"]
SCHEDULES = ("one_cycle", "cosine", "constant")
PRECISIONS = ("mixed", "full")
Checks = dict[str, Check]


def normalizer(name: str, value: object) -> object:
    """What the scores of a layer may be divided by."""
    if value is not False and (not isinstance(value, str) or value not in get_args(Normalizer)):
        raise ValueError(f'{name} must be "l2", "mean" or False, not {shown(value)}')
    return value


def floor(name: str, value: object) -> object:
    """How many filters stay: in every layer, or in those that each pattern matches."""
    if not isinstance(value, Mapping):
        return whole(name, value, least=1)
    for pattern in value:
        if not isinstance(pattern, str):
            raise TypeError(f"{name} must map names of layers to numbers, not {shown(value)}")
    return {key: whole(f"{name}[{key!r}]", least, least=1) for key, least in value.items()}


def per_layer(name: str, value: object) -> dict[str, int | float]:
    """How many filters may go, or which share of them, of the layers each pattern matches."""
    if not isinstance(value, Mapping) or not all(isinstance(pattern, str) for pattern in value):
        raise TypeError(
            f'{name} must map names of layers to numbers or shares, as in {{"*": 0.3}}, not '
            f"{shown(value)}"
        )
    found: dict[str, int | float] = {}
    for pattern, limit in value.items():
        called = f"{name}[{pattern!r}]"
        if isinstance(limit, (float, np.floating)):
            found[pattern] = number(called, limit, above=0, below=1)
        else:
            found[pattern] = whole(called, limit, least=0)
    return found


def _teachers(name: str, value: object) -> object:
    """One network or several."""
    return modules(name, value) if isinstance(value, (list, tuple)) else module(name, value)


def _fine_tune(name: str, value: object) -> object:
    if isinstance(value, Mapping):
        for key in value:
            if key not in TUNING:
                raise TypeError(f"{name} has no setting {key!r}; there are {', '.join(TUNING)}")
            if key == "checkpoint":
                raise ValueError(f"{name}: one checkpoint cannot serve all iterations: use folder")
        return {key: TUNING[key](f"{name}: {key}", setting) for key, setting in value.items()}
    if isinstance(value, type) or not callable(value):
        raise TypeError(
            f"{name} must be a dictionary of settings of fit, a function of a model and a loader, "
            f"or None, not {shown(value)}"
        )
    return value


#: How :func:`prunekit.training.fit` trains.
TUNING: Checks = {
    "val_loader": optional(repeatable),
    "loss": optional(function),
    "evaluate": optional(function),
    "epochs": partial(number, above=0, below=math.inf),
    "lr": partial(number, above=0, below=math.inf),
    "momentum": partial(number, least=0, below=1),
    "weight_decay": partial(number, least=0, below=math.inf),
    "decay_all": flag,
    "schedule": partial(choice, among=SCHEDULES),
    "warm_up": partial(number, least=0, below=math.inf),
    "average": partial(number, least=0, below=1),
    "label_smoothing": partial(number, least=0, below=1),
    "clip_norm": partial(number, above=0),
    "penalty": optional(function),
    "teacher": optional(_teachers),
    "teacher_weight": partial(number, least=0, most=1),
    "temperature": partial(number, above=0, below=math.inf),
    "precision": partial(choice, among=PRECISIONS),
    "checkpoint": optional(file),
    "progress": flag,
}
TRAINING: Checks = TUNING | {"model": module, "loader": repeatable}


def _budget(name: str, value: object) -> object:
    if callable(value):
        return function(name, value)
    return choice(name, value, among=get_args(Budget))


#: What a selection may take.
LIMITS: Checks = {
    "min_filters": floor,
    "exclude": names,
    "round_to": optional(partial(whole, least=1)),
    "per_layer": optional(per_layer),
}
#: How :func:`prunekit.prune` goes on.
PRUNING: Checks = LIMITS | {
    "model": module,
    "train_loader": repeatable,
    "val_loader": repeatable,
    "loss": optional(function),
    "evaluate": optional(function),
    "ratio": partial(number, above=0, below=1),
    "per_iteration": partial(whole, least=1),
    "share_per_iteration": optional(partial(number, above=0, below=1)),
    "normalize": normalizer,
    "repair": optional(partial(choice, among=get_args(Method))),
    "fine_tune": optional(_fine_tune),
    "budget": _budget,
    "cost_aware": flag,
    "rank_batches": optional(partial(whole, least=1)),
    "max_accuracy_drop": optional(number),
    "seed": partial(whole, least=-(2**63), below=2**63),
    "folder": optional(folder),
    "report": optional(function),
    "progress": flag,
}
