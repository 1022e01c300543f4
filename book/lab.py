"""Make the networks of the pruning lab: cut once, repaired in closed form, small enough for a page.

python book/lab.py START RATIO ...    makes them and measures them
python book/lab.py                    makes only what pages read of the recorded table

START is a recorded network below book/results, ``base_96px/base_96px-seed0`` for instance; the
study ``repair`` says how it is cut.
Weights are whole numbers of eight bits with one scale a filter. Everything is measured on what
the page gets: the file is read back before it is evaluated, once, on the test images.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from prunekit import measure, rank, rebuild, select
from prunekit.book import in_page
from prunekit.data import Dataset, Loader, load_dataset
from prunekit.repair import repair
from prunekit.storage import load
from prunekit.storage.files import replacing, write_table
from prunekit.storage.provenance import current_commit
from prunekit.study import read_study
from prunekit.study.recorded import record_table
from prunekit.study.tasks import Classification
from prunekit.training import evaluate

BOOK = Path(__file__).resolve().parent
FILES = BOOK / "_static" / "lab"
TABLE = BOOK / "lab_networks.csv"
SEED = 0
COMPARED = 1000  # validation images on which rounding is compared with the weights before it


def _convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    return ((n, layer) for n, layer in model.named_modules() if isinstance(layer, nn.Conv2d))


Network = tuple[float, nn.Module, dict[str, list[int]]]


def cut_once(start: str, ratios: list[float], dataset: Dataset, results: Path) -> Iterator[Network]:
    """The recorded network, and a copy cut once to each ratio: ratio, network, filters kept."""
    settings = read_study("repair").runs[f"least_squares-seed{SEED}"]
    model = load(results / start / "model.safetensors").float().eval()
    loaders, pruning = Classification(dataset, settings, model), settings["prune"]
    yield 0.0, model, {}
    torch.manual_seed(SEED)
    ranking = rank(
        model, loaders.train, pruning["criterion"], batches=pruning["rank_batches"], progress=False
    )
    for ratio in ratios:
        selection = select(ranking, round(ratio * len(ranking)))
        small = rebuild(model, loaders.example_inputs, selection)
        torch.manual_seed(SEED)
        small = repair(
            small, model, selection, loaders.train, method=pruning["repair"], progress=False
        )
        kept = {
            name: sorted(set(range(layer.out_channels)).difference(selection.get(name, ())))
            for name, layer in _convolutions(model)
        }
        yield ratio, small, kept


def measured(number: int, network: Network, dataset: Dataset, size: int) -> dict[str, Any]:
    """Write one network to its file, read it back, and measure what was read."""
    ratio, model, kept = network
    path = FILES / f"network-{number}.js"
    example = torch.zeros(1, 3, size, size)
    cost = measure.profile(model, example)
    facts = {
        "number": number,
        "ratio": ratio,
        "filters": int(cost.layers["filters"].sum()),
        "parameters": cost.parameters,
        "macs": cost.macs,
        "bytes": cost.bytes,
    }
    in_page.write(model, path, example, {"name": number, "size": size} | facts, kept)
    shown, _ = in_page.read(path)
    images = next(iter(Loader(dataset.val[:COMPARED], COMPARED, size=size)))[0]
    with torch.inference_mode():
        before, after = model.eval()(images).argmax(1), shown(images).argmax(1)
    facts["same_class"] = float((before == after).float().mean())
    facts["test_accuracy"] = evaluate(shown, Loader(dataset.test, 250, size=size)).accuracy
    return facts


def for_readers(recorded: pd.DataFrame) -> pd.DataFrame:
    """The table of the page."""
    return pd.DataFrame(
        {
            "Filters removed": recorded["ratio"].map("{:.0%}".format),
            "MB": (recorded["bytes"] / 1e6).map("{:.2f}".format),
            "Million MACs": (recorded["macs"] / 1e6).map("{:.1f}".format),
            "Test accuracy": recorded["test_accuracy"].map("{:.1%}".format),
            "Same class": recorded["same_class"].map("{:.1%}".format),
        }
    )


def for_pages(folder: Path = BOOK, files: Path = FILES) -> None:
    """Write the page's table, and the recorded one as a script that its lab reads."""
    recorded = pd.read_csv(TABLE)
    write_table(for_readers(recorded), folder / "lab.csv")
    hand_over("recorded", recorded, files / "networks.js")


def hand_over(kind: str, recorded: pd.DataFrame, path: Path) -> None:
    """Write the rows of a table as a script that hands them to the lab."""
    rows = json.dumps(recorded.to_dict("records"), indent=1)
    with replacing(path) as temporary:
        temporary.write_text(f"prunekitLab.{kind}({rows});\n", "utf-8")


def make(start: str, *ratios: str) -> None:
    begin, commit = time.perf_counter(), current_commit()
    torch.set_num_threads(1)
    dataset, results = load_dataset("cifar10", stand_in=False), BOOK / "results"
    size = read_study("repair").runs[f"least_squares-seed{SEED}"]["input_size"]
    networks = cut_once(start, [float(ratio) for ratio in ratios], dataset, results)
    rows = []
    for number, network in enumerate(networks):
        rows.append(measured(number, network, dataset, size))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    record_table(
        table,
        TABLE,
        data=dataset.name,
        data_sha256=dataset.fingerprint(),
        command=" ".join(["python book/lab.py", start, *ratios]),
        begin=begin,
        commit=commit,
        start=start,
    )


if __name__ == "__main__":
    if sys.argv[1:]:
        make(*sys.argv[1:])
    for_pages()
