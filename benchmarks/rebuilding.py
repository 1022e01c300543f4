"""Removing filters against torch-pruning: the same removal, and the whole way there.

``removal_ratio`` is for those who have a ranking: selecting 30 % of the groups and ``rebuild``,
which traces, against torch-pruning's dependency graph and the pruning of the same filters, which
it is given. ``whole_ratio`` adds the ranking by L1 norm, against torch-pruning's pruner set to do
the same. Networks with coupled layers that torch-pruning takes for others (see ``networks.STAY``)
lose filters in the other layers only, in both libraries.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import statistics
import time
from collections.abc import Callable

import torch
from common import current_commit, in_process, median_ratio, peak_of, record, show, timed
from networks import build, known, staying
from peer import plan_and_remove, remove_in_place, sizes

from prunekit import rank, rebuild, select, trace

# Image size of each; those that this installation does not know are left out.
CASES = {
    "squeezenet1_1": 224,
    "vgg16": 224,
    "resnet20": 32,
    "resnet56": 32,
    "resnet110": 32,
    "resnet50": 224,
    "resnet152": 224,
    "mobilenet_v2": 224,
    "densenet121": 224,
    "googlenet": 224,
    "efficientnet_b0": 224,
}
SHARE = 0.3
ENOUGH = 120  # seconds after which no further round begins: DenseNet takes torch-pruning long


def case(name: str, measured: str, rounds: int) -> dict[str, float | str]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build(name).eval()
    x = torch.randn(1, 3, CASES[name], CASES[name])
    batches = [(x, torch.zeros(1).long())]
    graph = trace(model, x)
    ranking = rank(model, batches, "weight_l1")
    stay = staying(name, graph)
    count = int(SHARE * ranking.loc[~ranking["layer"].isin(stay), "group"].nunique())
    remove = select(ranking, count, exclude=stay)

    def ours() -> torch.nn.Module:
        ranked = rank(model, batches, "weight_l1")
        return rebuild(model, x, select(ranked, count, exclude=stay))

    def plan(same: torch.nn.Module) -> None:
        plan_and_remove(same, x, [*stay, *(set(graph.layers) - set(graph.prunable))], SHARE)

    if measured == "memory of prunekit":
        return {"peak": peak_of(ours)}
    if measured == "memory of torch-pruning":
        # It changes the model it is given, so the copy that keeps the original counts as well.
        return {"peak": peak_of(lambda: plan(copy.deepcopy(model)))}

    def theirs(function: Callable) -> tuple[float, torch.nn.Module]:
        same = copy.deepcopy(model)
        gc.collect()
        return timed(lambda: function(same))[0], same

    seconds: dict[str, list[float]] = {}

    def note(**measured: float) -> None:
        for key, value in measured.items():
            seconds.setdefault(key, []).append(value)

    start, refusal = time.perf_counter(), ""
    for done in range(rounds):
        if done and time.perf_counter() - start > ENOUGH:
            break
        gc.collect()
        note(trace=timed(lambda: trace(model, x))[0])
        selection, _ = timed(lambda: select(ranking, count, exclude=stay))
        removal, small = timed(lambda: rebuild(model, x, remove))
        note(select=selection, rebuild=removal, removal=selection + removal, whole=timed(ours)[0])
        if refusal:
            continue
        try:
            same_removal, same = theirs(lambda same: remove_in_place(same, x, graph, remove))
            if sizes(same) != sizes(small):
                raise ValueError("torch-pruning removed something else")
            note(their_removal=same_removal, their_whole=theirs(plan)[0])
        except Exception as error:  # the table says which network it cannot do, and why
            refusal = f"{type(error).__name__}: {error}"
    medians = {key: statistics.median(times) for key, times in seconds.items()}
    result = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": len(graph.layers),
        "rounds": len(seconds["trace"]),
        "trace_s": medians["trace"],
        "select_s": medians["select"],
        "rebuild_s": medians["rebuild"],
        "rank_select_rebuild_s": medians["whole"],
    }
    if refusal:
        return result | {"torch_pruning_error": refusal}
    return result | {
        "torch_pruning_remove_s": medians["their_removal"],
        "removal_ratio": median_ratio(seconds["removal"], seconds["their_removal"]),
        "torch_pruning_plan_remove_s": medians["their_whole"],
        "whole_ratio": median_ratio(seconds["whole"], seconds["their_whole"]),
    }


def row(name: str, rounds: int) -> dict[str, object]:
    def run(measured: str) -> dict[str, float | str]:
        done = in_process(__file__, "--case", name, measured, "--rounds", str(rounds))
        if "error" in done:
            raise RuntimeError(f"{name}, {measured}: {done['error']}")
        return done

    times = run("time")
    result = {"model": name, **times, "prunekit_peak_mb": run("memory of prunekit")["peak"]}
    if "torch_pruning_error" in times:
        return result
    theirs = run("memory of torch-pruning")["peak"]
    memory = {"torch_pruning_peak_mb": theirs, "memory_ratio": result["prunekit_peak_mb"] / theirs}
    return result | memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=[name for name in CASES if known(name)])
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(case(*options.case, options.rounds)))
        return
    commit = current_commit()
    rows = []
    for name in options.models:
        rows.append(row(name, options.rounds))
        record(rows, "rebuilding", commit, rounds=options.rounds, share_of_groups=SHARE)
    show(rows)


if __name__ == "__main__":
    main()
