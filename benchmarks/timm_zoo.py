"""One convolutional network of each file of timm: pruned with the law checked, or why not.

The smallest of the networks that a file makes, if it has at most 40 million parameters
(``timm_networks.csv`` lists them), with random weights, at the smallest picture it takes. A row
made with the same settings and versions is not made again. Name networks to run these only, and
again.

Needs the extra ``timm``.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import timm
import torch
from common import current_commit, forked, record, recorded, show, timed
from torch import Tensor, nn
from zoo import LAW, NEGLIGIBLE, asked_of_peer, by_peer, largest_difference, lowest, settled

import prunekit
from prunekit import ChannelGraph, mask, rank, rebuild, trace
from prunekit.models import TinySqueezeNet

LISTED = Path(__file__).with_name("timm_networks.csv")
SHARE = 0.3
CLASSES = 10
PIXELS = (64, 96, 128, 160, 192, 224, 256, 288)
ROUNDING = 1e-12  # a copy lies elsewhere in memory, and products then sum in another order
SECONDS, GIGABYTES = 300, 8
PACKAGES = ("torch", "timm", "torch-pruning")
SETTINGS: dict[str, Any] = {"share": SHARE, "law": LAW, "classes": CLASSES, "pixels": list(PIXELS)}
# What a row can say of a network. Only the first is good, and only the last two are our errors.
OUTCOMES = ("pruned", "frozen", "refused", "left out", "wrong", "crashed")


def prepared(name: str) -> tuple[nn.Module, Tensor]:
    """A network in float64 and the smallest pictures that it takes."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=CLASSES).double().eval()
    about = model.pretrained_cfg
    for part, parameter in model.named_parameters():
        # Norms that begin at zero and scales at a millionth would hide what they multiply.
        if not part.endswith("bias") and parameter.abs().max() < NEGLIGIBLE:
            nn.init.normal_(parameter, 0, 0.3)
    channels, *_, own = about["input_size"]
    for size in (own,) if about.get("fixed_input_size") else PIXELS:
        x = torch.randn(2, channels, size, size, dtype=torch.double)
        try:
            with torch.inference_mode():
                model(x)
        except (RuntimeError, ValueError, AssertionError) as error:  # too small, or of another grid
            reason = error
            continue
        return settled(model, x), x
    raise ValueError(f"does not run at {size} pixels: {reason}")


def case(name: str) -> dict[str, Any]:
    try:
        model, x = prepared(name)
    except ValueError as error:
        return {"outcome": "left out", "reason": str(error)}
    row: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters())}
    row["pixels"] = x.shape[-1]
    try:
        row["trace_s"], graph = timed(lambda: trace(model, x))
    except prunekit.TraceError as error:
        return row | {"outcome": "refused", "reason": " ".join(str(error).split())}
    row["prunable"] = prunable(graph)
    if not graph.prunable:
        return row | {"outcome": "frozen", "reason": "every filter must stay"}
    remove = lowest(rank(model, [(x, torch.arange(2))], "weight_l1"), SHARE)
    row["rebuild_s"], small = timed(lambda: rebuild(model, x, remove))
    with torch.inference_mode():
        expected, before = mask(model, x, remove)(x), model(x)
        row["difference"] = largest_difference(small(x), expected)
        row["effect"] = largest_difference(expected, before)
        same = all(
            largest_difference(one(model, x, {})(x), before) < ROUNDING for one in (rebuild, mask)
        )
        same = same and largest_difference(graph.bound_to(model)(x), before) < ROUNDING
        other = torch.randn(1, *x.shape[1:], dtype=x.dtype)
        row["other_difference"] = largest_difference(small(other), mask(model, x, remove)(other))
    counts = [sum(p.numel() for p in one.parameters()) for one in (small, model)]
    row["parameters_left"] = counts[0] / counts[1]
    if row["effect"] < 10 * LAW:
        row["reason"] = "the removal does not show in the scores: the law is not tested"
    held = all(row[one] <= LAW for one in ("difference", "other_difference"))  # NaN is not
    wrong = not (same and held)
    return row | {"outcome": "wrong" if wrong else "pruned"}


def peer_case(name: str) -> dict[str, Any]:
    model, x = prepared(name)
    ranking = rank(model, [(x, torch.arange(2))], "weight_l1")
    return by_peer(model, x, lowest(ranking, SHARE))


def prunable(graph: ChannelGraph) -> float:
    """The share of the network's parameters that lies in slices which can go."""
    total = sum(p.numel() for p in graph.skeleton.parameters())
    tensors = {id(p): (name, p) for name, p in graph.skeleton.named_parameters()}
    free = 0.0
    for name, parameter in tensors.values():
        stays = 1.0
        for groups in graph.slices.get(name, {}).values():
            stays *= float((groups == 0).mean())
        free += parameter.numel() * (1 - stays)
    return free / total


def run(name: str) -> dict[str, Any]:
    row = forked(case, name, SECONDS, GIGABYTES)
    if "outcome" not in row:
        return {"outcome": "crashed", "reason": row["error"]}
    return row | (asked_of_peer(peer_case, name) if row["outcome"] == "pruned" else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="run these only, and again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("timm").setLevel(logging.ERROR)
    # The first trace of a process imports parts of torch; no network is to be charged for it.
    rebuild(TinySqueezeNet(), torch.zeros(1, 3, 32, 32), {"features.0": [0]})
    listed = pd.read_csv(LISTED)
    known = dict(zip(listed["model"], listed["file"], strict=True))
    if unknown := set(options.models) - set(known):
        parser.error(f"{LISTED.name} lists no network {', '.join(sorted(unknown))}")
    commit, rows = current_commit(), recorded("timm_zoo", SETTINGS, PACKAGES)
    for name in [name for name in known if name in (options.models or set(known) - set(rows))]:
        rows[name] = {"model": name, "file": known[name]} | run(name) | {"commit": commit}
        ordered = [rows[name] for name in known if name in rows]
        record(ordered, "timm_zoo", commit, PACKAGES, **SETTINGS)
    table = pd.DataFrame(rows.values())
    show(table.drop(columns="reason", errors="ignore").to_dict("records"))
    print(table["outcome"].value_counts().reindex(OUTCOMES, fill_value=0).to_string())


if __name__ == "__main__":
    main()
