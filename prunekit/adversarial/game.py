"""What learns in an alignment: the masked network, its masks, and the discriminator."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunekit.adversarial.discriminator import discriminator_loss, student_loss
from prunekit.adversarial.fista import Fista
from prunekit.adversarial.masks import SoftMasks
from prunekit.checks import run
from prunekit.checks.batches import class_scores, refuse_nan
from prunekit.checks.structures import moved
from prunekit.execution import autocast, device_of, evaluation_mode


@dataclass
class Game:
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
        for optimizer in self.optimizers().values():
            for group in optimizer.param_groups:
                group["lr"] = lr

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """By the name of what each trains."""
        return {
            "student": self.of_student,
            "discriminator": self.of_discriminator,
            "masks": self.of_masks,
        }

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
                wanted = run(self.teacher, moved((x,), device), where, who="the teacher")
            output = run(self.student, moved((x,), device), where)
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
