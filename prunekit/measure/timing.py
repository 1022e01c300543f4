"""The time of forward passes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from prunekit.checks import checked, inputs, module, modules, run, whole
from prunekit.execution import device_of, evaluation_mode, on_device

TIMING = {
    "example_inputs": inputs,
    "repeats": partial(whole, least=1),
    "warmup": partial(whole, least=0),
    "threads": partial(whole, least=1),
}


@dataclass(frozen=True)
class Latency:
    """Wall time of forward passes, in seconds, one array entry a pass."""

    times: np.ndarray

    @property
    def median(self) -> float:
        return float(np.median(self.times))

    @property
    def p95(self) -> float:
        """The time that 95 % of the passes stayed below."""
        return float(np.quantile(self.times, 0.95))


@checked(model=module, **TIMING)
def latency(
    model: nn.Module,
    example_inputs: Tensor | tuple,
    *,
    repeats: int = 20,
    warmup: int = 3,
    threads: int = 1,
) -> Latency:
    """Time forward passes in evaluation mode, on ``threads`` CPU threads.

    The thread count of the process is restored afterwards. One thread gives
    the steadiest numbers, and those nearest to a small board.

    Examples
    --------
    >>> timing = latency(nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 32, 32), repeats=5)
    >>> len(timing.times), timing.median <= timing.p95
    (5, True)
    """
    return latencies([model], example_inputs, repeats=repeats, warmup=warmup, threads=threads)[0]


@checked(models=modules, **TIMING)
def latencies(
    models: Sequence[nn.Module],
    example_inputs: Tensor | tuple,
    *,
    repeats: int = 20,
    warmup: int = 3,
    threads: int = 1,
) -> list[Latency]:
    """As :func:`latency` for several models, which take turns.

    In each of ``warmup + repeats`` rounds every model runs once, so that a
    machine that slows down for a while slows all of them alike.
    """
    given = [on_device(model, example_inputs) for model in models]
    threads_before = torch.get_num_threads()
    times: list[list[float]] = [[] for _ in models]
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, threads_before)
        torch.set_num_threads(threads)
        stack.enter_context(torch.inference_mode())
        for model in models:
            stack.enter_context(evaluation_mode(model))
        for _ in range(warmup + repeats):
            for model, x, own in zip(models, given, times, strict=True):
                start = time.perf_counter()
                run(model, x, "example_inputs")
                if device_of(model).type == "cuda":
                    torch.cuda.synchronize()
                own.append(time.perf_counter() - start)
    return [Latency(np.array(own[warmup:])) for own in times]
