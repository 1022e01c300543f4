"""Every classification network of torchvision: traced, ranked, pruned, rebuilt, run, trained.

Resumes: a network whose row stands in the table already is passed over, unless it is named.
"""

from __future__ import annotations

import argparse
import copy
import json

import pandas as pd
import torch
import torch.nn.functional as F
from common import RESULTS, current_commit, in_process, record, timed
from networks import build
from peer import remove_in_place, sizes
from torch import Tensor, nn
from torchvision import models

from prunekit import ChannelGraph, mask, rank, rebuild, select, trace
from prunekit.selection import Selection

SHARES = (0.3, 0.6)
LAW = 1e-4
CLASSES = 10
# Small images, so that the zoo ends in an hour; these networks ask for more.
PIXELS = 64
LARGER = {"inception_v3": 128, "alexnet": 64, "vit": 224, "swin": 64, "maxvit": 224}
# Networks that need more than 15 GB in float64.
TOO_LARGE = {"regnet_y_128gf", "vit_h_14", "vit_l_16", "vit_l_32"}
PEER_SECONDS = 300
RENAME = {True: "yes", False: "no"}


def names() -> list[str]:
    return [name for name in models.list_models(module=models) if name not in TOO_LARGE]


def pixels(name: str) -> int:
    return next((size for start, size in LARGER.items() if name.startswith(start)), PIXELS)


def prepared(name: str) -> tuple[nn.Module, Tensor]:
    """A network in float64 with batch statistics of a trained network's kind."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build(name, CLASSES).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return model, torch.randn(2, 3, pixels(name), pixels(name), dtype=torch.double)


def lowest(ranking: pd.DataFrame, share: float) -> Selection:
    """The groups of lowest score that hold ``share`` of the filters, as far as floors allow."""
    groups = ranking.groupby("group").agg(score=("score", "mean"), filters=("score", "size"))
    held = groups.sort_values("score")["filters"].cumsum()
    count = max(1, int((held <= share * len(ranking)).sum()))
    while True:
        try:
            return select(ranking, count)
        except ValueError:
            count = count * 9 // 10
            if not count:
                raise


def largest_difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-12)).item()


def case(name: str) -> dict[str, object]:
    model, x = prepared(name)
    seconds, graph = timed(lambda: trace(model, x))
    row: dict[str, object] = {
        "model": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "layers": len(graph.layers),
        "prunable_filters": sum(int((layer.groups > 0).sum()) for layer in graph.layers.values()),
        "groups": graph.count - 1,
        "trace_s": seconds,
    }
    ranking = rank(model, [(x, torch.arange(2))], "taylor")
    differences = []
    for share in SHARES:
        remove = lowest(ranking, share)
        seconds, small = timed(lambda: rebuild(model, x, remove))  # noqa: B023
        with torch.inference_mode():
            differences.append(largest_difference(small(x), mask(model, x, remove)(x)))
        # Batch statistics of two images with one pixel each are no statistics: evaluation mode.
        F.cross_entropy(small(x), torch.arange(2)).backward()
        if not all(p.grad is None or p.grad.isfinite().all() for p in small.parameters()):
            raise ValueError("a gradient is not finite")
        percent = round(100 * share)
        row[f"filters_removed_{percent}"] = remove.filters / len(ranking)
        row[f"parameters_left_{percent}"] = (
            sum(p.numel() for p in small.parameters()) / row["parameters"]
        )
        row[f"rebuild_{percent}_s"] = seconds
    row["difference"] = max(differences)
    if row["difference"] > LAW:
        raise ValueError(f"the first law is broken: a difference of {row['difference']:.2g}")
    return row


def peer_case(name: str) -> dict[str, object]:
    """The removal of 30 % by torch-pruning: its time, and whether it cut the same."""
    model, x = prepared(name)
    graph = trace(model, x)
    remove = lowest(rank(model, [(x, torch.arange(2))], "taylor"), SHARES[0])
    small = rebuild(model, x, remove)
    seconds, agrees = _by_peer(copy.deepcopy(model), small, x, graph, remove)
    return {"torch_pruning_s": seconds, "torch_pruning_agrees": RENAME[agrees]}


def _by_peer(
    model: nn.Module, small: nn.Module, x: Tensor, graph: ChannelGraph, remove: Selection
) -> tuple[float, bool]:
    seconds, _ = timed(lambda: remove_in_place(model, x, graph, remove))
    with torch.inference_mode():
        agrees = sizes(model) == sizes(small) and largest_difference(model(x), small(x)) < LAW
    return seconds, agrees


def run(name: str) -> dict[str, object]:
    row = in_process(__file__, "--case", name)
    if "error" not in row:
        peer = in_process(__file__, "--peer", name, timeout=PEER_SECONDS)
        row |= {"torch_pruning_error": peer["error"][:120]} if "error" in peer else peer
    return {"model": name} | row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="run these again")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case or options.peer:
        print(json.dumps(case(options.case) if options.case else peer_case(options.peer)))
        return
    commit, path = current_commit(), RESULTS / "zoo.csv"
    rows = {}
    if path.is_file():
        table = pd.read_csv(path)
        rows = {row["model"]: row for row in table.to_dict("records")}
    wanted = options.models or [name for name in names() if name not in rows]
    # The smallest first, so that the table is nearly whole early.
    for name in sorted(
        wanted,
        key=lambda name: (
            name.startswith(("swin", "vit", "maxvit")),
            "large" in name or "gf" in name,
            name,
        ),
    ):
        rows[name] = run(name)
        ordered = [rows[name] for name in sorted(rows)]
        record(ordered, "zoo", commit, shares=SHARES, law=LAW, classes=CLASSES, pixels=PIXELS)
    failures = [row for row in rows.values() if isinstance(row.get("error"), str)]
    print(f"{len(rows)} networks, {len(failures)} failures")


if __name__ == "__main__":
    main()
