"""The class that every error of the library's own derives from."""

from __future__ import annotations


class PrunekitError(Exception):
    """Any error that only this library raises: ``except PrunekitError`` catches them all.

    Each is also the built-in error that it is a case of, such as
    :class:`ValueError`. Wrong arguments get the built-in errors themselves.

    Examples
    --------
    >>> from prunekit.deploy import ExportError
    >>> issubclass(ExportError, PrunekitError), issubclass(ExportError, RuntimeError)
    (True, True)
    """
