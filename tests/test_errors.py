"""The library's own errors: one base class, and still the built-in errors that they were."""

from __future__ import annotations

import builtins
import pkgutil
from importlib import import_module

import pytest
import torch
from torch import nn

import prunekit

BUILT_IN = tuple(
    kind
    for kind in vars(builtins).values()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception
)


def own_errors() -> set[type[Exception]]:
    """Every class of exception that a module of the library defines, but the base class."""
    names = [
        module.name
        for module in pkgutil.walk_packages(prunekit.__path__, "prunekit.")
        if not module.name.endswith("__main__")
    ]
    found = {
        value
        for name in names
        for value in vars(import_module(name)).values()
        if isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__.partition(".")[0] == "prunekit"
    }
    return found - {prunekit.PrunekitError}


def test_own_errors_are_caught_by_the_base_class_and_by_a_built_in_one():
    errors = own_errors()
    assert {kind.__name__ for kind in errors} >= {"BundleError", "ExportError", "TraceError"}
    for kind in errors:
        assert issubclass(kind, prunekit.PrunekitError), kind
        assert issubclass(kind, BUILT_IN), kind


def test_refused_network_raises_the_base_class():
    channels_do_not_meet = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(5, 1, 3))
    with pytest.raises(prunekit.PrunekitError, match="example inputs"):
        prunekit.trace(channels_do_not_meet, torch.zeros(1, 3, 8, 8))
