"""Ctrl-C, with what had been done by then."""

from __future__ import annotations

from typing import Any


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what had been done by then.

    Attributes
    ----------
    history
        What the function that was interrupted would have returned, as far as
        it had come: the whole epochs of :func:`fit`, the whole iterations of
        :func:`prunekit.prune`.

    Examples
    --------
    >>> try:
    ...     raise Interrupted("in epoch 3", history=[1, 2])
    ... except KeyboardInterrupt as interrupted:
    ...     interrupted.history
    [1, 2]
    """

    def __init__(self, message: str, history: Any) -> None:
        super().__init__(message)
        self.history = history
