"""The networks that the benchmarks run on, by name: torchvision's and this library's."""

from __future__ import annotations

from torch import nn
from torchvision import models

import prunekit.models

# Constructor arguments that a network needs to be made without weights.
ARGUMENTS = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
}


def build(name: str, classes: int | None = None) -> nn.Module:
    """A network with random weights, from prunekit.models where it has one of that name."""
    given = ARGUMENTS.get(name, {}) | ({} if classes is None else {"num_classes": classes})
    if hasattr(models, name):
        return getattr(models, name)(weights=None, **given)
    return getattr(prunekit.models, name)()


def known(name: str) -> bool:
    return hasattr(models, name) or hasattr(prunekit.models, name)
