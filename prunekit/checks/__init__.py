"""Arguments, looked over before anything is done with them: each error names the argument.

What is of a wrong type is a TypeError, what is out of range a ValueError. A
check takes the name of an argument and its value, and gives the value to go
on with.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunekit.checks.structures import examples_of

Check = Callable[[str, Any], Any]
P = ParamSpec("P")
R = TypeVar("R")
_BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "above": (operator.gt, "above {}"),
    "least": (operator.ge, "at least {}"),
    "below": (operator.lt, "below {}"),
    "most": (operator.le, "at most {}"),
}


def checked(**checks: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: a function whose arguments pass the checks of their names before it runs.

    Examples
    --------
    >>> @checked(rounds=functools.partial(whole, least=1))
    ... def repeat(rounds=3):
    ...     return "again " * rounds
    >>> repeat(0)
    Traceback (most recent call last):
    ValueError: rounds must be at least 1, not 0
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def looked_over(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # which says what is missing or too many
            for name, value in given.arguments.items():
                if name in checks:
                    given.arguments[name] = checks[name](name, value)
            return function(*given.args, **given.kwargs)

        return looked_over

    return decorate


def shown(value: object) -> str:
    """A value as an error message may quote it: short, and tensors by shape and type."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {value.dtype}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, (str, int, float, complex, list, tuple, dict, set)) or value is None:
        return reprlib.repr(value)
    return f"an object of type {type(value).__name__}"


def number(name: str, value: object, **bounds: float) -> float:
    """A real number within ``bounds``: ``above``, ``least``, ``below`` and ``most``.

    Examples
    --------
    >>> number("momentum", float("nan"), least=0, below=1)
    Traceback (most recent call last):
    ValueError: momentum must be at least 0 and below 1, not nan
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {shown(value)}")
    if not all(_BOUNDS[kind][0](value, bound) for kind, bound in bounds.items()):
        words = [
            _BOUNDS[kind][1].format(bound) if bound < math.inf else "finite"
            for kind, bound in bounds.items()
        ]
        raise ValueError(f"{name} must be {' and '.join(words)}, not {value}")
    return value if isinstance(value, (int, float)) else float(value)


def whole(name: str, value: Any, **bounds: int) -> int:
    """An integer within ``bounds``, as for :func:`number`.

    Examples
    --------
    >>> whole("count", 2.5, least=1)
    Traceback (most recent call last):
    TypeError: count must be a whole number, not 2.5
    """
    try:
        integer = None if _is_boolean(value) else operator.index(value)
    except TypeError:
        integer = None
    if integer is None:
        raise TypeError(f"{name} must be a whole number, not {shown(value)}")
    number(name, integer, **bounds)
    return integer


def _is_boolean(value: object) -> bool:
    return isinstance(value, (bool, np.bool_)) or getattr(value, "dtype", None) is torch.bool


def flag(name: str, value: object) -> bool:
    """True or False, and nothing that only counts as one of them."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, not {shown(value)}")
    return bool(value)


def choice(name: str, value: object, among: Sequence[str]) -> str:
    """One of the names ``among``."""
    if not isinstance(value, str) or value not in among:
        raise ValueError(f"{name} must be one of {', '.join(among)}, not {shown(value)}")
    return value


def function(name: str, value: object) -> Callable[..., Any]:
    """Something to call, and no class, which would only make an object."""
    if isinstance(value, type) or not callable(value):
        raise TypeError(f"{name} must be a function, not {shown(value)}")
    return value


def names(name: str, value: object) -> list[str]:
    """A list of names; a single one may stand alone."""
    if isinstance(value, str):
        return [value]
    listed: list[Any] = list(value) if isinstance(value, Iterable) else [value]
    for one in listed:
        if not isinstance(one, str):
            raise TypeError(f"{name} must be a name or a list of names, not {shown(value)}")
    return listed


def folder(name: str, value: object) -> Path:
    """A path that is a folder, or is not there yet."""
    if (path := _path(name, value)).is_file():
        raise ValueError(f"{name} must be a folder, and {path} is a file")
    return path


def file(name: str, value: object) -> Path:
    """A path that is a file, or is not there yet."""
    if (path := _path(name, value)).is_dir():
        raise ValueError(f"{name} must be a file, and {path} is a folder")
    return path


def _path(name: str, value: object) -> Path:
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        raise TypeError(f"{name} must be a path, not {shown(value)}")
    return Path(value)


def optional(check: Check) -> Check:
    """The same check, which lets None pass."""
    return lambda name, value: None if value is None else check(name, value)


