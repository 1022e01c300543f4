"""The same removal by torch-pruning, for comparison."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch_pruning
from torch import Tensor, nn

from prunekit import ChannelGraph


def remove_in_place(
    model: nn.Module, example_inputs: Tensor, graph: ChannelGraph, remove: dict[str, list[int]]
) -> None:
    """Let torch-pruning remove the filters named, and whatever it finds coupled to them.

    Each set of coupled filters is handed over once, by the first layer that
    holds it. ``graph`` tells which these are, so torch-pruning need not search.
    """
    peer = torch_pruning.DependencyGraph().build_dependency(model, example_inputs)
    gone = graph.groups_of(remove)
    gone[0] = False
    done = ~gone  # groups that need no removal any more
    for name, layer in graph.layers.items():
        module = model.get_submodule(name)
        here = [index for index, group in enumerate(layer.groups) if not done[group]]
        if not here:
            continue
        # Positions as they are now, after what earlier removals took from this layer.
        taken = gone[layer.groups] & done[layer.groups]
        positions = [index - int(taken[:index].sum()) for index in here]
        group = peer.get_pruning_group(module, _function(module), idxs=positions)
        if not peer.check_pruning_group(group):
            raise ValueError(f"torch-pruning would empty a layer with {name}")
        group.prune()
        done[layer.groups[here]] = True


def plan_and_remove(
    model: nn.Module, example_inputs: Tensor, stay: Iterable[str], share: float
) -> None:
    """The usual way with torch-pruning: score by L1 norm, select over all layers, remove.

    ``stay`` names layers that keep their filters.
    """
    torch_pruning.pruner.BasePruner(
        model,
        example_inputs,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
        global_pruning=True,
        pruning_ratio=share,
        max_pruning_ratio=0.9,
        ignored_layers=[model.get_submodule(name) for name in stay],
    ).step()


def _function(module: nn.Module):
    if isinstance(module, nn.Linear):
        return torch_pruning.prune_linear_out_channels
    if isinstance(module, nn.Conv2d) and module.groups == module.out_channels > 1:
        return torch_pruning.prune_depthwise_conv_out_channels
    return torch_pruning.prune_conv_out_channels


def sizes(model: nn.Module) -> list[torch.Size]:
    """The shapes of all parameters, to compare two results by."""
    return [parameter.shape for parameter in model.parameters()]
