"""Measure the pedestrian detector on its way to a board and record it under book/results.

    python -m prunekit.book.detector_deployment files         # export; bytes, validation precision
    python -m prunekit.book.detector_deployment instructions  # on an emulated Cortex-A57
    python -m prunekit.book.detector_deployment latency       # single thread here: keep it quiet
    python -m prunekit.book.detector_deployment decoding      # the same, from numbers to boxes
    python -m prunekit.book.detector_deployment               # all of it, in this order

The exported files stay under ``_build/deployment``, so that a step can be
repeated without the ones before it.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import prunekit
from prunekit.book.deployment import ENGINES, FILES, RESULTS, Network
from prunekit.deploy.bundles import detector_facts
from prunekit.deploy.emulation import count_instructions
from prunekit.deploy.engines import Engine
from prunekit.deploy.latency import compare
from prunekit.deploy.manifest import PRECISIONS
from prunekit.deploy.targets import Settings, run_emulated
from prunekit.deploy.toolchain import SOURCES
from prunekit.detection import BoxLoader, detect, evaluate_detector, load_voc, ssd_anchors
from prunekit.measure import profile
from prunekit.measure.timing import in_turns
from prunekit.storage.provenance import current_commit
from prunekit.study.recorded import record_table

DEPLOYMENT = RESULTS / "deployment_detector"
DETECTORS = {"whole": "pedestrian/unpruned-seed0", "half": "pedestrian/half-seed0"}
CORE = "cortex-a57"  # of the Jetson Nano
SIZE, CALIBRATION, CHECKED, DECODED = 300, 64, 2, 16
#: Cut in one go by weight norm and not trained again, for their time alone: widths as they come,
#: and multiples of eight.
CUT_SHARE, CUTS = 0.25, {"any": None, "eights": 8}
SHOWN, SCORED = 0.5, 0.01  # least scores: to draw boxes, to compute average precision


class Running(nn.Module):
    """An engine where a network is wanted: pictures in, one at a time, scores and offsets out."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        given = [self.engine(one[None].contiguous().numpy()) for one in x]
        return tuple(torch.from_numpy(np.concatenate(parts)) for parts in zip(*given, strict=True))


