"""Networks of one form, for tests of grafting."""

from __future__ import annotations

import torch
from torch import nn

MODES = "conv_only", "follow", "separate", "joint"


def small() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 10)),
    )


def ring_of(count: int, make=small) -> list[nn.Module]:
    torch.manual_seed(0)
    networks = [make() for _ in range(count)]
    for model in networks:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight)
                module.running_mean.normal_()
    return networks


def states(models: list[nn.Module]) -> list[dict[str, torch.Tensor]]:
    return [{key: t.clone() for key, t in model.state_dict().items()} for model in models]


def assert_same(models: list[nn.Module], before: list[dict[str, torch.Tensor]]) -> None:
    for model, old in zip(models, before, strict=True):
        assert all(torch.equal(t, old[key]) for key, t in model.state_dict().items())
