"""What a run may do beside pruning by steps: widths in one step, alignment, grafted training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from prunekit.adversarial import align, choose
from prunekit.channels import ChannelGraph, trace
from prunekit.criteria import rank
from prunekit.execution import device_of
from prunekit.grafting import fit_grafted
from prunekit.measure import profile
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
    """The network that a study's ``align`` finds and chooses; ``candidates.csv`` has all of them.

    Raises
    ------
    ValueError
        None of them is as small as ``choose.ratio`` asks for.
    """
    given = {key: value for key, value in settings.items() if key != "choose"}
    options = {"seed": task.seed, "folder": folder, "progress": False}
    found = align(model, task.train, task.val, **given, **options)
    write_table(found.table, folder / "candidates.csv")
    x = task.example_inputs.to(device_of(model))
    how = dict(settings.get("choose", {}))
    if "ratio" in how:
        how["most_macs"] = (1 - how.pop("ratio")) * profile(model, x).macs
    best = choose(found.table, **how)
    return rebuild(found.networks[best], x, found.removals[best])


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
