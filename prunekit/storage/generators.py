"""The random number generators of torch, NumPy and Python, seeded together."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Seed the generators that data are shuffled and augmented by: torch's, NumPy's, Python's."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Generators that start from a seed; afterwards they are as they were before.

    Examples
    --------
    >>> with seeded(0):
    ...     inside = random.random()
    >>> with seeded(0):
    ...     random.random() == inside
    True
    """
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng():
        seed_generators(seed)
        try:
            yield
        finally:
            np.random.set_state(of_numpy)  # noqa: NPY002
            random.setstate(of_python)


def mixed_seed(*numbers: int) -> int:
    """One seed of 32 bits from several whole numbers, such as a run's seed and an iteration.

    Sums would repeat: iteration 2 of seed 0 would draw what iteration 1 of
    seed 1 draws. torch's generator of the CPU looks at no more than 32 bits.

    Examples
    --------
    >>> mixed_seed(0, 2) == mixed_seed(1, 1)
    False
    """
    words = [number % 2**64 for number in numbers]
    return int(np.random.SeedSequence(words).generate_state(1)[0])
