"""Latency of the networks that studies report, measured together after the studies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from prunekit.measure import latency
from prunekit.progress import bar
from prunekit.selection import Selection
from prunekit.storage import load
from prunekit.storage.provenance import current_commit
from prunekit.study.recorded import Recorded, record_table
from prunekit.study.reporting import kept_at
from prunekit.study.work import start
from prunekit.surgery import rebuild

KEYS = ["variant", "seed", "ratio"]
CLASSES = 10  # of CIFAR-10, on which was run what was recorded before records said it


def time_networks(
    studies: Sequence[Recorded], results: Path, *, command: str, rounds: int = 40, passes: int = 5
) -> None:
    """Write each study's ``latency.csv``: milliseconds of one example, a row a reported network.

    All run on one thread. Time depends on how many filters each layer has, not
    on their values: a network that the study did not keep is made again with
    as many, from the table ``networks_pattern``. Each round times every
    network of every study once, in turn, so that a disturbance strikes all of
    them alike; a network's figure is the smallest of its medians, since other
    programs can only slow it down. Rounds are short and many, so that each
    network meets a quiet moment.

    Parameters
    ----------
    results
        Folder of recorded studies, where the starting networks lie.

    Raises
    ------
    FileNotFoundError
        A study has reported no network yet.
    ValueError
        A network that was not kept cannot be made again from its numbers of
        filters, because they are coupled.
    """
    for recorded in studies:
        if not (recorded.folder / "networks_pattern.csv").is_file():
            raise FileNotFoundError(f"{recorded.folder} holds no network: run the study first")
    begin, commit = time.perf_counter(), current_commit()
    found = [(recorded, *one) for recorded in studies for one in _networks(recorded, results)]
    owners, keys, models, inputs = zip(*found, strict=True)
    medians = []
    for _ in bar(range(rounds), desc="rounds of timing"):
        timed = zip(models, inputs, strict=True)
        medians.append([latency(model, x, repeats=passes).median for model, x in timed])
    table = pd.DataFrame(keys, columns=KEYS)
    table["ms"] = (pd.DataFrame(medians).min() * 1e3).round(4)
    for recorded in studies:
        record_table(
            table[[owner is recorded for owner in owners]],
            recorded.folder / "latency.csv",
            data="zeros, one example",
            data_sha256="",
            command=command,
            begin=begin,
            commit=commit,
            threads=1,
            rounds=rounds,
            passes=passes,
        )


def timed_together(studies: Sequence[Recorded]) -> bool:
    """Whether one call of :func:`time_networks` measured them all: only then do times compare."""
    paths = [recorded.folder / "latency.json" for recorded in studies]
    if not all(path.is_file() for path in paths):
        return False
    told = [json.loads(path.read_text("utf-8")) for path in paths]
    facts = ("command", "commit", "machine", "versions")
    return all(one[fact] == told[0][fact] for one in told for fact in facts)


def _networks(
    recorded: Recorded, results: Path
) -> Iterator[tuple[tuple[str, int, float], nn.Module, torch.Tensor]]:
    by_name = {(s["variant"], s["seed"]): (run, s) for run, s in recorded.study.runs.items()}
    records = recorded.records()
    starts: dict[tuple[str, int], nn.Module] = {}
    parameters = recorded.table("networks").set_index(KEYS)["parameters"]
    for row in recorded.table("networks_pattern").to_dict("records"):
        key = tuple(row.pop(name) for name in KEYS)
        run, settings = by_name[key[:2]]
        inputs = torch.zeros(1, 3, settings["input_size"], settings["input_size"])
        kept = recorded.folder / run / kept_at(key[2], settings)
        if recorded.study.keep_model and kept.is_file():
            yield key, load(kept).float(), inputs
            continue
        begun = settings["start"], records.get(run, {}).get("classes", CLASSES)
        if begun not in starts:
            starts[begun] = start(*begun, results)
        first = {layer: list(range(count)) for layer, count in row.items() if count}
        remove = Selection(first, sum(row.values()))
        same = rebuild(starts[begun], inputs, remove)
        if sum(p.numel() for p in same.parameters()) != parameters[key]:
            raise ValueError(
                f"{run} at {key[2]:.0%} cannot be made again from its numbers of filters: they "
                f"are coupled. Record {recorded.study.name} with keep_model = true"
            )
        yield key, same, inputs
