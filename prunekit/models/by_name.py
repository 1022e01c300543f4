"""Networks of torchvision and timm by name, with outputs for other classes."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from prunekit.channels.kinds import kind_of
from prunekit.extras import need

SOURCES = ("torchvision", "timm")
IMAGENET_CLASSES = 1000  # of all that torchvision has weights for
AUXILIARY = ("aux1", "aux2", "AuxLogits")  # of GoogLeNet and Inception, for their training only


def is_by_name(spec: str) -> bool:
    """Whether a network is one of torchvision or timm, and not that of a file."""
    return spec.partition(":")[0] in SOURCES


def named(spec: str, classes: int | None, weights: str) -> nn.Module:
    """A network by name, with as many outputs as there are classes.

    Where timm or its weights state by which mean and deviation its pictures are normalised, these
    are in its ``metadata``, as :func:`prunekit.load` puts it on a network.

    Parameters
    ----------
    spec
        ``torchvision:NAME`` or ``timm:NAME``.
    classes
        None leaves it the outputs that it has.
    weights
        ``"pretrained"``, ``"none"``, or a file of a ``state_dict``.

    Raises
    ------
    ValueError
        There is no such network, its weights cannot be had, or those of the file do not fit.
    FileNotFoundError
        There is no such file.
    ImportError
        timm is not installed.
    """
    source, _, name = spec.partition(":")
    chosen = {} if classes is None else {"num_classes": classes}
    if source == "timm":
        timm = need("timm", "timm")
        _refuse_unknown(spec, timm.is_model(name), timm.list_models())
    else:
        known = models.list_models(module=models)
        _refuse_unknown(spec, name in known, known)
    model: Any
    try:
        if source == "timm":
            model = timm.create_model(name, pretrained=weights == "pretrained", **chosen)
            said = getattr(model, "pretrained_cfg", {})
        else:
            model, said = models.get_model(name, weights=None, **chosen), {}
            if weights == "pretrained":
                model = _with_outputs_of(model, models.get_model(name, weights="DEFAULT"))
                said = vars(models.get_model_weights(name).DEFAULT.transforms())
    except (RuntimeError, OSError) as error:  # there are none, or no connection
        raise ValueError(
            f"{spec} cannot be had with its weights: {str(error)[:300]}. "
            "--weights none does without"
        ) from error
    if weights not in ("pretrained", "none"):
        _read_weights(model, Path(weights), spec)
    if source == "torchvision" and getattr(model, "aux_logits", False):
        model.aux_logits = False  # as torchvision does: training here takes one output
        for part in filter(partial(hasattr, model), AUXILIARY):
            setattr(model, part, None)
    if "mean" in said and "std" in said:
        model.metadata = {name: list(said[name]) for name in ("mean", "std")}
    return model


def _refuse_unknown(spec: str, there: bool, known: Iterable[str]) -> None:
    if not there:
        source, _, name = spec.partition(":")
        close = get_close_matches(name, list(known), 3)
        remedy = f"did you mean {' or '.join(close)}?" if close else f"see {source}.list_models()"
        raise ValueError(f"{source} has no classification network named {name!r}: {remedy}")


def _with_outputs_of(own: nn.Module, trained: nn.Module) -> nn.Module:
    """A trained network with the output layers of one for other classes.

    torchvision makes the trained one: only its builders know what became of names in old
    files, and what else differs where weights come from one, such as how inputs are scaled.
    """
    for name, layer in list(trained.named_modules()):
        counted = kind_of(layer).filters
        if counted and getattr(layer, counted) == IMAGENET_CLASSES:
            trained.set_submodule(name, own.get_submodule(name))
    return trained


def _read_weights(model: nn.Module, path: Path, spec: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"--weights: there is no file {path}")
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"--weights: {path} holds no state_dict of {spec} with this number of classes: "
            f"{str(error)[:300]}"
        ) from error
