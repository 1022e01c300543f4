"""The packages that only deployment needs, asked for by name."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def need(module: str) -> ModuleType:
    """Import a package of the ``deploy`` extra.

    Raises
    ------
    ImportError
        It is not installed; the message says how to install it.

    Examples
    --------
    >>> need("json").dumps([1])
    '[1]'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # A package that is there but broken inside must not be reported as absent.
        if error.name != module.partition(".")[0]:
            raise
        raise ImportError(
            f"{error.name} is not installed: pip install prunekit[deploy]", name=error.name
        ) from error
