"""The networks that the benchmarks run on, by name: torchvision's and this library's."""

from __future__ import annotations

from fnmatch import fnmatch

from torch import nn
from torchvision import models

import prunekit.models
from prunekit import ChannelGraph

# Constructor arguments that a network needs to be made without weights.
ARGUMENTS = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
}

# Layers that keep their filters where the two libraries remove the same. The shortcuts of these
# networks join an image's maps with constant ones. torch-pruning 1.6 passes over the constant ones
# and takes channel 20 of 64, say, for channel 20 of the 32 before, where it is channel 4.
INSIDE_BLOCKS = ("conv1", "*.conv2")
STAY = {"resnet20": INSIDE_BLOCKS, "resnet56": INSIDE_BLOCKS, "resnet110": INSIDE_BLOCKS}


def staying(name: str, graph: ChannelGraph) -> list[str]:
    """The layers of ``graph`` that could lose filters and keep them in a comparison."""
    patterns = STAY.get(name, ())
    return [layer for layer in graph.prunable if any(fnmatch(layer, one) for one in patterns)]


def build(name: str, classes: int | None = None) -> nn.Module:
    """A network with random weights, from prunekit.models where it has one of that name."""
    given = ARGUMENTS.get(name, {}) | ({} if classes is None else {"num_classes": classes})
    if hasattr(models, name):
        return getattr(models, name)(weights=None, **given)
    return getattr(prunekit.models, name)()


def known(name: str) -> bool:
    return hasattr(models, name) or hasattr(prunekit.models, name)
