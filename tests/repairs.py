"""What the tests of repair measure by."""

from __future__ import annotations

import torch
from networks import some_of_every_layer
from torch import Tensor, nn

import prunekit


def pruned_pair(
    model: nn.Module, x: Tensor | tuple, share: float = 0.5, seed: int = 1
) -> tuple[nn.Module, dict]:
    """A network without up to that share of each layer's filters, and what was removed."""
    remove = some_of_every_layer(prunekit.trace(model, x), share, seed)
    return prunekit.rebuild(model, x, remove), remove


def error(repaired: nn.Module, original: nn.Module, x: Tensor) -> float:
    """How far outputs are from the original's, against how far those are from their mean."""
    with torch.inference_mode():
        wanted = original(x)
        return ((repaired(x) - wanted).norm() / (wanted - wanted.mean(0)).norm()).item()
