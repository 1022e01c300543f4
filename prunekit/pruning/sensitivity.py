"""How much accuracy each unit of coupled layers stands to lose, pruned alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from prunekit.channels import ChannelGraph, trace
from prunekit.channels.units import Unit, units
from prunekit.checks import checked, flag, folder, module, number, optional, shown, whole
from prunekit.checks.batches import Batches, first_batch, repeatable
from prunekit.criteria.ranking import AnyCriterion, rank, ranked_layers
from prunekit.criteria.registry import lookup
from prunekit.execution import device_of
from prunekit.progress import bar
from prunekit.pruning.budgets import left
from prunekit.pruning.schedule import described
from prunekit.selection import Selection, select
from prunekit.storage.files import read_state, write_tensors
from prunekit.storage.fingerprints import digest_of, digest_of_data, form_of
from prunekit.storage.generators import seed_generators, seeded
from prunekit.surgery import rebuild
from prunekit.training import Interrupted, evaluate

SCAN = "sensitivity.safetensors"
COLUMNS = ["filters", "parameters", "macs", "accuracy"]
_TIED = "its filters are tied to the model's input or output, or to a size that its code writes"
_TRAINING = "it runs in training only"
_LAST = "it has no channel to spare: its filters can only go all together"


def _shares(name: str, value: object) -> list[float]:
    """Shares that rise, none twice."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of shares, as in (0.25, 0.5), not {shown(value)}")
    found = sorted({number(f"a share in {name}", one, above=0, below=1) for one in value})
    if not found:
        raise ValueError(f"{name} is empty: name one share or more, as in (0.25, 0.5)")
    return found


@dataclass(frozen=True)
class Sensitivity:
    """What :func:`sensitivity` found.

    Attributes
    ----------
    table : DataFrame
        A row for each unit, in order of execution, and share. ``unit`` is the
        first layer that makes its channels, ``layers`` names all that lose
        filters with it. ``share`` of its channels were to go, and ``kept`` are
        left. ``filters``, ``parameters`` and ``macs`` (of one example) are what
        is left of the whole network, ``accuracy`` is its fraction, and
        ``accuracy_lost`` how much lower that is than the unpruned network's.
    unpruned : dict
        ``filters``, ``parameters``, ``macs`` and ``accuracy`` of the whole network.
    fixed : dict
        What cannot be pruned, layers and units by name: why not.
    """

    table: pd.DataFrame
    unpruned: dict[str, Any]
    fixed: dict[str, str]


