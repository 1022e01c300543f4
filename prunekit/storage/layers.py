"""The layers of a model in words, and back: a class in the table of kinds and its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prunekit.channels.kinds import KINDS, kind_of
from prunekit.storage.known import LAYERS
from prunekit.storage.values import decode, encode

_ELSEWHERE = {"device", "dtype", "args", "kwargs"}
_ARGUMENTS = {
    known: tuple(
        name
        for name in dict.fromkeys((*inspect.signature(known).parameters, *kind.arguments))
        if name not in _ELSEWHERE
    )
    for known, kind in KINDS.items()
}


def describe_layer(name: str, layer: nn.Module) -> dict[str, Any]:
    """Type and arguments of one layer.

    Raises
    ------
    ValueError
        It is of a class that is not in the table of kinds, or its arguments do not say all.
    """
    kind = type(layer)
    if LAYERS.get(kind.__name__) is not kind:
        raise ValueError(
            f"layer {name!r} is a {kind.__module__}.{kind.__qualname__}, which a model file cannot "
            "hold: only layers that prunekit knows (prunekit/channels/kinds.py lists them)"
        )
    stated = kind_of(layer).arguments
    arguments: dict[str, Any] = {}
    for argument in _ARGUMENTS[kind]:
        if argument in stated:
            arguments[argument] = stated[argument](layer)
        elif argument == "bias":
            # Said only where it must be: not every version of torch has it for norms.
            if layer.bias is None and getattr(layer, "weight", kind) is not None:
                arguments["bias"] = False
        elif hasattr(layer, argument):
            try:
                arguments[argument] = encode(getattr(layer, argument))
            except ValueError as error:
                raise ValueError(f"{argument} of layer {name!r}: {error}") from None
    described = {"type": kind.__name__, "arguments": arguments}
    own, again = layer.state_dict(), build_layer(name, described).state_dict()
    if own.keys() != again.keys():
        odd = ", ".join(sorted(own.keys() ^ again.keys()))
        raise ValueError(
            f"layer {name!r} has other tensors than a plain {kind.__name__} ({odd}): undo what "
            "was put on it, such as torch.nn.utils.weight_norm or torch.nn.utils.prune"
        )
    check_tensors(name, again, own)
    return described


def build_layer(name: str, described: Mapping[str, Any]) -> nn.Module:
    """The layer that was described, its tensors without data."""
    kind = LAYERS.get(described["type"])
    if kind is None:
        raise ValueError(
            f"layer {name!r} is a {described['type']!r}, not a layer that prunekit knows"
        )
    arguments = {key: decode(value, {}) for key, value in described["arguments"].items()}
    unknown = arguments.keys() - set(_ARGUMENTS[kind])
    if unknown:
        raise ValueError(f"layer {name!r}, a {kind.__name__}, has no argument {min(unknown)!r}")
    with torch.device("meta"):
        return kind(**arguments)


def check_tensors(name: str, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse tensors that do not fit a layer, by shape or kind of number."""
    for key, tensor in wanted.items():
        other = found[key]
        if other.shape != tensor.shape or _kind(other.dtype) != _kind(tensor.dtype):
            raise ValueError(
                f"{name}.{key} is of shape {tuple(other.shape)} and {other.dtype}, but the layer "
                f"is described with {tuple(tensor.shape)} and {tensor.dtype}"
            )


def _kind(dtype: torch.dtype) -> object:
    """Floating-point numbers of any size can stand for one another, integers cannot."""
    return "floating" if dtype.is_floating_point or dtype.is_complex else dtype
