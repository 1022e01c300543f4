"""Arguments of layers and operations as JSON, and back; and the names code is made of.

torch.fx turns a graph into Python source, in which names stand as they are.
So a name from a file must be one: nothing else can come out as code.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import fx

from prunekit.channels.capture import OF_GRAPHS, OF_MODULES
from prunekit.storage.known import CONSTANTS

# Neither the network's code nor its JSON nests deeper; Python's parser gives up at 200.
DEPTH = 50
# What generated code means by these, no variable in it may hide.
_GLOBALS = frozenset({"self", "torch", "device", "inf", "nan", "getattr", "slice", "Ellipsis"})
# The attributes that a network, and a part of it, have of their own.
_TAKEN = (OF_MODULES | OF_GRAPHS | {"metadata"}, OF_MODULES)


def check_name(name: Any) -> None:
    """Refuse what is no name in Python."""
    if not (isinstance(name, str) and name.isidentifier() and _is_plain(name)):
        raise ValueError(f"{name!r:.80} is no name")


def check_variable(name: Any) -> None:
    """Refuse what cannot name an input or a result."""
    check_name(name)
    if name in _GLOBALS:
        raise ValueError(f"{name!r} cannot be the name of an input or result: rename it")


def check_path(path: Any) -> None:
    """Refuse what cannot be the dotted path of a layer or tensor."""
    parts = path.split(".") if isinstance(path, str) else [path]
    if len(parts) > DEPTH:
        raise ValueError(f"the name {path!r:.80} has {len(parts)} parts, more than {DEPTH}")
    for part, taken in zip(parts, (_TAKEN[0], *[_TAKEN[1]] * len(parts)), strict=False):
        # With a dash, as in "conv-1", it is no identifier, and generated code quotes it.
        if not (isinstance(part, str) and re.fullmatch(r"[\w-]+", part) and _is_plain(part)):
            raise ValueError(f"{path!r:.80} cannot be the name of a layer or tensor: rename it")
        if part in taken:
            raise ValueError(
                f"{path!r:.80} cannot be the name of a layer or tensor, as {part!r} already "
                "means something else in every network: rename it"
            )


def _is_plain(name: str) -> bool:
    """Whether Python reads a name as it stands: it takes "ｔo" for "to"."""
    return unicodedata.normalize("NFKC", name) == name and not keyword.iskeyword(name)


def encode(value: Any) -> Any:
    """An argument as JSON; nodes of the graph by name."""
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: encode(item) for key, item in value.items()}}
    if isinstance(value, slice):
        return {"slice": [encode(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, (torch.dtype, torch.memory_format)):
        return {type(value).__name__: str(value).removeprefix("torch.")}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, float) and not isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{value!r:.80}, a {type(value).__name__}, cannot be put into a model file")


def decode(value: Any, nodes: Mapping[str, fx.Node], depth: int = 0) -> Any:
    """What :func:`encode` made JSON of. Nothing but plain values and ``nodes`` comes out."""
    if depth > DEPTH:
        raise ValueError(f"arguments are nested more than {DEPTH} deep")
    if isinstance(value, list):
        return [decode(item, nodes, depth + 1) for item in value]
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("a number has more than 64 bits")
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError(f"{value!r:.80} is no argument")
    ((kind, content),) = value.items()
    if kind == "node" and content in nodes:
        return nodes[content]
    if kind in ("tuple", "slice") and isinstance(content, list):
        make = tuple if kind == "tuple" else lambda parts: slice(*parts)
        return make([decode(item, nodes, depth + 1) for item in content])
    if kind == "dict" and isinstance(content, dict):
        return {key: decode(item, nodes, depth + 1) for key, item in content.items()}
    if kind in CONSTANTS and content in CONSTANTS[kind]:
        return CONSTANTS[kind][content]
    if kind == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    if kind == "ellipsis":
        return Ellipsis
    raise ValueError(f"{value!r:.80} is no argument")
