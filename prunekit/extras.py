"""Packages that only a part of the library needs, asked for by name."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def need(module: str, extra: str) -> ModuleType:
    """Import a module of a package that the extra of that name brings.

    Raises
    ------
    ImportError
        It is not installed; the message says how to install it.

    Examples
    --------
    >>> need("json", "deploy").dumps([1])
    '[1]'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # A package that is there but broken inside must not be reported as absent.
        if error.name != module.partition(".")[0]:
            raise
        raise ImportError(
            f"{error.name} is not installed: pip install 'prunekit[{extra}]'", name=error.name
        ) from error
