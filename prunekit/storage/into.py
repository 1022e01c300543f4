"""What a model file holds, put into a network of the user's own class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, fx, nn

from prunekit.channels.capture import meta_copy
from prunekit.channels.kinds import kind_of, stated_sizes
from prunekit.channels.tracer import MADE
from prunekit.storage.layers import describe_layer


def sizes_to_tell(model: nn.Module, tensors: list[str]) -> dict[str, dict[str, int]]:
    """The sizes that the owners of these tensors state, and how many heads of attention modules.

    The description of a layer that is called as a module states them by itself. One whose
    forward pass hands its tensors to a function leaves no trace in the graph.
    """
    owners = {name.rpartition(".")[0] for name in tensors}
    told = {
        name: {size: vars(module)[size] for size in stated_sizes(module)}
        for name, module in model.named_modules(remove_duplicate=False)
        if name in owners or not kind_of(module).classes
    }
    return {name: sizes for name, sizes in told.items() if sizes}


def fill(into: nn.Module, described: Mapping[str, Any], loaded: fx.GraphModule) -> None:
    """Resize the layers of ``into`` to those of a file, and give it their tensors.

    Parameters
    ----------
    described
        The description that ``loaded`` was built from.

    Raises
    ------
    ValueError
        Naming what does not fit. ``into`` is then as it was.
    """
    trial = meta_copy(into)
    _put_all(trial, described, loaded)
    _refuse_other_layers(trial, described, loaded)
    _put_all(into, described, loaded)
    into.cpu()


def _put_all(into: nn.Module, described: Mapping[str, Any], loaded: fx.GraphModule) -> None:
    for tensors in (loaded.named_parameters, loaded.named_buffers):
        for name, tensor in tensors(remove_duplicate=False):
            if not name.rpartition(".")[2].startswith(MADE):
                _put(into, name, tensor)
    stated = described.get("sizes", {})
    for name in described["modules"]:
        original = loaded.get_submodule(name)
        sizes = {size: vars(original)[size] for size in stated_sizes(original)}
        vars(_layer(into, name)).update(sizes)
    for name, sizes in stated.items():
        layer = _layer(into, name)
        if sizes.keys() != set(stated_sizes(layer)) or not all(map(_is_size, sizes.values())):
            raise ValueError(f"{name!r}, a {type(layer).__name__}, has no sizes {sizes!r:.80}")
        vars(layer).update(sizes)


def _put(into: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, key = name.rpartition(".")
    owner = _layer(into, path)
    places: tuple[dict[str, Any], ...] = (owner._parameters, owner._buffers, vars(owner))
    place = next((place for place in places if key in place), None)
    if place is None or not (place[key] is None or isinstance(place[key], Tensor)):
        raise ValueError(f"the file has a tensor {name!r}, and the object has none of that name")
    old = place[key]
    if (place is owner._parameters) != isinstance(tensor, nn.Parameter):
        raise ValueError(f"{name!r} is a parameter in one of the file and the object only")
    if old is not None:
        channels = len(kind_of(owner).cut.get(key, old.shape))
        if old.dim() != tensor.dim() or old.shape[channels:] != tensor.shape[channels:]:
            raise ValueError(
                f"{name!r} is of shape {tuple(tensor.shape)} in the file, and cannot be cut from "
                f"{tuple(old.shape)} in the object"
            )
        if isinstance(tensor, nn.Parameter):
            tensor.requires_grad_(old.requires_grad)
    place[key] = tensor


def _refuse_other_layers(
    trial: nn.Module, described: Mapping[str, Any], loaded: fx.GraphModule
) -> None:
    """Refuse a network whose layers are others than those of the file, or more."""
    for name, words in described["modules"].items():
        layer = trial.get_submodule(name)
        if type(layer).__name__ != words["type"]:
            kind = type(layer).__name__
            raise ValueError(f"layer {name!r} is a {words['type']} in the file, not a {kind}")
        there, here = (
            describe_layer(name, one)["arguments"] for one in (loaded.get_submodule(name), layer)
        )
        for argument in there:
            if there[argument] != here.get(argument):
                raise ValueError(
                    f"layer {name!r} has {argument} {there[argument]!r} in the file, not "
                    f"{here.get(argument)!r}"
                )
    held = {id(parameter) for parameter in loaded.parameters()}
    more = [name for name, parameter in trial.named_parameters() if id(parameter) not in held]
    if more:
        others = f" and {len(more) - 1} more" if len(more) > 1 else ""
        raise ValueError(
            f"the object has a parameter {more[0]!r}{others} that the file does not hold, as "
            "nothing in use reads it: make the object without it, or load without into"
        )
    for node in loaded.graph.nodes:
        owner = node.target.rpartition(".")[0] if node.op == "get_attr" else ""
        layer = trial.get_submodule(owner)
        told = owner in described.get("sizes", {})
        if not told and kind_of(layer).classes and stated_sizes(layer):
            raise ValueError(
                f"the file does not say the sizes of {owner!r}, as an earlier version wrote it: "
                "load it without into"
            )


def _layer(network: nn.Module, name: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError:
        raise ValueError(f"the file has a layer {name!r}, and the object has none") from None


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0
