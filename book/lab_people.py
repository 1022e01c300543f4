"""Make the pedestrian detectors of the pruning lab from recorded ones, and measure them.

python book/lab_people.py NAME=RUN ...    writes them and measures them
python book/lab_people.py                 makes only what pages read of the recorded table

RUN is a recorded detector below book/results: ``whole=pedestrian/unpruned-seed0``, for instance.
Each is read back from the file that the page gets, and evaluated once on the test photographs.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lab import BOOK, FILES, hand_over

from prunekit import measure
from prunekit.book import in_page
from prunekit.detection import BoxLoader, evaluate_detector, load_voc, ssd_anchors
from prunekit.detection.anchors import shapes
from prunekit.detection.boxes import SCALES
from prunekit.detection.suppression import OVERLAP
from prunekit.repair import fold_batch_norm
from prunekit.storage import load
from prunekit.storage.files import write_table
from prunekit.storage.provenance import current_commit
from prunekit.study.recorded import record_table

TABLE = BOOK / "lab_detectors.csv"
TITLES = {"whole": "Whole", "half": "Without half of its MACs"}
SIZE = 300


def measured(name: str, run: str, pictures: BoxLoader, results: Path) -> dict[str, Any]:
    """Write one detector to its file, read it back, and measure what was read."""
    recorded = load(results / run / "model.safetensors")
    model, maps = fold_batch_norm(recorded.float().eval()), recorded.metadata["maps"]
    path = FILES / f"network-{name}.js"
    coding = {"maps": maps, "shapes": shapes(len(maps)), "scales": SCALES, "overlap": OVERLAP}
    example = torch.zeros(1, 3, SIZE, SIZE)
    in_page.write(model, path, example, {"name": name, "size": SIZE} | coding)
    shown, _ = in_page.read(path)
    cost = measure.profile(model, example)
    judged = evaluate_detector(shown, pictures, ssd_anchors(maps))
    return {
        "name": name,
        "title": TITLES[name],
        "run": run,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "bytes": cost.bytes,
        "test_average_precision": judged.average_precision,
        "test_miss_rate": judged.miss_rate,
        "pictures": judged.pictures,
    }


def for_readers(recorded: pd.DataFrame, networks: pd.DataFrame) -> pd.DataFrame:
    """The table of the page: ``networks`` says how good each was in 32 bits."""
    runs = networks["variant"] + "-seed" + networks["seed"].astype(str)
    before = networks.set_index("pedestrian/" + runs)["test_average_precision"]
    return pd.DataFrame(
        {
            "Detector": recorded["title"],
            "MB": (recorded["bytes"] / 1e6).map("{:.2f}".format),
            "Million MACs": (recorded["macs"] / 1e6).map("{:.0f}".format),
            "AP here": recorded["test_average_precision"].map("{:.1%}".format),
            "In 32 bits": recorded["run"].map(before).map("{:.1%}".format),
        }
    )


def for_pages(folder: Path = BOOK, files: Path = FILES) -> None:
    """Write the page's table, and the recorded one as a script that its lab reads."""
    recorded = pd.read_csv(TABLE)
    networks = pd.read_csv(BOOK / "results" / "pedestrian" / "networks.csv")
    write_table(for_readers(recorded, networks), folder / "lab_people.csv")
    hand_over("detectors", recorded, files / "detectors.js")


def make(*named: str) -> None:
    begin, commit = time.perf_counter(), current_commit()
    torch.set_num_threads(1)
    pictures, results = BoxLoader(load_voc("streets", "test", size=SIZE)), BOOK / "results"
    runs = dict(one.split("=") for one in named)
    rows = [measured(name, run, pictures, results) for name, run in runs.items()]
    record_table(
        pd.DataFrame(rows),
        TABLE,
        data="streets",
        data_sha256=pictures.fingerprint(),
        command=" ".join(["python book/lab_people.py", *named]),
        begin=begin,
        commit=commit,
    )


if __name__ == "__main__":
    if sys.argv[1:]:
        make(*sys.argv[1:])
    for_pages()
