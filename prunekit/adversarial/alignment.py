"""Masks learned against a discriminator, and the networks met on the way."""

from __future__ import annotations

import copy
import math
import time
import warnings
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from prunekit.adversarial import checkpoint
from prunekit.adversarial.discriminator import Discriminator
from prunekit.adversarial.fista import Fista, unheld_fall
from prunekit.adversarial.game import Game
from prunekit.adversarial.masks import SoftMasks
from prunekit.channels import trace
from prunekit.channels.units import Scope
from prunekit.checks import checked, flag, folder, module, number, optional, run, whole
from prunekit.checks.batches import Batches, first_batch, number_of, pairs, repeatable
from prunekit.execution import device_of, evaluation_mode
from prunekit.progress import bar, say
from prunekit.pruning.budgets import left_after
from prunekit.repair import repair
from prunekit.selection import Selection
from prunekit.storage.fingerprints import digest_of, digest_of_data, form_of, frozen_in
from prunekit.storage.generators import mixed_seed, seed_generators
from prunekit.training import Interrupted, evaluate
from prunekit.training.optimisation import falling

_WEIGHT = partial(number, least=0, below=math.inf)
_POSITIVE = partial(number, above=0, below=math.inf)
COLUMNS = (
    *("epoch", "pruned", "macs", "accuracy"),
    *("student_loss", "discriminator_loss", "seconds"),
)


@dataclass(frozen=True)
class Alignment:
    """What :func:`align` met: a candidate after each epoch.

    Attributes
    ----------
    table : DataFrame
        A row an epoch: ``epoch``, ``pruned`` (share of channels that can go,
        as :attr:`SoftMasks.pruned`), ``macs`` (without these), ``accuracy`` (on the validation
        data), ``student_loss``, ``discriminator_loss`` and ``seconds``.
    networks : list of nn.Module
        With masks folded in, of the size of the teacher.
    removals : list of Selection
        The channels of each whose mask is zero, for :func:`prunekit.rebuild`.
    """

    table: pd.DataFrame
    networks: list[nn.Module]
    removals: list[Selection]


