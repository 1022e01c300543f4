"""Progress of what takes long, where somebody can see it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(items: Iterable | None = None, *, show: bool = True, **options: Any) -> tqdm:
    """A bar of tqdm. It writes nothing where the output is neither a terminal nor a notebook.

    A bar in a file is one line of thousands of copies.
    """
    return tqdm(items, disable=not (show and is_watched()), **options)


def is_watched() -> bool:
    """Whether standard error is a terminal, or this process is the kernel of a notebook."""
    kernels = sys.modules.get("ipykernel.kernelapp")  # some libraries import it anywhere
    return sys.stderr.isatty() or (kernels is not None and kernels.IPKernelApp.initialized())


def say(line: str, show: bool = True) -> None:
    """Print a line above the bars, where bars are shown."""
    if show and is_watched():
        tqdm.write(line)
