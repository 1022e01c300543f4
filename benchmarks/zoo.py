"""Every classification network of torchvision: traced, ranked, pruned, rebuilt, run, trained.

The smallest first, and each row is written as it comes. A row made with the same settings and
versions is not made again, so a run that was stopped goes on where it was. Name networks to run
these only, and again.
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from common import current_commit, forked, record, recorded, show, timed
from networks import build
from peer import remove_in_place, sizes
from torch import Tensor, nn
from torchvision import models

import prunekit.models
from prunekit import mask, rank, rebuild, select, trace
from prunekit.selection import Selection

SHARES = (0.3, 0.6)
LAW = 1e-4
NEGLIGIBLE = 1e-3
CLASSES = 10
# Small images, so that the zoo ends in an hour; these networks ask for more.
PIXELS = 64
LARGER = {"inception_v3": 299, "vit": 224, "maxvit": 224}
CALIBRATION = 8
# Seven tenths of this machine's memory.
GIGABYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 7 // 10 >> 30
# In float64: the network, and the small one, hardly smaller for a transformer, with its gradients.
BYTES_A_PARAMETER = 3 * 8
SECONDS = {"prunekit": 900, "torch-pruning": 60}
SETTINGS: dict[str, Any] = {
    **{"shares": list(SHARES), "law": LAW, "classes": CLASSES, "pixels": PIXELS, "larger": LARGER},
    "calibration": CALIBRATION,
}


def parameters(name: str) -> int:
    """Of the network for ImageNet, as torchvision states it."""
    return models.get_model_weights(name).DEFAULT.meta["num_params"]


def pixels(name: str) -> int:
    return next((size for start, size in LARGER.items() if name.startswith(start)), PIXELS)


def prepared(name: str) -> tuple[nn.Module, Tensor]:
    """A network in float64 whose scores depend on all of it, and images."""
    torch.manual_seed(0)
    model, size = build(name, CLASSES).double().eval(), pixels(name)
    x = torch.randn(CALIBRATION, 3, size, size, dtype=torch.double)
    return settled(model, x), torch.randn(2, 3, size, size, dtype=torch.double)


def settled(model: nn.Module, x: Tensor) -> nn.Module:
    """The network, with numbers in it as after training.

    Batch norms take their statistics from noise, as a trained network's would from images: with
    others the signal dies on its way, and with it the filters. ViT's last weights begin at zero
    and ConvNeXt's scales at a millionth: what such numbers multiply would not show either.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = 1.0
    if norms:
        with torch.inference_mode():
            model(x)
    model.eval()
    for parameter in model.parameters():
        if parameter.dim() > 1 and parameter.abs().max() < NEGLIGIBLE:
            nn.init.normal_(parameter, 0, 0.3)
    return model


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


def case(name: str) -> dict[str, Any]:
    model, x = prepared(name)
    seconds, graph = timed(lambda: trace(model, x))
    row: dict[str, Any] = {
        "model": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "layers": len(graph.layers),
        "prunable_filters": sum(int((layer.groups > 0).sum()) for layer in graph.layers.values()),
        "groups": graph.count - 1,
        "trace_s": seconds,
    }
    ranking = rank(model, [(x, torch.arange(2))], "taylor")
    done = {round(100 * share): pruned(model, x, ranking, share) for share in SHARES}
    for percent, fields in done.items():
        row |= {name.format(percent): value for name, value in fields.items()}
    row["difference"] = max(row.pop(f"difference_{percent}") for percent in done)
    if row["difference"] > LAW:
        raise ValueError(f"the first law is broken: a difference of {row['difference']:.2g}")
    if row[f"effect_{max(done)}"] < 10 * LAW:
        raise ValueError("the largest removal does not show in the scores: the law is not tested")
    return row


def pruned(model: nn.Module, x: Tensor, ranking: pd.DataFrame, share: float) -> dict[str, float]:
    """What the removal of a share of the filters does. No network is kept: memory is short."""
    remove = lowest(ranking, share)
    with torch.inference_mode():
        expected = mask(model, x, remove)(x)
        effect = largest_difference(expected, model(x))
    seconds, small = timed(lambda: rebuild(model, x, remove))
    with torch.inference_mode():
        difference = largest_difference(small(x), expected)
    # Batch statistics of two images with one pixel each are no statistics: evaluation mode.
    F.cross_entropy(small(x), torch.arange(2)).backward()
    if not all(p.grad is None or p.grad.isfinite().all() for p in small.parameters()):
        raise ValueError("a gradient is not finite")
    counts = [sum(p.numel() for p in one.parameters()) for one in (small, model)]
    return {
        "filters_removed_{}": remove.filters / len(ranking),
        "effect_{}": effect,
        "parameters_left_{}": counts[0] / counts[1],
        "rebuild_{}_s": seconds,
        "difference_{}": difference,
    }


def peer_case(name: str) -> dict[str, Any]:
    model, x = prepared(name)
    ranking = rank(model, [(x, torch.arange(2))], "taylor")
    return by_peer(model, x, lowest(ranking, SHARES[0]))


def by_peer(model: nn.Module, x: Tensor, remove: Selection) -> dict[str, Any]:
    """A removal by torch-pruning: its time, and whether it cut the same."""
    graph, small, model = trace(model, x), rebuild(model, x, remove), copy.deepcopy(model)
    seconds, _ = timed(lambda: remove_in_place(model, x, graph, remove))
    with torch.inference_mode():
        agrees = sizes(model) == sizes(small) and largest_difference(model(x), small(x)) < LAW
    return {"torch_pruning_s": seconds, "torch_pruning_agrees": "yes" if agrees else "no"}


def run(name: str) -> dict[str, Any]:
    needed = BYTES_A_PARAMETER * parameters(name) / 2**30
    if needed > GIGABYTES:
        return {"left_out": f"needs about {needed:.0f} GB in float64, more than {GIGABYTES} GB"}
    row = forked(case, name, SECONDS["prunekit"], GIGABYTES)
    if "error" in row:
        short_of_memory = row["error"].startswith("needs more than")
        return {"left_out": row["error"]} if short_of_memory else row
    return row | asked_of_peer(peer_case, name)


def asked_of_peer(case: Callable[[str], dict[str, Any]], name: str) -> dict[str, Any]:
    """The fields of torch-pruning's attempt, in a process of its own; its error is one."""
    peer = forked(case, name, SECONDS["torch-pruning"], GIGABYTES)
    return {"torch_pruning_error": peer["error"]} if "error" in peer else peer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="run these only, and again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # The first trace of a process imports parts of torch; no network is to be charged for it.
    rebuild(prunekit.models.TinySqueezeNet(), torch.zeros(1, 3, 32, 32), {"features.0": [0]})
    commit, rows = current_commit(), recorded("zoo", SETTINGS)
    known = sorted(models.list_models(module=models), key=parameters)
    if unknown := set(options.models) - set(known):
        parser.error(f"torchvision has no network {', '.join(sorted(unknown))}")
    for name in [name for name in known if name in (options.models or set(known) - set(rows))]:
        rows[name] = {"model": name} | run(name) | {"commit": commit}
        ordered = [rows[name] for name in known if name in rows]
        record(ordered, "zoo", commit, **SETTINGS)
    show([rows[name] for name in known if name in rows])
    failed = [name for name, row in rows.items() if "error" in row]
    print(f"{len(rows)} of {len(known)} networks, {len(failed)} failures: {', '.join(failed)}")


if __name__ == "__main__":
    main()
