"""What a pruning run did, and its files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from prunekit.channels import ChannelGraph
from prunekit.criteria.ranking import ranked_layers
from prunekit.pruning.checkpoint import Run
from prunekit.selection import Selection
from prunekit.storage import save
from prunekit.storage.files import write_table


@dataclass
class PruningHistory:
    """What :func:`prune` did.

    Attributes
    ----------
    model : nn.Module
        The pruned network.
    table : DataFrame
        A row an iteration; row 0 is the network before pruning. ``removed``
        counts filters of this iteration; ``filters``, ``parameters``,
        ``macs`` (of one example) and ``bytes`` what is left; ``accuracy_before``
        and ``accuracy_after`` are fractions on the validation set, before
        and after fine-tuning, or in their place the numbers of ``evaluate``,
        the one that decides first; ``seconds`` is the iteration's wall time. A
        budget in latency adds ``latency``, one of your own ``cost``, a schedule of criteria adds
        ``criterion``, by which the filters of the iteration were ranked.
    removed : list of Selection
        The filters of each iteration, numbered as they stood at its start. Where
        ``stopped`` is ``"accuracy"`` the last is what was tried, here and in
        ``table`` and ``pattern``: ``model`` and ``kept`` are from before it.
    pattern : DataFrame
        Filters removed: a row an iteration, a column a layer.
    stopped : str
        Why pruning ended: ``"ratio"`` was reached, ``"floor"``: nothing more
        may be removed, or ``"accuracy"`` fell by more than allowed.
    kept : dict
        For every layer of the original network by name: which of its filters
        ``model`` still has, ascending, as they were numbered there. Filter
        ``i`` of the pruned layer was filter ``kept[layer][i]``.
    example_inputs : tuple
        What the network was traced with, without data.

    Examples
    --------
    The same network from the original, in one go (where a grouped convolution
    became a depthwise one on the way, only step by step, by ``removed``):

    >>> import torch
    >>> from prunekit import profile, prune, rebuild
    >>> from prunekit.models import TinySqueezeNet
    >>> model, x = TinySqueezeNet(), torch.randn(8, 3, 32, 32)
    >>> batches = [(x, torch.arange(8))]
    >>> history = prune(model, batches, batches, "weight_l1", ratio=0.3, per_iteration=20,
    ...                 fine_tune=None, progress=False)
    >>> remove = {layer: set(range(model.get_submodule(layer).weight.shape[0])).difference(kept)
    ...           for layer, kept in history.kept.items()}
    >>> profile(rebuild(model, x, remove), x).macs == profile(history.model, x).macs
    True
    """

    model: nn.Module
    table: pd.DataFrame
    removed: list[Selection]
    pattern: pd.DataFrame
    stopped: str
    kept: dict[str, list[int]]
    example_inputs: tuple = field(repr=False)

    def save(self, folder: str | Path) -> None:
        """Write ``table.csv``, ``pattern.csv`` and ``model.safetensors``, each whole or not."""
        folder = Path(folder)
        write_table(self.table, folder / "table.csv")
        write_table(self.pattern.reset_index(), folder / "pattern.csv")
        path = folder / "model.safetensors"
        save(self.model, path, example_inputs=self.example_inputs)


def history_of(run: Run, graph: ChannelGraph) -> PruningHistory:
    """A run as its caller gets it; ``graph`` is of the network before pruning."""
    counts = [{name: len(filters) for name, filters in one.items()} for one in run.removed]
    iterations = pd.RangeIndex(1, len(counts) + 1, name="iteration")
    pattern = pd.DataFrame(counts, index=iterations, columns=ranked_layers(graph))
    return PruningHistory(
        model=run.model,
        table=pd.DataFrame(run.rows),
        removed=run.removed,
        pattern=pattern.fillna(0).astype(int),
        stopped=run.stopped,
        kept=_kept(graph, run.removed[: run.rebuilt]),
        example_inputs=graph.inputs,
    )


def _kept(graph: ChannelGraph, removed: list[Selection]) -> dict[str, list[int]]:
    """What removals, each numbered as filters stood at its start, leave of the first network."""
    kept = {name: np.arange(layer.filters) for name, layer in graph.layers.items()}
    for selection in removed:
        for name, filters in selection.items():
            kept[name] = np.delete(kept[name], filters)
    # Selections do not name layers that run in training only: they lose what these are tied to.
    gone = np.zeros(graph.count, dtype=bool)
    ranked = ranked_layers(graph)
    for name in ranked:
        gone[np.delete(graph.layers[name].groups, kept[name])] = True
    others = {name: layer.groups for name, layer in graph.layers.items() if name not in ranked}
    kept |= {name: np.flatnonzero(~gone[groups]) for name, groups in others.items()}
    return {name: filters.tolist() for name, filters in kept.items()}
