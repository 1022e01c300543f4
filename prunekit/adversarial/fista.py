"""The step that makes masks sparse: accelerated proximal gradient descent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from prunekit.checks import number


def soft_threshold(x: Tensor, by: float) -> Tensor:
    """Move each number towards zero by ``by``, and no further: ``sign(x) max(|x| - by, 0)``.

    Examples
    --------
    >>> soft_threshold(torch.tensor([-2.0, 0.5, 3.0]), 1.0)
    tensor([-1.,  0.,  2.])
    """
    return x.sign() * (x.abs() - by).clamp_min(0)


def unheld_fall(rates: Iterable[float]) -> float:
    """How far :class:`Fista` brings down a parameter that nothing holds, under a penalty of 1.

    Its fall is as many times deeper as the penalty is higher, until it is at
    zero. In k steps of one rate it is about ``lr k² / 8``, and for few steps
    deeper than that.

    Parameters
    ----------
    rates
        The learning rate of each step.

    Examples
    --------
    >>> [round(unheld_fall([0.01] * steps), 3) for steps in (1, 10, 100)]  # law: 0.125, 12.5
    [0.01, 0.222, 13.676]
    """
    fallen = step = 0.0
    t, before = 1.0, math.inf
    for lr in rates:
        if lr < before:
            t, step = 1.0, 0.0
        t, last, before = _following(t), t, lr
        step = (last - 1) / t * step + lr
        fallen += step
    return fallen


class Fista(torch.optim.Optimizer):
    """Minimise a loss plus ``penalty`` times the sum of parameters that may not be below zero.

    Fast iterative shrinkage-thresholding (Beck and Teboulle 2009), for which
    the loss's gradient is given and the penalty is not part of the loss. With
    ``t`` of 1 at first::

        t' = (1 + √(1 + 4 t²)) / 2
        y  = m + (t - 1) / t' (m - m before)
        m' = max(0, soft_threshold(y - lr gradient, lr penalty))

    The gradient is that at ``m``, as in the public code of GAL (Lin et al.
    2019); the textbook takes it at ``y``. Whenever the learning rate has
    fallen, ``t`` is 1 again: that code means to do so too, but asks for it at
    a batch at which its masks take no step.

    Parameters
    ----------
    params
        Parameters, such as those of :class:`SoftMasks`.
    lr
        Step size.
    penalty
        What a unit of a parameter costs.

    Examples
    --------
    >>> mask = torch.nn.Parameter(torch.tensor(1.0))
    >>> fista = Fista([mask], lr=0.5, penalty=0.25)
    >>> for _ in range(200):
    ...     mask.grad = mask.detach() - 0.75  # of (mask - 0.75)² / 2
    ...     fista.step()
    >>> round(mask.item(), 3)
    0.5
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01, penalty: float = 1e-3) -> None:
        number("lr", lr, above=0, below=math.inf)
        number("penalty", penalty, least=0, below=math.inf)
        super().__init__(params, {"lr": lr, "penalty": penalty})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step; parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr = group["lr"]
            for mask in group["params"]:
                if mask.grad is None:
                    continue
                state = self.state[mask]
                if not state or lr < state["lr"]:
                    state["t"], state["before"] = 1.0, mask.clone()
                following = _following(state["t"])
                ahead = mask + (state["t"] - 1) / following * (mask - state["before"])
                state.update(before=mask.clone(), t=following, lr=lr)
                shrunk = soft_threshold(ahead - lr * mask.grad, lr * group["penalty"])
                mask.copy_(shrunk.clamp_min(0))
        return loss


def _following(t: float) -> float:
    return (1 + math.sqrt(1 + 4 * t**2)) / 2
