"""What a run may do beside pruning by steps: widths in one step, alignment, grafted training."""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from prunekit.adversarial import align, choose
from prunekit.channels import ChannelGraph, trace
from prunekit.channels.units import Scope
from prunekit.criteria import rank
from prunekit.execution import device_of
from prunekit.grafting import fit_grafted
from prunekit.measure import profile
from prunekit.pruning.budgets import left_after
from prunekit.selection import removable, select
from prunekit.storage.files import write_table
from prunekit.study.declaration import ALLOCATE, MAGNITUDES
from prunekit.study.tasks import Task
from prunekit.surgery import rebuild
from prunekit.widths import (
    abnormal_richness,
    allocate,
    layer_entropies,
    mean_magnitudes,
    select_widths,
    units,
)

RANK_BATCHES = 8


def narrowed(model: nn.Module, task: Task, settings: Mapping[str, Any]) -> nn.Module:
    """The network at the widths that a study's ``widths`` ask for."""
    x = task.example_inputs.to(device_of(model))
    graph = trace(model, x)
    values = unit_values(model, graph, settings, task.seed)
    given = {key: value for key, value in settings.items() if key in ALLOCATE}
    kept = allocate(model, x, values, **given)["kept"]
    criterion = settings.get("keep", "weight_l1")
    given = {key: value for key, value in task.options.items() if key == "loss"}
    ranking = rank(model, task.train, criterion, batches=RANK_BATCHES, progress=False, **given)
    return rebuild(model, graph, select_widths(ranking, kept, graph))


def unit_values(
    model: nn.Module, graph: ChannelGraph, settings: Mapping[str, Any], seed: int
) -> pd.Series:
    """The value by which each unit's width is allocated; ``seed`` permutes, if no draw is given."""
    scope = settings.get("scope", "blocks")
    entropies = layer_entropies(model, graph, scope)
    match settings["values"]:
        case "uniform":
            return pd.Series(1.0, entropies.index)
        case "reversed":
            return 1 / entropies
        case "permuted":
            generator = np.random.default_rng(settings.get("draw", seed))
            return pd.Series(generator.permutation(entropies), entropies.index)
        case "richness":
            given = settings.get("richness", {})
            of_norms = {key: value for key, value in given.items() if key in MAGNITUDES}
            fused = {key: value for key, value in given.items() if key not in MAGNITUDES}
            magnitudes = mean_magnitudes(model, graph, scope, **of_norms)
            return abnormal_richness(entropies, magnitudes, **fused)["richness"]
    return entropies


def aligned(model: nn.Module, task: Task, settings: Mapping[str, Any], folder: Path) -> nn.Module:
    """The network that a study's ``align`` finds and chooses, cut to the share that it asks for.

    ``candidates.csv`` has those of all penalties, and says which was chosen.

    Raises
    ------
    ValueError
        All of them have lost more than ``choose.ratio`` of the MACs, or what
        is masked does not cost so much.
    """
    given = {key: value for key, value in settings.items() if key not in ("choose", "penalty")}
    options = {"seed": task.seed, "progress": False}
    said = settings.get("penalty")
    penalties = said if isinstance(said, list) else [said]
    tables, networks, removals = [], [], []
    for place, penalty in enumerate(penalties):
        its = folder / f"alignment-{place}"
        one = align(model, task.train, task.val, **given, **options, penalty=penalty, folder=its)
        tables.append(one.table.assign(penalty=penalty))
        networks += one.networks
        removals += one.removals
    table = pd.concat(tables, ignore_index=True)
    how = settings.get("choose", {})
    x = task.example_inputs.to(device_of(model))
    most = (1 - how.get("ratio", 0.0)) * profile(model, x).macs
    allowed = table[table["macs"] >= most] if "ratio" in how else table
    if allowed.empty:
        raise ValueError(
            f"every candidate has lost more than {how['ratio']:.1%} of the MACs: lower the penalty"
        )
    best = allowed.index[choose(allowed, how.get("rule", "harmonic"))]
    write_table(table.assign(chosen=table.index == best), folder / "candidates.csv")
    small = rebuild(networks[best], x, removals[best])
    return cut(small, task, settings.get("scope", "blocks"), most) if "ratio" in how else small


def cut(model: nn.Module, task: Task, scope: Scope, macs: float) -> nn.Module:
    """A network without so many channels, lowest scale first, that at most so many MACs are left.

    The scales are those of batch norms into which masks are folded, over all
    units of the scope, as Liu et al. (2017) cut.
    """
    x = task.example_inputs.to(device_of(model))
    graph = trace(model, x)
    masked = np.concatenate([unit.groups for unit in units(graph, scope)])
    ranking = rank(model, task.train, "bn_scale", batches=1, progress=False)
    ranking = ranking[ranking["group"].isin(masked)]
    left = left_after(model, x, "macs")
    if left({}) <= macs:
        return model
    counts = range(1, removable(ranking).groups + 1)
    fewest = 1 + bisect_left(counts, True, key=lambda count: left(select(ranking, count)) <= macs)
    return rebuild(model, graph, select(ranking, fewest))


def grafted(
    model: nn.Module, task: Task, settings: Mapping[str, Any], folder: Path
) -> tuple[nn.Module, pd.DataFrame]:
    """The best on validation of the networks that a study's ``graft`` trains, at the last epoch.

    All begin as copies of ``model``. The table, also ``grafting.csv``, has a
    row for each and epoch.
    """
    given = {key: value for key, value in settings.items() if key != "networks"}
    networks = [copy.deepcopy(model) for _ in range(settings.get("networks", 2))]
    options = {"seed": task.seed, "folder": folder, "progress": False}
    table = fit_grafted(networks, task.train, task.val, **given, **options)
    write_table(table, folder / "grafting.csv")
    last = table.tail(len(networks))
    return networks[int(last["network"].iloc[last["val_accuracy"].argmax()])], table