@checked(
    model=module,
    loader=repeatable,
    shares=_shares,
    train_loader=optional(repeatable),
    seed=partial(whole, least=-(2**63), below=2**63),
    folder=optional(folder),
    progress=flag,
)
def sensitivity(
    model: nn.Module,
    loader: Batches,
    criterion: AnyCriterion = "weight_l1",
    shares: Sequence[float] = (0.25, 0.5, 0.75),
    *,
    train_loader: Batches | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Sensitivity:
    """Prune each unit of coupled layers alone, and see what accuracy is left (Li et al. 2017, 3.1).

    Channels that are coupled, as by a residual sum, go together: a scan of
    one layer that leaves its partners alone tells of a network that cannot
    be built. Each network is judged as it stands after the removal: nothing
    is trained or corrected in between.

    Parameters
    ----------
    model
        Left untouched.
    loader
        Validation batches ``(x, y)``, passed over once for each network.
    criterion
        As for :func:`prunekit.rank`. It ranks once, in the unpruned network.
    shares
        Of a unit's channels, what is to go; each to the nearest whole channel,
        yet one goes and one stays at least.
    train_loader
        Batches to rank on, where the criterion looks at data; those of
        ``loader`` by default.
    seed
        Of the generators of torch, NumPy and Python as filters are ranked, and
        anew as each network is judged. Afterwards they are as they were before.
    folder
        Where each row is written as it is known. A scan with the same model,
        data and settings that finds one there goes on from it, as a run of
        :func:`prunekit.prune` does.
    progress
        Whether to show a bar over the networks, where there is a terminal or
        a notebook.

    Raises
    ------
    ValueError, TypeError
        A share does not lie between 0 and 1, no filter may be removed, outputs
        or labels are not those of a classifier, or ``folder`` holds a scan
        with other settings or a damaged file, which is left as it was.
    TraceError
        The model cannot be traced.
    Interrupted
        Ctrl-C. Its ``history`` is the :class:`Sensitivity` so far.

    Examples
    --------
    >>> import torch
    >>> from torchvision.models.resnet import BasicBlock, ResNet
    >>> model = ResNet(BasicBlock, [1, 1, 0, 0], num_classes=8)
    >>> batches = [(torch.randn(8, 3, 32, 32), torch.arange(8))]
    >>> scan = sensitivity(model, batches, shares=[0.5], progress=False)
    >>> scan.table.set_index("unit")["layers"]["layer2.0.conv2"]
    ('layer2.0.conv2', 'layer2.0.downsample.0')
    >>> list(scan.fixed)
    ['fc']
    """
    lookup(criterion)
    example_inputs = first_batch("loader", loader)[0][:2].to(device_of(model))
    graph = trace(model, example_inputs)
    layers = ranked_layers(graph)
    ranked_on = loader if train_loader is None else train_loader
    file: Path | None = None
    settings: dict[str, Any] = {}
    if folder is not None:
        file = Path(folder) / SCAN
        settings = {
            "criterion": described(criterion),
            "shares": list(shares),
            "seed": seed,
            "starting_weights": digest_of(model),
            "network": form_of(model),
            "data": digest_of_data(loader, "loader"),
            "ranked_on": digest_of_data(ranked_on, "train_loader"),
        }

    def judged(network: nn.Module) -> dict[str, Any]:
        counted: dict[str, Any] = dict(left(network, layers, example_inputs))
        seed_generators(seed)  # each alike, whichever were judged before
        counted["accuracy"] = evaluate(network, loader).accuracy
        return {column: counted[column] for column in COLUMNS}

    record = None
    if file is not None and file.is_file():
        record, _ = read_state(file, settings, "prunekit-sensitivity", "scan of sensitivity")
    with seeded(seed):
        ranking = rank(model, ranked_on, criterion, graph=graph, progress=progress)
        found = units(graph, "everywhere")
        if record is None:
            unpruned, rows = judged(model), []
        else:
            unpruned, rows = record["unpruned"], record["rows"]
        fixed = _fixed(graph, found)
        done = {(row["unit"], row["share"]) for row in rows}
        free = [unit for unit in found if unit.name not in fixed]
        missing = [one for one in product(free, shares) if (one[0].name, one[1]) not in done]
        result = partial(_result, unpruned, rows, found, fixed)
        try:
            for unit, share in bar(missing, show=progress, desc="sensitivity", unit="network"):
                small = rebuild(model, graph, _lowest(ranking, unit, share))
                row = {"unit": unit.name, "layers": unit.layers, "share": share}
                rows.append(row | judged(small))
                if file is not None:
                    record = {"settings": settings, "unpruned": unpruned, "rows": rows}
                    write_tensors({}, file, {"prunekit-sensitivity": json.dumps(record)})
        except KeyboardInterrupt as error:
            message = f"the scan of sensitivity was interrupted after {len(rows)} networks"
            raise Interrupted(message, result()) from error
    return result()


def _result(
    unpruned: dict[str, Any], rows: list[dict[str, Any]], found: list[Unit], fixed: dict[str, str]
) -> Sensitivity:
    table = pd.DataFrame(rows, columns=["unit", "layers", "share", *COLUMNS])
    table["layers"] = table["layers"].map(tuple)  # JSON knows lists only
    widths = {unit.name: unit.width for unit in found}
    pairs = zip(table["unit"].map(widths), table["share"], strict=True)
    table.insert(3, "kept", [width - _going(width, share) for width, share in pairs])
    table["accuracy_lost"] = unpruned["accuracy"] - table["accuracy"]
    return Sensitivity(table, unpruned, fixed)


def _fixed(graph: ChannelGraph, found: list[Unit]) -> dict[str, str]:
    """What no share can be taken of, and why, in order of execution."""
    in_units = {layer for unit in found for layer in unit.layers}
    seen = set(graph.maps.values())
    reasons = {
        name: _TIED if name in seen else _TRAINING for name in graph.layers if name not in in_units
    }
    return reasons | {unit.name: _LAST for unit in found if unit.width == 1}


def _lowest(ranking: pd.DataFrame, unit: Unit, share: float) -> Selection:
    of_unit = ranking[ranking["group"].isin(unit.groups)]
    return select(of_unit, _going(unit.width, share), min_filters=1)


def _going(width: int, share: float) -> int:
    return min(max(1, round(share * width)), width - 1)
