"""The way of channels through a network, step by step: what the figures of channel labels draw."""

from __future__ import annotations

import operator
from dataclasses import dataclass

import numpy as np
from torch import Tensor, fx, nn

from prunekit.channels.capture import without_data
from prunekit.channels.labels import tensors_in
from prunekit.channels.passes import on_labels


@dataclass(frozen=True)
class Step:
    """A place in a network at which channels are made, joined, moved or met.

    Attributes
    ----------
    name : str
        The layer as in ``model.named_modules()``, or the operation.
    labels : int64 array of shape (channels,)
        The label each channel carries, as issued.
    groups : int64 array of shape (channels,)
        The dependency group of each, as in :class:`prunekit.ChannelGraph`.
    sources : tuple of int
        Places in the list of steps from which the channels come.
    mixes : bool
        Whether every channel is computed from all channels of the sources.
    kind : str
        What kind of layer it is; empty for an operation.
    """

    name: str
    labels: np.ndarray
    groups: np.ndarray
    sources: tuple[int, ...]
    mixes: bool
    kind: str


def channel_steps(model: nn.Module, example_inputs: Tensor) -> list[Step]:
    """Run a model on channel labels and note each step at which the channels change.

    What leaves them as they are, such as batch norm or ReLU, is not a step.

    Examples
    --------
    >>> import torch
    >>> from prunekit.models import Fire
    >>> steps = channel_steps(Fire(3, 2, 2), torch.zeros(1, 3, 8, 8))
    >>> [step.name for step in steps]
    ['x', 'squeeze', 'expand1x1', 'expand3x3', 'cat']
    >>> steps[1].kind, steps[1].groups.tolist()
    ('1×1', [1, 2])
    """
    evaluation = on_labels(model, without_data(example_inputs))
    groups = evaluation.book.groups()
    steps: list[Step] = []
    carried: dict[fx.Node, tuple[int, ...]] = {}  # the steps whose channels a node carries
    for node in evaluation.graph.nodes:
        before = (carried.get(source, ()) for source in node.all_input_nodes)
        sources = tuple(dict.fromkeys(step for some in before for step in some))
        found = evaluation.labels.get(node)
        if not tensors_in(found):  # a size, not channels
            continue
        labels = _channels(found, example_inputs.dim())
        incoming = steps[sources[0]].labels if len(sources) == 1 else None
        if labels is None or (incoming is not None and np.array_equal(labels, incoming)):
            carried[node] = sources
            continue
        carried[node] = (len(steps),)
        moved = incoming is not None and set(labels) == set(incoming)
        name = "shuffle" if moved and node.op != "call_module" else _name(node)
        module = evaluation.modules[str(node.target)] if node.op == "call_module" else None
        mixes = isinstance(module, nn.Linear) or getattr(module, "groups", 0) == 1
        steps.append(Step(name, labels, groups[labels], sources, mixes, _kind(module)))
    return steps


def _channels(labels: object, dims: int) -> np.ndarray | None:
    """One label a channel of a tensor of shape (batch, channels, ...), if channels lie so.

    In maps, of as many dimensions as the input, and in vectors they do; not halfway in a shuffle.
    """
    if not isinstance(labels, Tensor) or labels.dim() not in (2, dims):
        return None
    first = labels[(slice(0, 1), slice(None), *(slice(0, 1),) * (labels.dim() - 2))]
    return first.flatten().numpy() if bool((labels == first).all()) else None


def _name(node: fx.Node) -> str:
    if node.op in ("call_module", "get_attr", "placeholder"):
        return str(node.target)
    if node.target is operator.getitem:
        source, part = node.args
        if isinstance(source, fx.Node) and isinstance(part, int):
            return f"{_name(source)}, part {part + 1}"
    name = node.target if isinstance(node.target, str) else node.target.__name__
    return {"add": "+", "iadd": "+", "mul": "×"}.get(name, name)


def _kind(module: nn.Module | None) -> str:
    kernel_size = getattr(module, "kernel_size", None)
    if module is None or kernel_size is None:
        return "linear" if isinstance(module, nn.Linear) else ""
    kernel = "×".join(map(str, kernel_size))
    if module.groups == 1:
        return kernel
    return f"depthwise\n{kernel}" if module.groups == module.in_channels else f"grouped\n{kernel}"