def module(name: str, value: object, *, numbers: bool = True) -> nn.Module:
    """A network that can run; one without ``numbers``, on the meta device, only where that will do.

    Examples
    --------
    >>> module("model", nn.Linear)
    Traceback (most recent call last):
    TypeError: model must be a torch.nn.Module, not the class Linear: pass an object, Linear(...)
    """
    if not isinstance(value, nn.Module):
        remedy = ""
        if isinstance(value, type) and issubclass(value, nn.Module):
            remedy = f": pass an object, {value.__name__}(...)"
        raise TypeError(f"{name} must be a torch.nn.Module, not {shown(value)}{remedy}")
    for key, parameter in value.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise ValueError(
                f"{name} has a lazy layer, whose size is not known yet ({key}): run it on a batch "
                "first"
            )
        if numbers and parameter.is_meta:
            raise ValueError(
                f"{name} lies on the meta device ({key}): it has shapes but no numbers. Load its "
                "weights on a real device first"
            )
    return value


def modules(name: str, value: object) -> list[nn.Module]:
    """A list of one network or more."""
    if not isinstance(value, (list, tuple)) or not value:
        raise TypeError(f"{name} must be a list of one model or more, not {shown(value)}")
    return [module(f"{name}[{index}]", model) for index, model in enumerate(value)]


def named_modules(name: str, value: object) -> dict[str, nn.Module]:
    """One network or more, by names."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must map names to models, not {shown(value)}")
    if not value:
        raise ValueError(f"{name} is empty: there is no model to compare")
    return {key: module(f"{name}[{key!r}]", model) for key, model in value.items()}


def inputs(name: str, value: object) -> tuple:
    """Example inputs as the positional arguments of ``forward``, with a batch among them."""
    given = value if isinstance(value, tuple) else (value,)
    tensors = [x for x in tree_leaves(given) if isinstance(x, Tensor)]
    if not tensors or not isinstance(value, (tuple, Tensor)):
        raise TypeError(
            f"{name} must be a tensor, or a tuple of the arguments of forward with a tensor among "
            f"them, not {shown(value)}"
        )
    examples = examples_of(given)
    if examples is None:
        raise ValueError(f"{name} must be a batch of shape (examples, ...), not one number")
    if not examples:
        raise ValueError(f"{name} is an empty batch")
    return given


def run(model: nn.Module, given: tuple, name: str, *, who: str = "the model") -> Any:
    """``model(*given)``; where the model fails on it, an error that names ``given``."""
    try:
        return model(*given)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise  # the machine's fault, not that of the inputs
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{who} does not run on {name}, {', '.join(map(shown, given))}: {error}"
            + remedy_for_types(model, given)
        ) from error


def remedy_for_types(model: nn.Module, given: Any) -> str:
    """The end of a message where weights and inputs are of different types; otherwise nothing.

    Inputs of whole numbers may be what a model asks for, except pixels of uint8.

    Examples
    --------
    >>> remedy_for_types(nn.Linear(2, 2).half(), torch.zeros(1, 2)).split(":")[0]
    '. The weights are torch.float16 and the inputs torch.float32'
    >>> remedy_for_types(nn.Linear(2, 2), torch.zeros(1, 2))
    ''
    """
    weights = {p.dtype for p in model.parameters() if p.is_floating_point()}
    inputs = {x.dtype for x in tree_leaves(given) if isinstance(x, Tensor)}
    inputs = {kind for kind in inputs if kind.is_floating_point or kind is torch.uint8}
    if not weights or not inputs or weights & inputs:
        return ""
    there, here = (" and ".join(sorted(map(str, kinds))) for kinds in (weights, inputs))
    return f". The weights are {there} and the inputs {here}: bring both to one type with .to()"


def filters(layer: str, value: Any) -> np.ndarray:
    """Indices of filters of a layer, as int64; a boolean mask names none.

    Examples
    --------
    >>> filters("conv", [True, False, True])
    Traceback (most recent call last):
    TypeError: conv: a boolean mask is no list of filters: pass the indices, np.flatnonzero(mask)
    """
    several = isinstance(value, Iterable) and not isinstance(value, str)
    listed: list[Any] = list(value) if several else [None]
    if set(map(type, listed)) <= {int}:  # the usual case, asked thousands of times in a run
        return np.array(listed, dtype=np.int64)
    if any(map(_is_boolean, listed)):
        raise TypeError(
            f"{layer}: a boolean mask is no list of filters: pass the indices, np.flatnonzero(mask)"
        )
    try:
        return np.array([operator.index(index) for index in listed], dtype=np.int64)
    except TypeError:
        raise TypeError(
            f"{layer}: filters must be a list of whole numbers, not {shown(value)}"
        ) from None