@checked(
    teacher=module,
    loader=repeatable,
    val_loader=repeatable,
    discriminator=optional(module),
    slope=optional(_WEIGHT),
    epochs=partial(whole, least=1),
    lr=_POSITIVE,
    momentum=partial(number, least=0, below=1),
    weight_decay=_WEIGHT,
    penalty=optional(_WEIGHT),
    mse_weight=_WEIGHT,
    adversarial_weight=_WEIGHT,
    label_weight=_WEIGHT,
    mask_every=partial(whole, least=1),
    calibration=partial(whole, least=1),
    seed=partial(whole, least=-(2**63), below=2**63),
    folder=optional(folder),
    progress=flag,
)
def align(
    teacher: nn.Module,
    loader: Batches,
    val_loader: Batches,
    *,
    scope: Scope = "blocks",
    discriminator: nn.Module | None = None,
    slope: float | None = None,
    epochs: int = 100,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 2e-4,
    penalty: float | None = None,
    mse_weight: float = 1.0,
    adversarial_weight: float = 1.0,
    label_weight: float = 0.0,
    mask_every: int = 200,
    calibration: int = 2048,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Alignment:
    """Learn soft masks on a copy of a trained network, so that its outputs stay alike.

    In each step the discriminator learns to tell the outputs of the two
    networks apart, and the copy to make them alike; after every
    ``mask_every`` steps one of :class:`Fista` follows, which draws masks towards zero.
    Labels play no part, unless ``label_weight`` says so.

    Parameters
    ----------
    teacher
        The trained network. Left untouched, and in evaluation mode here.
    loader, val_loader
        Batches ``(x, y)``: the first teaches, accuracies are of the second.
    scope
        Which channels are masked, as for :func:`prunekit.widths.units`.
    discriminator
        Trained in place; a new :class:`Discriminator` by default.
    slope
        Of that new one.
    lr, momentum, weight_decay
        Of SGD for the copy and the discriminator; the masks share ``lr``,
        which falls to a tenth after 30, 60 and 90 % of the epochs.
    penalty
        What a unit of a mask costs. By default so much that a mask that
        nothing holds is at zero after half of the steps that masks take before
        ``lr`` falls first. GAL's code has 1e-3 for channels in VGG, under
        which none gets there: see the notes.
    mse_weight, adversarial_weight, label_weight
        As for :func:`student_loss`.
    calibration
        How many images of ``loader`` running statistics are estimated from
        again for each candidate.
    seed
        With the number of an epoch, it seeds the generators of torch, NumPy
        and Python.
    folder
        Where each epoch is written as it ends, its candidate in a file of its
        own. A call with the same networks, data and settings that finds them
        there goes on from the last, and ends as an unbroken run does.

    Returns
    -------
    Alignment, from which :func:`choose` takes a row.

    Raises
    ------
    ValueError, TypeError
        A setting is out of range, masks would take no step, a batch or an output is not as
        :func:`prunekit.training.fit` needs it, a loss becomes NaN,
        :class:`SoftMasks` cannot be made, or ``folder`` holds a run with other
        settings or a damaged file.
    Interrupted
        Ctrl-C, a :class:`KeyboardInterrupt`. Its ``history`` is the
        :class:`Alignment` of the epochs before, and so is what ``folder`` holds.

    Notes
    -----
    A mask that nothing holds falls by about ``lr * penalty * k**2 / 8`` in k
    steps of its own (:func:`unheld_fall`). Under a penalty by which it would
    not reach zero in the whole training, hardly anything is pruned, and there
    is a warning. GAL's is such a one: there masks start at random, half of
    them below zero, and the first step cuts those off.

    On CUDA, and on CPUs with AVX-512, the two networks compute in bfloat16 in
    each step, so that their outputs, and the losses told of these, keep two to
    three digits. Accuracies are in the precision of the weights.

    Other defaults are those of GAL's public code, except that, as a
    reconstruction, masks start at 1, the teacher's batch norms do not drift,
    and the penalty is the proximal step's alone.

    Examples
    --------
    >>> from prunekit import rebuild
    >>> from prunekit.adversarial import choose
    >>> from prunekit.models import ResNet
    >>> batches = [(torch.randn(8, 3, 16, 16), torch.arange(8))]
    >>> found = align(ResNet(blocks=1), batches, batches, epochs=2, mask_every=1, progress=False)
    >>> best = choose(found.table)
    >>> small = rebuild(found.networks[best], batches[0][0], found.removals[best])
    """
    rates = _rates_of_masks(number_of(loader), epochs, lr, mask_every)
    if penalty is None:
        before = [rate for rate in rates if rate == rates[0]]
        penalty = 1 / unheld_fall(before[: -(-len(before) // 2)])
    elif (fall := penalty * unheld_fall(rates)) < 1:
        warnings.warn(
            f"hardly any channel will go: with penalty={penalty:g}, a mask that nothing holds "
            f"falls from 1 to {1 - fall:.3g} in the {len(rates)} steps that masks take. Leave "
            "penalty out, or make it higher or mask_every lower",
            stacklevel=3,  # past the check of the arguments
        )
    seed_generators(mixed_seed(seed, 0))
    x = first_batch("loader", loader)[0]
    few, batches = x[:2].to(device_of(teacher)), -(-calibration // len(x))
    student = copy.deepcopy(teacher)
    masks = SoftMasks(student, trace(student, few), scope)
    if discriminator is None:
        with evaluation_mode(teacher), torch.no_grad():
            classes = run(teacher, (few.clone(),), "the first images").shape[1]
        discriminator = Discriminator(classes, slope=slope)
    discriminator.to(device_of(teacher)).train()
    weights = {"mse_weight": mse_weight, "adversarial_weight": adversarial_weight}
    weights["label_weight"] = label_weight
    sgd = partial(torch.optim.SGD, lr=lr, momentum=momentum, weight_decay=weight_decay)
    optimizers = sgd(student.parameters()), sgd(discriminator.parameters())
    fista = Fista(masks.parameters(), lr, penalty)
    game = Game(teacher, student, masks, discriminator, mask_every, *optimizers, fista, weights)
    calibrate = partial(repair, method="batch_norm", batches=batches, progress=False)
    macs_of = left_after(student, few, "macs")
    rows: list[dict[str, Any]] = []
    networks: list[nn.Module] = []
    removals: list[Selection] = []
    if folder is not None:
        folder = Path(folder)
        settings = {
            **{"scope": scope, "epochs": epochs, "lr": lr, "momentum": momentum},
            **{"weight_decay": weight_decay, "penalty": penalty, "mask_every": mask_every},
            **{"calibration": calibration, "seed": seed, **weights},
            "teacher": digest_of(teacher),
            "discriminator": digest_of(discriminator),
            "network": [form_of(teacher), form_of(discriminator)],
            "frozen": [frozen_in(teacher), frozen_in(discriminator)],
            "data": digest_of_data(loader, "loader"),
            "val_data": digest_of_data(val_loader, "val_loader"),
        }
        rows, networks, removals = checkpoint.read(folder, settings, game)
    try:
        for epoch in range(len(rows) + 1, epochs + 1):
            start = time.perf_counter()
            seed_generators(mixed_seed(seed, epoch))
            game.set_lr(_rate(epoch, epochs, lr))
            shown = bar(pairs(loader), show=progress, desc=f"epoch {epoch}", leave=False)
            losses = game.epoch(shown)
            network = masks.folded(student)
            networks.append(calibrate(network, network, {}, loader))
            removals.append(masks.zeros())
            row = {"epoch": epoch, "pruned": masks.pruned, "macs": macs_of(removals[-1])}
            row |= {"accuracy": evaluate(networks[-1], val_loader).accuracy} | losses
            rows.append(row | {"seconds": time.perf_counter() - start})
            if folder is not None:
                checkpoint.write(folder, settings, game, rows, networks, removals)
            say("  ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()), progress)
    except KeyboardInterrupt as error:
        message = f"alignment was interrupted in epoch {len(rows) + 1}"
        raise Interrupted(message, _met(rows, networks, removals)) from error
    return _met(rows, networks, removals)


def _rate(epoch: int, epochs: int, lr: float) -> float:
    return lr * falling("steps", (epoch - 1) / epochs)


def _rates_of_masks(batches: int, epochs: int, lr: float, mask_every: int) -> list[float]:
    """The learning rate of each step that masks take."""
    taken = [epoch * batches // mask_every for epoch in range(epochs + 1)]
    steps = (after - before for before, after in pairwise(taken))
    rates = [[_rate(epoch, epochs, lr)] * count for epoch, count in enumerate(steps, 1)]
    if not taken[-1]:
        raise ValueError(
            f"masks would take no step: they take one every {mask_every} batches (mask_every), "
            f"and there are {epochs * batches} in {epochs} epochs of the loader"
        )
    return list(chain.from_iterable(rates))


def _met(
    rows: list[dict[str, Any]], networks: list[nn.Module], removals: list[Selection]
) -> Alignment:
    """The epochs that have a row: a last candidate may not have been judged any more."""
    table, met = pd.DataFrame(rows, columns=list(COLUMNS)), len(rows)
    return Alignment(table, [network.eval() for network in networks[:met]], removals[:met])
