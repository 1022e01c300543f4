"""Layers written out as functions, as in ``F.conv2d(x, self.weight, self.bias)``.

Where all tensors are those of one module of a known kind, it is that layer which is called. Else
the tensors are the model's own, or computed, and rules here say what can be said without a layer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunekit.channels.counts import Stated, hold, number
from prunekit.channels.labels import LabelBook, fixed, map_tensors, tensors_in

_CONVOLVE = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSE = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups")
_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias")
# The arguments of each function, as far as they matter, and the layers that call it.
FUNCTIONS: dict[Any, tuple[tuple[str, ...], tuple[type[nn.Module], ...]]] = {
    **{getattr(F, f"conv{n}d"): (_CONVOLVE, (getattr(nn, f"Conv{n}d"),)) for n in (1, 2, 3)},
    **{
        getattr(F, f"conv_transpose{n}d"): (_TRANSPOSE, (getattr(nn, f"ConvTranspose{n}d"),))
        for n in (1, 2, 3)
    },
    F.linear: (("input", "weight", "bias"), (nn.Linear,)),
    F.batch_norm: (_BATCH_NORM, (nn.modules.batchnorm._BatchNorm,)),
    torch.batch_norm: (("input", "weight", "bias", "running_mean", "running_var"), ()),
    F.instance_norm: (_BATCH_NORM, (nn.modules.instancenorm._InstanceNorm,)),
    F.group_norm: (("input", "num_groups", "weight", "bias"), (nn.GroupNorm,)),
    F.layer_norm: (("input", "normalized_shape", "weight", "bias"), ()),
    F.rms_norm: (("input", "normalized_shape", "weight"), ()),
    F.prelu: (("input", "weight"), (nn.PReLU,)),
}
_BY_CHANNEL = {F.batch_norm, torch.batch_norm, F.instance_norm, F.prelu}
_OVER_LAST = {F.layer_norm, F.rms_norm}


class Own:
    """A tensor that a layer cuts, read by the forward pass: whose, and which."""

    def __init__(self, layer: str, name: str, tensor: Tensor) -> None:
        self.layer, self.name, self.tensor = layer, name, tensor

    @property
    def path(self) -> str:
        return f"{self.layer}.{self.name}"


def arguments(function: Any, args: tuple, kwargs: dict) -> dict[str, Any]:
    """What a function is given, by name."""
    names, _ = FUNCTIONS[function]
    return dict(zip(names, args, strict=False)) | kwargs


def layer_called(
    function: Any, given: dict[str, Any], modules: dict[str, nn.Module], source: str
) -> str:
    """The name of the layer whose tensors and sizes a function is given; empty if there is none.

    ``source`` names the layer of whose weight the one given was computed, if that is so.
    """
    _, classes = FUNCTIONS[function]
    own = {name: value for name, value in given.items() if isinstance(value, Own)}
    names = {value.layer for value in own.values()} | ({source} if source else set())
    if len(names) != 1 or any(value.name != name for name, value in own.items()):
        return ""
    (layer,) = names
    module = modules[layer]
    if source and given["weight"].shape != module.weight.shape:
        return ""
    ours = {"input", *own, *(["weight"] if source else [])}
    others = [value for name, value in given.items() if name not in ours]
    stated = {n: getattr(module, n) for n in ("groups", "num_groups") if hasattr(module, n)}
    # A number of groups that the code writes does not follow a removal.
    same = all(
        number(given.get(name, 1)) == size and (size == 1 or isinstance(given[name], Stated))
        for name, size in stated.items()
    )
    return layer if isinstance(module, classes) and same and not tensors_in(others) else ""


def without_layer(book: LabelBook, function: Any, given: dict[str, Any], value: Any) -> Any:
    """What a function does to labels whose other tensors belong to no layer."""
    x = given["input"]
    others = tensors_in([one for name, one in hold(given).items() if name != "input"])
    if function in _BY_CHANNEL and set(book.varying(x)) <= {1}:
        shaped = [one.view(-1, *[1] * (x.dim() - 2)) if one.dim() == 1 else one for one in others]
        return book.combine([x, *shaped], x.shape)
    if function in _OVER_LAST:
        over = {x.dim() - 1 - place for place in range(len(given["normalized_shape"]))}
        if over.isdisjoint(book.varying(x)):
            book.freeze(*others)
            return x
    book.freeze(x, *others)
    return map_tensors(value, fixed)
