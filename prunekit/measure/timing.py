"""The time of forward passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from prunekit.checks import Check, checked, inputs, module, modules, run, whole
from prunekit.execution import device_of, evaluation_mode, on_device

TIMING: dict[str, Check] = {
    "example_inputs": inputs,
    "repeats": partial(whole, least=1),
    "warmup": partial(whole, least=0),
    "threads": partial(whole, least=1),
}


@dataclass(frozen=True)
class Latency:
    """Wall time of repeated calls, in seconds, one array entry a call."""

    times: np.ndarray

    @property
    def median(self) -> float:
        return float(np.median(self.times))

    @property
    def p95(self) -> float:
        """The time that 95 % of the calls stayed below."""
        return float(np.quantile(self.times, 0.95))

    @property
    def ms(self) -> dict[str, float]:
        """As tables have it, in milliseconds, by ``min_ms``, ``median_ms`` and ``p95_ms``."""
        seconds = {"min": float(self.times.min()), "median": self.median, "p95": self.p95}
        return {f"{name}_ms": 1e3 * value for name, value in seconds.items()}


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
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        for model in models:
            stack.enter_context(evaluation_mode(model))
        passes = [partial(_one_pass, model, on_device(model, example_inputs)) for model in models]
        timings = in_turns(passes, warmup + repeats, threads=threads)
    return [Latency(timing.times[warmup:]) for timing in timings]


def _one_pass(model: nn.Module, given: tuple) -> None:
    run(model, given, "example_inputs")
    if device_of(model).type == "cuda":
        torch.cuda.synchronize()


def in_turns(
    functions: Sequence[Callable[[], object]],
    rounds: int,
    *,
    threads: int = 1,
    lead_in: int = 0,
    burst: int = 1,
) -> list[Latency]:
    """Time calls of several functions, which take turns: the one timer of this library.

    Parameters
    ----------
    rounds
        Turns of each function.
    threads
        CPU threads of torch meanwhile.
    lead_in, burst
        Calls at the start of a turn that do not count, and calls that do.

    Examples
    --------
    >>> calls = []
    >>> timings = in_turns([lambda: calls.append("a"), lambda: calls.append("b")], 2, burst=2)
    >>> "".join(calls), [len(timing.times) for timing in timings]
    ('aabbaabb', [4, 4])
    """
    times: list[list[float]] = [[] for _ in functions]
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for _ in range(rounds):
            for function, own in zip(functions, times, strict=True):
                for _ in range(lead_in):
                    function()
                for _ in range(burst):
                    start = time.perf_counter()
                    function()
                    own.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads_before)
    return [Latency(np.array(own)) for own in times]
