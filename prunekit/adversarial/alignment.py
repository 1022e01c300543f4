"""Masks learned against a discriminator, and the networks met on the way."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from prunekit.adversarial.discriminator import Discriminator, discriminator_loss, student_loss
from prunekit.adversarial.fista import Fista
from prunekit.adversarial.masks import SoftMasks
from prunekit.channels import trace
from prunekit.channels.units import Scope
from prunekit.checks import checked, flag, module, number, optional, run, whole
from prunekit.checks.batches import (
    Batches,
    class_scores,
    first_batch,
    pairs,
    refuse_nan,
    repeatable,
)
from prunekit.execution import autocast, device_of, evaluation_mode
from prunekit.grafting.training import falling
from prunekit.progress import bar, say
from prunekit.pruning.budgets import left_after
from prunekit.pruning.checkpoint import mixed_seed
from prunekit.repair import repair
from prunekit.selection import Selection
from prunekit.training import evaluate

_WEIGHT = partial(number, least=0, below=math.inf)
_POSITIVE = partial(number, above=0, below=math.inf)


@dataclass(frozen=True)
class Alignment:
    """What :func:`align` met: a candidate after each epoch.

    Attributes
    ----------
    table : DataFrame
        A row an epoch: ``epoch``, ``pruned`` (share of channels whose mask is
        zero), ``macs`` (without these), ``accuracy`` (on the validation
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
    epochs=partial(whole, least=1),
    lr=_POSITIVE,
    momentum=partial(number, least=0, below=1),
    weight_decay=_WEIGHT,
    penalty=_WEIGHT,
    mse_weight=_WEIGHT,
    adversarial_weight=_WEIGHT,
    label_weight=_WEIGHT,
    mask_every=partial(whole, least=1),
    calibration=partial(whole, least=1),
    seed=partial(whole, least=-(2**63), below=2**63),
    progress=flag,
)
def align(
    teacher: nn.Module,
    loader: Batches,
    val_loader: Batches,
    *,
    scope: Scope = "blocks",
    discriminator: nn.Module | None = None,
    epochs: int = 100,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 2e-4,
    penalty: float = 1e-3,
    mse_weight: float = 1.0,
    adversarial_weight: float = 1.0,
    label_weight: float = 0.0,
    mask_every: int = 200,
    calibration: int = 2048,
    seed: int = 0,
    progress: bool = True,
) -> Alignment:
    """Learn soft masks on a copy of a trained network, so that its outputs stay alike.

    In each step the discriminator learns to tell the outputs of the two
    networks apart, and the copy to make them alike; in every ``mask_every``th
    one a step of :class:`Fista` follows, which draws masks towards zero.
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
    lr, momentum, weight_decay
        Of SGD for the copy and the discriminator; the masks share ``lr``,
        which falls to a tenth after 30, 60 and 90 % of the epochs.
    penalty
        What a unit of a mask costs.
    mse_weight, adversarial_weight, label_weight
        As for :func:`student_loss`.
    calibration
        How many images of ``loader`` running statistics are estimated from
        again for each candidate.
    seed
        With the number of an epoch, it seeds torch's generators.

    Returns
    -------
    Alignment, from which :func:`choose` takes a row.

    Raises
    ------
    ValueError, TypeError
        A setting is out of range, a batch or an output is not as
        :func:`prunekit.training.fit` needs it, a loss becomes NaN, or
        :class:`SoftMasks` cannot be made.

    Notes
    -----
    A mask that nothing holds falls by about ``lr * penalty * k**2 / 8`` in k
    steps of its own: choose ``penalty`` and ``mask_every`` so that this
    reaches 1 before ``lr`` falls. With GAL's numbers, which are the defaults,
    it does not, since there masks start at random and half of them below zero.

    Defaults are those of GAL's public code, except that, as a reconstruction,
    masks start at 1, the teacher's batch norms do not drift, and the penalty
    is the proximal step's alone.

    Examples
    --------
    >>> from prunekit import rebuild
    >>> from prunekit.adversarial import choose
    >>> from prunekit.models import ResNet
    >>> batches = [(torch.randn(8, 3, 16, 16), torch.arange(8))]
    >>> found = align(ResNet(blocks=1), batches, batches, epochs=2, penalty=80, mask_every=1,
    ...               progress=False)
    >>> best = choose(found.table)
    >>> small = rebuild(found.networks[best], batches[0][0], found.removals[best])
    """
    torch.manual_seed(mixed_seed(seed, 0))
    x = first_batch("loader", loader)[0]
    few, batches = x[:2].to(device_of(teacher)), -(-calibration // len(x))
    student = copy.deepcopy(teacher)
    masks = SoftMasks(student, trace(student, few), scope)
    if discriminator is None:
        with evaluation_mode(teacher), torch.no_grad():
            classes = run(teacher, (few,), "the first images").shape[1]
        discriminator = Discriminator(classes)
    discriminator.to(device_of(teacher)).train()
    weights = {"mse_weight": mse_weight, "adversarial_weight": adversarial_weight}
    weights["label_weight"] = label_weight
    sgd = partial(torch.optim.SGD, lr=lr, momentum=momentum, weight_decay=weight_decay)
    optimizers = sgd(student.parameters()), sgd(discriminator.parameters())
    fista = Fista(masks.parameters(), lr, penalty)
    game = _Game(teacher, student, masks, discriminator, mask_every, *optimizers, fista, weights)
    calibrate = partial(repair, method="batch_norm", batches=batches, progress=False)
    macs_of = left_after(student, few, "macs")
    rows, networks, removals = [], [], []
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        torch.manual_seed(mixed_seed(seed, epoch))
        game.set_lr(lr * falling("steps", (epoch - 1) / epochs))
        losses = game.epoch(bar(pairs(loader), show=progress, desc=f"epoch {epoch}", leave=False))
        network = masks.folded(student)
        networks.append(calibrate(network, network, {}, loader))
        removals.append(masks.zeros())
        row = {"epoch": epoch, "pruned": masks.pruned, "macs": macs_of(removals[-1])}
        row |= {"accuracy": evaluate(networks[-1], val_loader).accuracy} | losses
        rows.append(row | {"seconds": time.perf_counter() - start})
        say("  ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()), progress)
    return Alignment(pd.DataFrame(rows), [network.eval() for network in networks], removals)


@dataclass
class _Game:
    """The two networks, who tells them apart, and what trains each."""

    teacher: nn.Module
    student: nn.Module
    masks: SoftMasks
    discriminator: nn.Module
    mask_every: int
    of_student: torch.optim.Optimizer
    of_discriminator: torch.optim.Optimizer
    of_masks: Fista
    weights: dict[str, float]
    steps: int = 0

    def set_lr(self, lr: float) -> None:
        for optimizer in (self.of_student, self.of_discriminator, self.of_masks):
            for group in optimizer.param_groups:
                group["lr"] = lr

    def epoch(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Train on batches, and give the mean losses."""
        student, discriminator, examples = 0.0, 0.0, 0
        self.student.train()
        with self.masks.on(self.student), evaluation_mode(self.teacher):
            for x, y in batches:
                losses = self.step(x, y)
                student, discriminator = (
                    student + losses[0] * len(x),
                    discriminator + losses[1] * len(x),
                )
                examples += len(x)
        return {"student_loss": student / examples, "discriminator_loss": discriminator / examples}

    def step(self, x: Tensor, y: Tensor) -> tuple[float, float]:
        where, device = f"batch {self.steps} of training", device_of(self.student)
        with autocast(device):
            with torch.no_grad():
                wanted = run(self.teacher, (x.to(device),), where, who="the teacher")
            output = run(self.student, (x.to(device),), where)
        wanted, output = (
            class_scores(scores, y, "alignment", first=not self.steps)
            for scores in (wanted, output)
        )
        lost = math.nan
        if self.weights["adversarial_weight"]:
            loss = discriminator_loss(self.discriminator, wanted, output)
            lost = loss.item()
            refuse_nan(lost, x, where, "lower the learning rate")
            self.of_discriminator.zero_grad()
            loss.backward()
            self.of_discriminator.step()
        loss = student_loss(self.discriminator, wanted, output, y.to(device), **self.weights)
        value = loss.item()
        refuse_nan(value, x, where, "lower the learning rate")
        self.of_student.zero_grad()
        self.of_masks.zero_grad()
        loss.backward()
        self.of_student.step()
        self.steps += 1
        if self.steps % self.mask_every == 0:
            self.of_masks.step()
        return value, lost
