"""A ranking against the plain passes it is made of: time and peak memory as ratios."""

from __future__ import annotations

import argparse
import json
import statistics

import torch
import torch.nn.functional as F
from common import current_commit, in_process, median_ratio, peak_of, record, show, timed
from torch import Tensor, nn
from torchvision import models

from prunekit import rank
from prunekit.models import squeezenet

# Image size, and so many images a batch.
CASES = {
    "squeezenet": (64, 64),
    "vgg16_bn": (32, 64),
    "resnet18": (64, 64),
    "resnet50": (64, 32),
    "mobilenet_v2": (64, 32),
}
BATCHES = 16
PASSES = {"activation_l2": "forward", "taylor": "forward and backward"}
AIMS = {"time": 1.10, "memory": 1.15}


def build(name: str) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    size, images = CASES[name]
    model = squeezenet() if name == "squeezenet" else getattr(models, name)(num_classes=10)
    # The layout in which rank computes, so that only what rank adds makes a difference.
    model = model.eval().to(memory_format=torch.channels_last)
    x, y = torch.randn(BATCHES, images, 3, size, size), torch.randint(10, (BATCHES, images))
    return model, list(zip(x, y, strict=True))


def plain(model: nn.Module, batches: list[tuple[Tensor, Tensor]], backward: bool) -> None:
    for x, y in batches:
        x = x.to(memory_format=torch.channels_last)
        if backward:
            model.zero_grad()
            F.cross_entropy(model(x), y, reduction="sum").backward()
        else:
            with torch.inference_mode():
                model(x)
    model.zero_grad()


def case(name: str, criterion: str, measured: str, rounds: int) -> dict[str, float]:
    torch.set_num_threads(1)
    model, batches = build(name)
    backward = criterion == "taylor"

    def ranking() -> None:
        rank(model, batches, criterion)

    def bare() -> None:
        plain(model, batches, backward)

    if measured != "time":
        # A first pass on one image loads what torch loads once, which is not a matter of either.
        small = [(x[:2], y[:2]) for x, y in batches[:1]]
        rank(model, small, criterion)
        plain(model, small, backward)
        return {"peak": peak_of(ranking if measured == "memory of rank" else bare)}
    ranking(), bare()
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(timed(ranking)[0])
        theirs.append(timed(bare)[0])
    return {
        "rank_s": statistics.median(ours),
        "plain_s": statistics.median(theirs),
        "time_ratio": median_ratio(ours, theirs),
    }


def row(name: str, criterion: str, rounds: int) -> dict[str, object]:
    def run(measured: str) -> dict[str, float]:
        arguments = ["--case", name, criterion, measured, "--rounds", str(rounds)]
        done = in_process(__file__, *arguments)
        if "error" in done:
            raise RuntimeError(f"{name}, {criterion}, {measured}: {done['error']}")
        return done

    ours, theirs = run("memory of rank")["peak"], run("memory of the plain pass")["peak"]
    size, images = CASES[name]
    return {
        "model": name,
        "criterion": criterion,
        "against": PASSES[criterion],
        "pixels": size,
        "batch": images,
        "batches": BATCHES,
        **run("time"),
        "rank_peak_mb": ours,
        "plain_peak_mb": theirs,
        "memory_ratio": ours / theirs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", nargs="*", default=list(CASES))
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(case(*options.case, options.rounds)))
        return
    commit = current_commit()
    rows = []
    for name in options.models:
        rows += [row(name, criterion, options.rounds) for criterion in PASSES]
        record(rows, "ranking", commit, rounds=options.rounds, aims=AIMS)
    show(rows)


if __name__ == "__main__":
    main()
