"""Accuracy at equal MACs, nothing trained in between, by how the widths were chosen.

The same criterion says which filters of a layer go; what differs is how many go from where: by
score over all layers, by score for each MAC (``cost_aware``), or down to the widths of a knapsack,
over scores or over a scan of sensitivity. All of it is one iteration of ``prune``, which a knapsack
enters as ``min_filters``. Ranking, scan and repair see images of the training set.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from common import current_commit, in_process, record, show

from prunekit import ChannelGraph, Selection, load, profile, prune, rank, repair, sensitivity, trace
from prunekit.book import BOOK
from prunekit.data import Loader, load_dataset
from prunekit.models import CIFAR_MODELS, squeezenet
from prunekit.training import evaluate
from prunekit.widths import knapsack, select_widths, width_table


@dataclass(frozen=True)
class Setting:
    """``start`` is a network recorded under book/results."""

    start: str
    pixels: int
    criterion: str = "taylor"
    ratios: tuple[float, ...] = (0.3, 0.5)
    shares: tuple[float, ...] = (0.25, 0.5, 0.75)
    batch: int = 128
    batches: int = 4  # of the training set, to rank and repair on
    scan_batches: int = 2  # of these, to scan on
    val_batches: int = 16


SETTINGS = {
    "squeezenet": Setting("base_48px/base_48px-seed0", 48),
    # Ten times the operations, so fewer pictures.
    "mobilenet_v2": Setting(
        "mobilenet_v2/mobilenet_v2-seed0",
        32,
        ratios=(0.3,),
        batches=2,
        scan_batches=1,
        val_batches=4,
    ),
}
ALL_FILTERS = 10**6


def case(name: str) -> list[dict[str, Any]]:
    setting = SETTINGS[name]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = load_dataset("cifar10", stand_in=False)
    model = ({"squeezenet": squeezenet} | CIFAR_MODELS)[name](len(data.classes))
    load(BOOK / "results" / setting.start / "model.safetensors", into=model).float()
    # Shuffled, validation too: pictures lie in folders, a class after the other.
    train, val = (
        Loader(part, setting.batch, size=setting.pixels, shuffle=True)
        for part in (data.train, data.val)
    )
    seen, judged = list(islice(train, setting.batches)), list(islice(val, setting.val_batches))
    x = seen[0][0][:2]
    before = evaluate(model, judged).accuracy
    ranking = rank(model, seen, setting.criterion, progress=False)
    graph = trace(model, x)

    few = seen[: setting.scan_batches]
    scan = sensitivity(
        model, few, setting.criterion, setting.shares, train_loader=seen, progress=False
    )
    tables = {
        "knapsack over scores": width_table(ranking, model, x),
        "knapsack over sensitivity": scan.table.rename(
            columns={"accuracy_lost": "lost", "macs": "cost"}
        ),
    }
    rows = []
    for ratio in setting.ratios:
        ways: dict[str, dict[str, Any]] = {"scores": {}, "cost_aware": {"cost_aware": True}}
        for way, table in tables.items():
            kept = knapsack(table, model, x, ratio)["kept"]
            gone = select_widths(ranking, kept, graph)
            ways[way] = {"min_filters": floors(graph, gone)}
        for way, settings in ways.items():
            small = prune(
                model,
                seen,
                seen[:1],  # prune wants to measure on something
                setting.criterion,
                ratio,
                ALL_FILTERS,
                budget="macs",
                fine_tune=None,
                progress=False,
                **settings,
            )
            repaired = repair(small.model, model, removed(graph, small.kept), seen, progress=False)
            cost, whole = profile(small.model, x[:1]), profile(model, x[:1])
            rows.append(
                {
                    "model": name,
                    "ratio": ratio,
                    "widths": way,
                    "macs_left": cost.macs / whole.macs,
                    "parameters_left": cost.parameters / whole.parameters,
                    "accuracy_before": before,
                    "accuracy": evaluate(small.model, judged).accuracy,
                    "accuracy_repaired": evaluate(repaired, judged).accuracy,
                }
            )
    return rows


def floors(graph: ChannelGraph, gone: Selection) -> dict[str, int]:
    """What each layer keeps, as ``min_filters`` takes it."""
    return {layer: of.filters - len(gone.get(layer, ())) for layer, of in graph.prunable.items()}


def removed(graph: ChannelGraph, kept: dict[str, list[int]]) -> dict[str, list[int]]:
    return {
        layer: gone
        for layer, some in kept.items()
        if (gone := sorted({*range(graph.layers[layer].filters)}.difference(some)))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(SETTINGS), help=f"of {list(SETTINGS)}")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps({"rows": case(options.case)}))
        return
    settings = {name: asdict(SETTINGS[name]) for name in options.models}
    commit, rows = current_commit(), []
    for name in options.models:
        done = in_process(__file__, "--case", name, timeout=3 * 3600)
        if "error" in done:
            raise SystemExit(f"{name}: {done['error']}")
        rows += done["rows"]
        record(rows, "widths", commit, **settings)
    show(rows)


if __name__ == "__main__":
    main()
