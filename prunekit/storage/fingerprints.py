"""What a setting, a network or a data set is, said in few characters that any process can compare.

A run that was stopped goes on only if everything it depends on is the same.
Names do not tell: two lambdas are both called ``<lambda>``, and two objects of
one class may differ in what they hold.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import json
import os
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from operator import length_hint
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from prunekit.storage.files import tensors_of
from prunekit.storage.generators import seeded

_PLAIN = (type(None), bool, int, float, str)
_INSTALLED = (
    f"{Path(__file__).parents[1]}{os.sep}",
    *(sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")),
    # They may lie elsewhere, beside code of one's own: by PYTHONPATH, or pip's --target.
    *(
        f"{folder}{os.sep}"
        for package in ("torch", "torchvision", "numpy")
        if (spec := find_spec(package))
        for folder in spec.submodule_search_locations or ()
    ),
)
_FOLDERS_OF_PACKAGES = {"site-packages", "dist-packages"}


def describe(setting: Any, name: str) -> Any:
    """A setting as JSON: the same in every process, and different for what works differently.

    Objects are told by their class and what they hold, networks and arrays by
    a digest of their numbers, functions and classes of one's own by a digest
    of their code, their defaults, and what they read from around them. What
    belongs to an installed package goes by its name.

    Parameters
    ----------
    name
        What the setting is called, for the message.

    Raises
    ------
    ValueError
        It holds something that cannot be told apart from others of its kind.

    Examples
    --------
    >>> describe({"epochs": 1, "steps": (2, 3)}, "fine_tune")
    {'epochs': 1, 'steps': [2, 3]}
    >>> one, two = lambda model: 1, lambda model: 2
    >>> describe(one, "fine_tune") == describe(two, "fine_tune")
    False
    """
    return _Describer(name).of(setting)


class _Describer:
    """One walk through a setting; what it is inside of is not walked into again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inside: list[int] = []
        self.code: dict[int, Any] = {}  # of functions and classes: many read the same ones

    def of(self, setting: Any) -> Any:
        if isinstance(setting, _PLAIN):
            return setting
        if id(setting) in self.code:
            return self.code[id(setting)]
        if id(setting) in self.inside:
            return "itself"
        self.inside.append(id(setting))
        try:
            return self._of_parts(setting)
        finally:
            self.inside.pop()

    def _of_parts(self, setting: Any) -> Any:
        if isinstance(setting, Mapping):
            return {str(key): self.of(value) for key, value in setting.items()}
        if isinstance(setting, (list, tuple)):
            return [self.of(item) for item in setting]
        if isinstance(setting, (set, frozenset)):
            return sorted((self.of(item) for item in setting), key=json.dumps)
        if isinstance(setting, (Tensor, np.ndarray)):
            return {"sha256": digest_of({"": torch.as_tensor(setting)})}
        if isinstance(setting, nn.Module):
            parts = [self.of_layer(*named) for named in setting.named_modules()]
            return {"class": type(setting).__qualname__} | _short([parts, digest_of(setting)])
        if isinstance(setting, (np.generic, torch.dtype, torch.device, PurePath)):
            return str(setting)
        if isinstance(setting, functools.partial):
            return {"partial": self.of([setting.func, setting.args, setting.keywords])}
        if isinstance(setting, types.MethodType):
            return {"method": setting.__name__, "of": self.of(setting.__self__)}
        if isinstance(setting, types.ModuleType):
            return setting.__name__
        if isinstance(setting, (types.FunctionType, types.BuiltinFunctionType, type)):
            self.code[id(setting)] = described = self._of_code(setting)
            return described
        return self._of_object(setting)

    def of_layer(self, name: str, layer: nn.Module, leave: tuple[type, ...] = ()) -> list[Any]:
        said = {k: v for k, v in vars(layer).items() if not k.startswith("_") and k != "training"}
        said = {k: v for k, v in said.items() if not isinstance(v, leave)}
        code = layer.code if isinstance(layer, fx.GraphModule) else None
        return [name, self.of(type(layer)), code, self.of(said)]

    def _of_code(self, code: types.FunctionType | types.BuiltinFunctionType | type) -> Any:
        where = f"{code.__module__}.{code.__qualname__}"
        if isinstance(code, types.BuiltinFunctionType) or _is_installed(code):
            return where
        if isinstance(code, type):
            return {"class": where} | _short([self._of_members(code), self.of(code.__bases__)])
        around = [cell.cell_contents for cell in code.__closure__ or ()]
        read = {
            name: code.__globals__[name]
            for name in _global_names(code.__code__)
            if name in code.__globals__
        }
        parts = [_instructions(code.__code__), code.__defaults__, code.__kwdefaults__, around, read]
        return {"function": where} | _short(self.of(parts))

    def _of_members(self, kind: type) -> Any:
        """Of the parts of a class: methods of each kind, and values."""
        descriptors = (types.MemberDescriptorType, types.GetSetDescriptorType)
        members = {}
        for name, value in vars(kind).items():
            hidden = name.startswith("__") and name not in ("__init__", "__call__", "__iter__")
            if not hidden and not name.startswith("_abc_") and not isinstance(value, descriptors):
                function = getattr(value, "__func__", None) or getattr(value, "fget", None)
                members[name] = function or value
        return self.of(members)

    def _of_object(self, thing: Any) -> Any:
        if not hasattr(thing, "__dict__"):
            raise ValueError(
                f"{self.name} holds {thing!r}, a {type(thing).__qualname__}, which cannot be told "
                "from another one by what it holds. A run in a folder could not know whether it "
                "goes on with the same one: use a plain class, a function, or no folder"
            )
        kind = self.of(type(thing))
        named = kind if isinstance(kind, dict) else {"class": kind}
        return named | {key: self.of(value) for key, value in vars(thing).items()}


