"""Soft masks: a factor for each channel, learned, then folded into the batch norm before it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, fx, nn

from prunekit.channels import ChannelGraph, channel_graph
from prunekit.channels.calls import calls_by_module, modules_called, norm_behind
from prunekit.channels.kinds import BATCH_NORM
from prunekit.channels.units import Scope, is_depthwise
from prunekit.checks import checked
from prunekit.execution import device_of
from prunekit.selection import Selection
from prunekit.surgery import rebuild
from prunekit.widths import units

# Where its input is zero, a ReLU passes no gradient: a factor that is zero could never grow again,
# as one behind the ReLU can. So little more than zero is below rounding, and passes it.
BARELY = 1e-12


class SoftMasks(nn.Module):
    """A factor from zero up for each channel of a network's units, 1 at first.

    It scales what the batch norm behind a channel's layer gives. Before a
    ReLU that is the same as scaling the map behind it, and so is its gradient,
    at zero too; before any activation it can be folded into the batch norm.
    Where a depthwise convolution passes channels on, the batch norm behind
    that is meant; where several layers enter a sum, those behind all of them.

    GAL masks channels in VGG so, and in ResNets whole blocks (Lin et al.
    2019); channels in residual blocks are a reconstruction.

    Parameters
    ----------
    model
        Left as it is, as are its copies until masks are put :meth:`on`.
    graph
        What :func:`prunekit.trace` gave for this model.
    scope
        As for :func:`prunekit.widths.units`.

    Attributes
    ----------
    factors : nn.Parameter of shape (channels,)
        Of all masked channels, unit by unit.
    groups : int64 array of shape (channels,)
        The dependency group of each.
    norms : list of str
        The batch norms that are masked.

    Raises
    ------
    ValueError
        No batch norm with a scale and a shift is directly behind a layer, or
        there is no unit.

    Examples
    --------
    >>> from prunekit import trace
    >>> from prunekit.models import ResNet
    >>> model, x = ResNet(blocks=1).eval(), torch.randn(2, 3, 32, 32)
    >>> masks = SoftMasks(model, trace(model, x))
    >>> len(masks.factors), masks.norms
    (112, ['layer1.0.bn1', 'layer2.0.bn1', 'layer3.0.bn1'])
    >>> _ = masks.factors.data[:4].zero_()
    >>> with masks.on(model):
    ...     masked = model(x)
    >>> small = masks.removed(model, x)
    >>> small.layer1[0].conv1.weight.shape, torch.allclose(small(x), masked, atol=1e-5)
    (torch.Size([12, 16, 3, 3]), True)
    """

    @checked(graph=channel_graph)
    def __init__(self, model: nn.Module, graph: ChannelGraph, scope: Scope = "blocks") -> None:
        super().__init__()
        graph.refuse_another(model)
        found = units(graph, scope)
        if not found:
            raise ValueError(f"no unit of channels in scope {scope!r} can be masked")
        self.graph = graph
        self.units = found
        self.groups = np.concatenate([unit.groups for unit in found])
        self.factors = nn.Parameter(torch.ones(len(self.groups)))
        self.norms: list[str] = []
        place = np.full(graph.count, len(self.groups))  # others have a factor of 1, put behind
        place[self.groups] = np.arange(len(self.groups))
        calls = calls_by_module(graph.operations, graph.calls)
        modules = modules_called(graph.operations)  # a hook on a norm sees no call by function
        layers = dict.fromkeys(layer for unit in found for layer in unit.layers)
        for layer in layers:
            if _passed_on(graph, calls.get(layer, [])):  # not called: it runs in training only
                continue
            name = norm_behind(calls[layer], modules, model, BATCH_NORM)
            if name is None or not model.get_submodule(name).affine:
                raise ValueError(
                    f"{layer}: no batch norm with a scale is directly behind it, and masks are "
                    "folded into one: prunekit.insert_batch_norm puts one behind layers that are "
                    "called as modules"
                )
            self.norms.append(name)
            places = torch.from_numpy(place[graph.norms[name]])
            self.register_buffer(_key(name), places, persistent=False)
        self.to(device_of(model))

    def of_norm(self, norm: str) -> Tensor:
        """The factor of each channel of a batch norm."""
        padded = torch.cat([self.factors, self.factors.new_ones(1)])
        return padded[self.get_buffer(_key(norm))]

    @contextmanager
    def on(self, model: nn.Module) -> Iterator[None]:
        """Masks on a network, the one they were made for or a copy of it, for the time being."""
        with ExitStack() as stack:
            for name in self.norms:
                hook = partial(self._scale, name)
                stack.callback(model.get_submodule(name).register_forward_hook(hook).remove)
            yield

    def _scale(self, name: str, norm: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        factors = (self.of_norm(name) + BARELY).to(output.dtype)
        return output * factors.view(1, -1, *(1,) * (output.dim() - 2))

    @property
    def pruned(self) -> float:
        """The share of channels that can go, as :meth:`zeros` has it."""
        return self.zeros().groups / len(self.factors)

    def zeros(self) -> Selection:
        """The filters whose factor is zero. If all of a unit's are, its first channel stays."""
        zero = (self.factors == 0).cpu().numpy()
        start, gone = 0, []
        for unit in self.units:
            groups = unit.groups[zero[start : start + unit.width]]
            gone += groups[len(groups) == unit.width :].tolist()
            start += unit.width
        filters = {
            name: np.flatnonzero(np.isin(layer.groups, gone)).tolist()
            for name, layer in self.graph.layers.items()
        }
        return Selection({name: some for name, some in filters.items() if some}, len(gone))

    @torch.no_grad()
    def folded(self, model: nn.Module) -> nn.Module:
        """A copy of a network whose batch norms scale by the masks themselves."""
        folded = copy.deepcopy(model)
        for name in self.norms:
            norm = folded.get_submodule(name)
            norm.get_parameter("weight").mul_(self.of_norm(name))
            norm.get_parameter("bias").mul_(self.of_norm(name))
        return folded

    def removed(self, model: nn.Module, example_inputs: Tensor) -> nn.Module:
        """The network with its masks folded in, and without the channels whose factor is zero.

        Raises
        ------
        ValueError
            On the example inputs it does not compute what the masked network
            does: an activation behind a batch norm makes something of zero.
        """
        folded = self.folded(model)
        small = rebuild(folded, self.graph, self.zeros())
        with torch.inference_mode():
            ours, theirs = (copy.deepcopy(one).eval()(example_inputs) for one in (small, folded))
        if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max())):
            raise ValueError(
                "without its zero channels the network computes something else: an activation "
                "behind a masked batch norm does not keep zero at zero, as a sigmoid does not"
            )
        return small


def _key(norm: str) -> str:
    return "at_" + norm.replace(".", "/")


def _passed_on(graph: ChannelGraph, calls: list[fx.Node]) -> bool:
    """Whether nothing but a depthwise convolution reads what a layer gives."""
    readers = [_only_reader(call, graph) for call in calls]
    return all(reader is not None and is_depthwise(graph, reader) for reader in readers)


def _only_reader(node: fx.Node, graph: ChannelGraph) -> str | None:
    """The next layer, if all that a node gives goes there and nowhere else."""
    while len(node.users) == 1:
        node = next(iter(node.users))
        if (layer := graph.calls.get(node.name)) in graph.layers:
            return layer
    return None
