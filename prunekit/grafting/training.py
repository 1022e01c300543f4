"""Networks trained side by side, grafted at the end of each epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd
from torch import nn

from prunekit.channels.kinds import BATCH_NORM, kind_of
from prunekit.checks import checked, choice, flag, folder, number, optional, shown, whole
from prunekit.checks.batches import Batches, first_batch, repeatable
from prunekit.checks.settings import TUNING
from prunekit.grafting.ring import GRAFTING, Mode, coefficients, graft
from prunekit.progress import say
from prunekit.repair import repair
from prunekit.storage.files import (
    beginning_with,
    detached_copies,
    put_back,
    read_state,
    tensors_of,
    write_tensors,
)
from prunekit.storage.fingerprints import describe, digest_of, digest_of_data, form_of, frozen_in
from prunekit.storage.generators import mixed_seed, seed_generators
from prunekit.training import Interrupted, evaluate, fit
from prunekit.training.optimisation import falling

CHECKPOINT = "grafting.safetensors"
COLUMNS = (
    "epoch",
    "network",
    "lr",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "own",
    "seconds",
)
#: The settings of fit that hold for an epoch by itself.
OF_AN_EPOCH = (
    "momentum",
    "weight_decay",
    "label_smoothing",
    "clip_norm",
    "teacher",
    "teacher_weight",
    "temperature",
    "precision",
)


def _training(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dictionary of settings of fit, not {shown(value)}")
    for key in value:
        if key not in OF_AN_EPOCH:
            raise TypeError(f"{name} has no setting {key!r}; there are {', '.join(OF_AN_EPOCH)}")
    return {key: TUNING[key](f"{name}: {key}", setting) for key, setting in value.items()}


@checked(networks=partial(whole, least=1), lr=partial(number, above=0, below=math.inf))
def learning_rates(networks: int, lr: float = 0.1) -> list[float]:
    """First learning rates of networks that are to differ: they rise to ``lr`` along a cosine.

    ``lr (1 + cos(π (M - i) / M)) / 2`` for network i of M, counted from 1, as
    in the public code of Meng et al. (2020).

    Examples
    --------
    >>> [round(rate, 4) for rate in learning_rates(2)], learning_rates(1)
    ([0.05, 0.1], [0.1])
    """
    shares = (1 - place / networks for place in range(1, networks + 1))
    return [lr * (1 + math.cos(math.pi * share)) / 2 for share in shares]


@checked(
    **GRAFTING,
    loader=repeatable,
    val_loader=optional(repeatable),
    epochs=partial(whole, least=1),
    lr=partial(number, above=0, below=math.inf),
    schedule=partial(choice, among=("cosine", "steps")),
    calibration=partial(whole, least=0),
    same_order=flag,
    seed=partial(whole, least=-(2**63), below=2**63),
    training=_training,
    folder=optional(folder),
    progress=flag,
)
def fit_grafted(
    models: Sequence[nn.Module],
    loader: Batches,
    val_loader: Batches | None = None,
    *,
    epochs: int = 1,
    lr: float = 0.1,
    schedule: Literal["cosine", "steps"] = "cosine",
    mode: Mode = "joint",
    amplitude: float = 0.4,
    steepness: float = 500.0,
    calibration: int = 2048,
    same_order: bool = False,
    seed: int = 0,
    training: Mapping[str, Any] = MappingProxyType({}),
    folder: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train networks of one form in place, and graft them in a ring after each epoch.

    One network alone is its own peer, which changes nothing: it is trained as
    several would be, and so is the control that they are compared with.

    Parameters
    ----------
    models
        Networks of one form, such as a pruned one and copies of it.
    loader, val_loader
        As for :func:`prunekit.training.fit`, which trains each epoch.
    lr
        Of the last network as it starts; the others start lower, see
        :func:`learning_rates`.
    schedule
        From epoch to epoch: ``"cosine"`` falls to near zero, ``"steps"`` to a
        tenth after 30, 60 and 90 % of the epochs.
    mode, amplitude, steepness
        As for :func:`coefficients`. An amplitude of 0 is the plain mean.
    calibration
        How many images of ``loader`` running statistics are estimated from
        after each grafting, by :func:`prunekit.repair`; 0 leaves them mixed.
        That they are is a reconstruction: the method's abstract is silent.
    same_order
        Whether all networks see the data in the same order, with the same
        augmentation; by default each has its own.
    seed
        With the numbers of an epoch and of a network, it seeds the generators
        of torch, NumPy and Python as each begins.
    training
        Further settings of ``fit``: momentum, weight decay, precision, a teacher.
        Momentum starts at zero in each epoch, which it forgets within some
        ten steps; in the public code it goes on.
    folder
        Where each epoch is written as it ends. A call with the same networks,
        data and settings that finds one there goes on from it, and ends with
        the weights of an unbroken run.

    Returns
    -------
    DataFrame with a row for each network and epoch, measured after grafting:
    ``epoch``, ``network``, ``lr``, ``loss``, ``accuracy``, ``val_loss``,
    ``val_accuracy``, ``own`` (mean share of its own weights) and ``seconds``.

    Raises
    ------
    ValueError, TypeError
        As :func:`prunekit.training.fit`; the networks are not of one form, or
        ``folder`` holds a run with other settings or a damaged file.
    Interrupted
        Ctrl-C, a :class:`KeyboardInterrupt`. Its ``history`` holds the epochs
        before, and so does ``folder``.

    Examples
    --------
    >>> import torch
    >>> from prunekit.models import TinySqueezeNet
    >>> batches = [(torch.randn(8, 3, 32, 32), torch.arange(8))]
    >>> networks = [TinySqueezeNet(), TinySqueezeNet()]
    >>> table = fit_grafted(networks, batches, batches, epochs=2, lr=0.01, progress=False)
    >>> table["lr"].round(4).tolist()
    [0.005, 0.01, 0.0025, 0.005]
    """
    options = {"amplitude": amplitude, "steepness": steepness}
    settings = {
        **{"epochs": epochs, "lr": lr, "schedule": schedule, "mode": mode, **options},
        **{"calibration": calibration, "same_order": same_order, "seed": seed},
        "training": describe(training, "training"),
    }
    rows: list[dict[str, float]] = []
    file = None
    if folder is not None:
        file = Path(folder) / CHECKPOINT
        settings["starting_weights"] = [digest_of(model) for model in models]
        settings["network"] = [form_of(model) for model in models]
        settings["frozen"] = [frozen_in(model) for model in models]
        settings["data"] = digest_of_data(loader, "loader")
        settings["val_data"] = (
            None if val_loader is None else digest_of_data(val_loader, "val_loader")
        )
        if file.is_file():
            rows += _read(file, settings, models)
    batches = -(-calibration // len(first_batch("loader", loader)[0]))
    highest = learning_rates(len(models), lr)
    try:
        for epoch in range(len(rows) // len(models), epochs):
            of_epoch = []
            for place, model in enumerate(models):
                seed_generators(mixed_seed(seed, epoch, 0 if same_order else place))
                rate = highest[place] * falling(schedule, epoch / epochs)
                row = _epoch(model, loader, rate, training, progress)
                of_epoch.append({"epoch": epoch + 1, "network": place} | row)
            shares = coefficients(models, mode, **options)
            graft(models, shares)
            for place, (model, row) in enumerate(zip(models, of_epoch, strict=True)):
                if batches and len(models) > 1:
                    seed_generators(mixed_seed(seed, epoch, len(models)))
                    _calibrate(model, loader, batches)
                row["own"] = float(shares.loc[shares["network"] == place, "own"].mean())
                held_out = evaluate(model, val_loader) if val_loader is not None else None
                row["val_loss"] = held_out.loss if held_out else math.nan
                row["val_accuracy"] = held_out.accuracy if held_out else math.nan
                say("  ".join(f"{key} {value:.4g}" for key, value in row.items()), progress)
            rows += of_epoch
            if file is not None:
                _write(file, settings, models, rows)
    except KeyboardInterrupt as error:
        message = f"training was interrupted in epoch {len(rows) // len(models) + 1}"
        raise Interrupted(message, _history(rows)) from error
    return _history(rows)


def _history(rows: list[dict[str, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _epoch(
    model: nn.Module, loader: Batches, lr: float, training: Mapping[str, Any], progress: bool
) -> dict[str, float]:
    start = time.perf_counter()
    table = fit(model, loader, epochs=1, lr=lr, schedule="constant", progress=progress, **training)
    kept = {name: float(table[name].iloc[-1]) for name in ("lr", "loss", "accuracy")}
    return kept | {"seconds": time.perf_counter() - start}


def _calibrate(model: nn.Module, loader: Batches, batches: int) -> None:
    norms = (module for module in model.modules() if kind_of(module) is BATCH_NORM)
    if any(norm.running_mean is not None for norm in norms):
        calibrate = partial(repair, method="batch_norm", batches=batches, progress=False)
        model.load_state_dict(calibrate(model, model, {}, loader).state_dict())


def _write(
    file: Path, settings: dict[str, Any], models: Sequence[nn.Module], rows: list[dict[str, float]]
) -> None:
    tensors = {
        f"{place}.{name}": tensor
        for place, model in enumerate(models)
        for name, tensor in tensors_of(model).items()
    }
    record = {"prunekit-grafting": json.dumps({"settings": settings, "rows": rows})}
    write_tensors(detached_copies(tensors), file, record)


def _read(file: Path, settings: dict[str, Any], models: Sequence[nn.Module]) -> list[dict]:
    record, tensors = read_state(file, settings, "prunekit-grafting", "grafted training")
    for place, model in enumerate(models):
        put_back(model, beginning_with(f"{place}.", tensors))
    return record["rows"]