class Recording:
    """One recording: the pictures, the detectors, and a table for each step."""

    def __init__(self, limit: int | None, rounds: int) -> None:
        self.commit, self.begin = current_commit(), time.perf_counter()
        self.rounds = rounds
        self.pictures = {part: load_voc("streets", part, size=SIZE) for part in ("train", "val")}
        self.val = BoxLoader(self.pictures["val"][:limit], 1)
        FILES.mkdir(parents=True, exist_ok=True)
        DEPLOYMENT.mkdir(parents=True, exist_ok=True)

    @cached_property
    def networks(self) -> list[Network]:
        loaded: dict[str, Any] = {
            n: prunekit.load(RESULTS / run / "model.safetensors") for n, run in DETECTORS.items()
        }
        self.anchors = ssd_anchors(loaded["whole"].metadata["maps"])
        return [Network(f"detector-{n}", m.float().eval(), True) for n, m in loaded.items()]

    def cut(self) -> list[Network]:
        """The whole detector without a share of its filters, once for each rule of ``CUTS``."""
        whole, example = self.networks[0].model, torch.zeros(1, 3, SIZE, SIZE)
        labels = torch.zeros(1, dtype=torch.int64)
        ranking = prunekit.rank(whole, [(example, labels)], "weight_l1", progress=False)
        chosen = {
            name: prunekit.select(ranking, round(CUT_SHARE * len(ranking)), round_to=multiple)
            for name, multiple in CUTS.items()
        }
        return [
            Network(f"detector-{name}", prunekit.rebuild(whole, example, remove), False)
            for name, remove in chosen.items()
        ]

    @cached_property
    def calibration(self) -> Tensor:
        chosen = torch.linspace(0, len(self.pictures["train"]) - 1, CALIBRATION).long()
        return next(iter(BoxLoader(self.pictures["train"][chosen], CALIBRATION)))[0]

    def engine(self, network: Network, engine: str, precision: str) -> Engine:
        return network.engine(engine, precision, self.calibration)

    def files(self) -> None:
        """Bytes, and average precision on the validation pictures, in every form."""
        rows = []
        for network in self.networks:
            forms = [("pytorch", "fp32")]
            forms += [(engine, precision) for engine in ENGINES for precision in PRECISIONS]
            for engine, precision in forms:
                running = Running(self.engine(network, engine, precision))
                judged = evaluate_detector(running, self.val, self.anchors)
                stored = None if engine == "pytorch" else network.file(engine, precision)
                rows.append(
                    {**_named(network), "engine": engine, "precision": precision}
                    | {"bytes": stored.stat().st_size if stored else pd.NA}
                    | {"average_precision": judged.average_precision}
                    | {"miss_rate": judged.miss_rate, "pictures": judged.pictures}
                )
                print(rows[-1], flush=True)
        self._write("files", pd.DataFrame(rows).convert_dtypes())

    def instructions(self) -> None:
        """Instructions a picture on the emulated core, twice, and how far the numbers are off."""
        rows = []
        for network in self.networks:
            x = self.calibration[:CHECKED]
            folder, manifest = network.emulated(x, None, self.calibration)
            result = run_emulated(folder, manifest, Settings(repeats=1, warmup=0), CORE)
            for precision, checked in zip(PRECISIONS, result["models"], strict=True):
                counts = [count_instructions(folder, checked["name"], CORE) for _ in range(2)]
                rows.append(
                    {**_named(network), "precision": precision, "core": CORE}
                    | {"instructions": counts[0], "again": counts[1]}
                    | {"max_error": checked["max_error"], "tolerance": checked["tolerance"]}
                )
                print(rows[-1], flush=True)
        self._write("instructions", pd.DataFrame(rows))

    def latency(self) -> None:
        """Milliseconds that the network takes for one picture here, one thread."""
        torch.set_num_threads(1)
        image = self.calibration[:1].numpy()
        cut = self.cut()
        forms = [(engine, precision) for engine in ENGINES for precision in PRECISIONS]
        plain = [(engine, "fp32") for engine in ENGINES]
        timed = {
            f"{network.name} {engine} {precision}": self.engine(network, engine, precision)
            for networks, wanted in ((self.networks, forms), (cut, plain))
            for network in networks
            for engine, precision in wanted
        }
        table = compare(timed, image, rounds=self.rounds)
        parts = table.pop("engine").str.split(" ", expand=True)
        parts.columns = ["model", "engine", "precision"]
        costs = pd.DataFrame([_named(network) for network in [*self.networks, *cut]])
        parts["model"] = parts["model"].str.removeprefix("detector-")
        self._write("latency", parts.join(table).merge(costs, on="model"))

    def decoding(self) -> None:
        """Milliseconds from the numbers for one picture to boxes here, one thread, by program.

        How long it takes hangs on the picture: each is timed by itself, and a number of the table
        is the mean of what it is for several.
        """
        torch.set_num_threads(1)
        rows, timed = [], []
        for network in self.networks:
            with torch.inference_mode():
                given = [network.model(one[None]) for one in self.calibration[:DECODED]]
            for use, least in {"shown": SHOWN, "scored": SCORED}.items():
                likely = [(scores[..., 1].sigmoid() >= least).sum().item() for scores, _ in given]
                programs = {
                    "board": partial(_on_board, board_decoder(self.anchors, least)),
                    "library": partial(detect, anchors=self.anchors, min_score=least),
                }
                for program, find in programs.items():
                    row = {"model": network.name.removeprefix("detector-"), "use": use}
                    rows.append(row | {"program": program, "boxes": float(np.mean(likely))})
                    timed += [partial(find, one) for one in given]
        times = pd.DataFrame([t.ms for t in in_turns(timed, self.rounds, lead_in=1, burst=3)])
        self._write(
            "decoding", pd.DataFrame(rows).join(times.groupby(times.index // DECODED).mean())
        )

    def _write(self, name: str, table: pd.DataFrame) -> None:
        record_table(
            table,
            DEPLOYMENT / f"{name}.csv",
            data="streets",
            data_sha256=self.val.fingerprint(),
            command=shlex.join(
                ["python", "-m", "prunekit.book.detector_deployment", *sys.argv[1:]]
            ),
            begin=self.begin,
            commit=self.commit,
            detectors=DETECTORS,
        )


def board_decoder(anchors: Tensor, least: float) -> Callable[[Any, Any], Any]:
    """What finds boxes on a board, as a bundle takes it along."""
    if str(SOURCES) not in sys.path:
        sys.path.append(str(SOURCES))
    return importlib.import_module("detector").Decoder(detector_facts(anchors), least)


def _on_board(find: Callable[[Any, Any], Any], output: tuple[Tensor, Tensor]) -> Any:
    return find(*(part[0].numpy() for part in output))


def _named(network: Network) -> dict[str, Any]:
    cost = profile(network.model, torch.zeros(1, 3, SIZE, SIZE))
    return {
        "model": network.name.removeprefix("detector-"),
        "parameters": cost.parameters,
        "macs": cost.macs,
    }


STEPS = ("files", "instructions", "latency", "decoding")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", nargs="*", metavar="step", help=f"{', '.join(STEPS)}; default all")
    parser.add_argument("--limit", type=int, help="so many validation pictures; default all")
    parser.add_argument("--rounds", type=int, default=100, help="turns of each engine")
    options = parser.parse_args()
    unknown = set(options.step) - set(STEPS)
    if unknown:
        parser.error(f"no step {', '.join(unknown)}: there are {', '.join(STEPS)}")
    recording = Recording(options.limit, options.rounds)
    for step in options.step or STEPS:
        getattr(recording, step)()


if __name__ == "__main__":
    main()