def _is_installed(code: types.FunctionType | type) -> bool:
    """Whether code belongs to Python, to an installed package or to prunekit itself."""
    if isinstance(code, types.FunctionType):
        file = code.__code__.co_filename
    else:
        file = getattr(sys.modules.get(code.__module__), "__file__", None) or ""
    return (
        file.startswith(_INSTALLED)
        or not _FOLDERS_OF_PACKAGES.isdisjoint(Path(file).parts)
        or code.__module__ in sys.builtin_module_names
    )


def _global_names(code: types.CodeType) -> list[str]:
    """Names a function reads from its module, those of functions inside it too."""
    names = {
        i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return sorted(names.union(*map(_global_names, inner)))


def _instructions(code: types.CodeType) -> list[Any]:
    constants = [
        _instructions(constant)
        if isinstance(constant, types.CodeType)
        # The order of a set of strings changes from one process to the next.
        else repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
        for constant in code.co_consts
    ]
    return [code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames)]


def _short(parts: Any) -> dict[str, str]:
    return {"sha256": hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()}


def digest_of(model: nn.Module | Mapping[str, Tensor]) -> str:
    """SHA-256 of a model's parameters and buffers, or of tensors by name."""
    digest = hashlib.sha256()
    tensors = tensors_of(model) if isinstance(model, nn.Module) else model
    for name, tensor in tensors.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def form_of(model: nn.Module) -> str:
    """SHA-256 of what a network is beside its numbers: its modules and their settings.

    Modules are compared by name, by class (one's own by its code, one of an
    installed package by its name) and by their public attributes, such as a
    stride or the rate of a dropout. Attributes that are plain tensors, or the
    shapes of some, are left out: networks keep those of their maps there.

    Raises
    ------
    ValueError
        A module holds something that cannot be told apart from others of its
        kind, under a name without an underscore before it.

    Examples
    --------
    >>> form_of(nn.Dropout(0.1)) == form_of(nn.Dropout(0.9))
    False
    """
    describer = _Describer("the model")
    leave = (Tensor, torch.Size)
    modules = [describer.of_layer(name, one, leave) for name, one in model.named_modules()]
    return _short(modules)["sha256"]


def frozen_in(model: nn.Module) -> list[str]:
    """The parameters of a network that do not learn, by name."""
    return [name for name, weight in model.named_parameters() if not weight.requires_grad]


def digest_of_data(loader: Iterable, name: str) -> Any:
    """What a loader hands out, as JSON.

    A loader with a method ``fingerprint``, such as
    :class:`prunekit.data.Loader`, says it itself. A list of batches is read
    whole. Of anything else the first batch is looked at, drawn twice from the
    same random numbers, and the number of batches if the loader knows it.

    Parameters
    ----------
    name
        What the loader is called, for the message.

    Raises
    ------
    ValueError
        The first batch differs from one pass to the next whatever the seed.
    """
    if hasattr(loader, "fingerprint"):
        return loader.fingerprint()
    if isinstance(loader, (list, tuple)):
        return _short(describe(loader, name))
    once, again = (_first_batch(loader, name) for _ in range(2))
    if once != again:
        raise ValueError(
            f"{name} begins with another batch each time, whatever the seed of torch, NumPy and "
            "Python, so that a run in a folder could not know its data again: give it a method "
            "fingerprint() that returns a string which names its data, or use no folder"
        )
    return once


def _first_batch(loader: Iterable, name: str) -> dict[str, Any]:
    with seeded(0):
        first = next(iter(loader), None)
    known = length_hint(loader, -1)  # len() fails for a DataLoader over data without a length
    return {"batches": known if known >= 0 else None} | _short(describe(first, name))
