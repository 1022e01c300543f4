"""Measure the book's networks on their way to a board and record it under book/results/deployment.

    python -m prunekit.book.deployment files         # export; bytes and validation accuracy
    python -m prunekit.book.deployment instructions  # ARM instructions under emulation
    python -m prunekit.book.deployment seeds         # the same for networks of other starts
    python -m prunekit.book.deployment latency       # this machine, single thread: keep it quiet
    python -m prunekit.book.deployment layers        # the same, layer by layer
    python -m prunekit.book.deployment               # all of it, in this order

The exported files stay under ``_build/deployment``, so that a step can be
repeated without the ones before it.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

import prunekit
from prunekit.book import BOOK
from prunekit.data import Dataset, Loader, load_dataset
from prunekit.deploy.bundles import some_images, tolerance
from prunekit.deploy.emulation import CORES, count_instructions
from prunekit.deploy.engines import (
    Engine,
    accuracy,
    executorch_engine,
    onnx_engine,
    outputs,
    torch_engine,
)
from prunekit.deploy.export import export_executorch, export_onnx
from prunekit.deploy.latency import compare
from prunekit.deploy.layers import layer_times
from prunekit.deploy.manifest import PRECISIONS, plan
from prunekit.deploy.targets import Settings, run_emulated
from prunekit.measure import profile
from prunekit.storage.fingerprints import digest_of
from prunekit.storage.provenance import current_commit
from prunekit.study.recorded import record_table
from prunekit.study.tuning import MODEL

RESULTS = BOOK / "results"
DEPLOYMENT = RESULTS / "deployment"
FILES = BOOK.parent / "_build" / "deployment"
SIZE = 96
SEED = 0
SEEDS = (0, 1, 2)
#: Where the trained networks lie: a start, and what the best recipe left of it.
START = "base_96px/base_96px-seed{seed}"
REPAIRED = "best_96px/best_96px-seed{seed}/0.75"
ORIGINAL, PRUNED = (RESULTS / place.format(seed=SEED) for place in (START, REPAIRED))
#: Whose widths are counted, whatever the weights: those of the loop on the thesis's ground.
LOOP, LOOP_SHARE = "combined", 0.67
REMOVED = RESULTS / "thesis_88px" / "networks_pattern.csv"
CALIBRATION, CHECKED = 64, 4
#: Networks cut in one go and not trained again: for their cost, not for their accuracy.
SHARES = (0.25, 0.5, 0.67, 0.8)
ROUNDED_SHARE = 0.67
ROUNDINGS = (4, 8)
ENGINES = {
    "onnxruntime": (export_onnx, onnx_engine, "onnx"),
    "executorch": (export_executorch, executorch_engine, "pte"),
}


@dataclass(frozen=True)
class Network:
    """A network to measure; ``trained`` if its accuracy means anything."""

    name: str
    model: nn.Module
    trained: bool

    def file(self, engine: str, precision: str) -> Path:
        """Where its export lies. The name changes with the weights."""
        suffix = ENGINES[engine][2]
        return FILES / f"{self.name}-{digest_of(self.model)[:8]}-{precision}.{suffix}"

    def engine(self, engine: str, precision: str, calibration: Tensor) -> Engine:
        """The network in an engine, exported if it is not yet."""
        if engine in ("pytorch", "torch.compile"):
            return torch_engine(self.model, compiled=engine == "torch.compile")
        export, load, _ = ENGINES[engine]
        path = self.file(engine, precision)
        if not path.is_file():
            quantize = PRECISIONS[precision]
            typical = calibration if quantize else None
            export(self.model, calibration[:1], path, quantize, calibration=typical)
            print(f"exported {path.name}", flush=True)
        return load(path)

    def emulated(
        self, x: Tensor, labels: list[int] | None, calibration: Tensor
    ) -> tuple[Path, dict[str, Any]]:
        """A folder with what the runner needs of a bundle, both precisions, and its manifest."""
        folder = FILES / "emulated" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        x.numpy().tofile(folder / "images.f32")
        entries = []
        for precision in PRECISIONS:
            expected = outputs(self.engine("executorch", precision, calibration), x.numpy())
            name = f"{self.name}-{precision}"
            expected.tofile(folder / f"{name}.f32")
            shutil.copy2(self.file("executorch", precision), folder / f"{name}.pte")
            allowed = tolerance("executorch", precision, expected)
            paths = {"file": f"{name}.pte", "expected": f"{name}.f32", "tolerance": allowed}
            entry = {"name": name, "precision": precision, "outputs": expected.shape[1]}
            entries.append(entry | {"executorch": paths})
        manifest = {"shape": [1, *x.shape[1:]], "images": len(x), "labels": labels}
        manifest["models"] = entries
        (folder / "plan.txt").write_text(plan(manifest), "utf-8")
        return folder, manifest

    def cost(self) -> dict:
        """Filters before the classifier, parameters and MACs."""
        measured = profile(self.model, torch.zeros(1, 3, SIZE, SIZE))
        convolutions = measured.layers[measured.layers["type"] == "Conv2d"]
        return {
            "filters": int(convolutions["filters"].iloc[:-1].sum()),
            "parameters": measured.parameters,
            "macs": measured.macs,
        }


class Recording:
    """One recording: the data, the networks, and a table for each step."""

    def __init__(
        self, limit: int | None, rounds: int, shares: tuple[float, ...], skip: list[str]
    ) -> None:
        self.commit = current_commit()
        self.begin = time.perf_counter()
        self.limit, self.rounds, self.shares, self.skip = limit, rounds, shares, skip
        self.dataset: Dataset = load_dataset("cifar10", stand_in=False)
        FILES.mkdir(parents=True, exist_ok=True)
        DEPLOYMENT.mkdir(parents=True, exist_ok=True)

    @cached_property
    def networks(self) -> list[Network]:
        """Original and pruned, both trained; then the original cut at several ratios."""
        original, pruned = self._trained(SEED)
        cut = [self._cut(original.model, share) for share in self.shares]
        rounded = [
            self._cut(original.model, ROUNDED_SHARE, multiple)
            for multiple in (ROUNDINGS if self.shares else ())
        ]
        return [original, pruned, *cut, *rounded]

    def _trained(self, seed: int) -> list[Network]:
        """A start, and what the best recipe left of it."""
        places = {"original": START, "pruned": REPAIRED}
        files = {name: RESULTS / p.format(seed=seed) / MODEL for name, p in places.items()}
        return [Network(name, prunekit.load(f).float(), True) for name, f in files.items()]

    def _cut(self, model: nn.Module, share: float, multiple: int | None = None) -> Network:
        batch = (torch.zeros(1, 3, SIZE, SIZE), torch.zeros(1, dtype=torch.int64))
        ranking = prunekit.rank(model, [batch], "weight_l1")
        remove = prunekit.select(ranking, round(share * len(ranking)), round_to=multiple)
        name = f"round-{multiple}" if multiple else f"cut-{round(100 * share)}"
        return Network(name, prunekit.rebuild(model, batch[0], remove), False)

    def _as_in_the_loop(self, model: nn.Module, seed: int) -> Network:
        """``model`` with as many filters gone from each layer as the loop took; any will do."""
        removed = pd.read_csv(REMOVED, index_col=["variant", "ratio", "seed"])
        counts = removed.loc[(LOOP, LOOP_SHARE, seed)]
        remove = {layer: range(count) for layer, count in counts.items()}
        small = prunekit.rebuild(model, torch.zeros(1, 3, SIZE, SIZE), remove)
        return Network(f"{LOOP}-{round(100 * LOOP_SHARE)}", small, False)

    @cached_property
    def calibration(self) -> Tensor:
        return some_images(self.dataset.train, CALIBRATION, SIZE)[0]

    def engine(self, network: Network, engine: str, precision: str) -> Engine:
        return network.engine(engine, precision, self.calibration)

    def files(self) -> None:
        """Bytes, and accuracy on validation images, of the trained networks in every form."""
        val = self.dataset.val
        if self.limit:
            generator = torch.Generator().manual_seed(SEED)
            val = val[torch.randperm(len(val), generator=generator)[: self.limit]]
        loader = Loader(val, 250, size=SIZE)
        rows = []
        for network in [n for n in self.networks if n.trained]:
            forms = [("pytorch", "fp32")]
            forms += [(engine, precision) for engine in ENGINES for precision in PRECISIONS]
            for engine, precision in forms:
                run = self.engine(network, engine, precision)
                stored = None if engine == "pytorch" else network.file(engine, precision)
                rows.append(
                    {"model": network.name, **network.cost(), "engine": engine}
                    | {"precision": precision, "bytes": stored.stat().st_size if stored else pd.NA}
                    | {"accuracy": accuracy(run, loader), "images": len(val)}
                )
                print(rows[-1], flush=True)
        self._write("files", pd.DataFrame(rows).convert_dtypes())

    def instructions(self) -> None:
        """ARM instructions an inference, counted twice, and how far the scores are off."""
        rows: list[dict] = []
        for network in self.networks:
            rows += self._counts(network)
            self._write("instructions", pd.DataFrame(rows))

    def seeds(self) -> None:
        """The same for each start: whole, repaired by the best recipe, and cut as the loop did."""
        rows: list[dict] = []
        for seed in SEEDS:
            trained = self._trained(seed)
            for network in [*trained, self._as_in_the_loop(trained[0].model, seed)]:
                rows += [{"seed": seed, **row} for row in self._counts(network)]
            self._write("instructions_by_seed", pd.DataFrame(rows))

    def _counts(self, network: Network) -> list[dict]:
        once = Settings(repeats=1, warmup=0)
        x, y = some_images(self.dataset.val, CHECKED, SIZE)
        folder, manifest = network.emulated(x, y.tolist(), self.calibration)
        rows = []
        for cpu in CORES:
            result = run_emulated(folder, manifest, once, cpu)
            checked = {model["name"]: model for model in result["models"]}
            for precision in PRECISIONS:
                name = f"{network.name}-{precision}"
                counts = [count_instructions(folder, name, cpu) for _ in range(2)]
                rows.append(
                    {"model": network.name, **network.cost(), "precision": precision}
                    | {"core": cpu, "instructions": counts[0], "again": counts[1]}
                    | {"max_error": checked[name]["max_error"]}
                )
                print(rows[-1], flush=True)
        return rows

    def latency(self) -> None:
        """Milliseconds of one inference on this machine, one thread, every engine in turns."""
        image = self.calibration[:1].numpy()
        forms = [("pytorch", "fp32"), ("torch.compile", "fp32")]
        forms += [(engine, precision) for engine in ENGINES for precision in PRECISIONS]
        engines: dict[str, Engine] = {}
        for network in self.networks:
            for engine, precision in forms:
                if engine not in self.skip and (network.trained or engine in ENGINES):
                    key = f"{network.name} {engine} {precision}"
                    engines[key] = self.engine(network, engine, precision)
        torch.set_num_threads(1)
        table = compare(engines, image, rounds=self.rounds)
        parts = table.pop("engine").str.split(" ", expand=True)
        parts.columns = ["model", "engine", "precision"]
        costs = pd.DataFrame([{"model": n.name, **n.cost()} for n in self.networks])
        self._write("latency", parts.join(table).merge(costs, on="model"))

    def layers(self) -> None:
        """MACs and milliseconds of each convolution, original and pruned, in ONNX Runtime."""
        image = self.calibration[:1].numpy()
        tables = []
        for network in [n for n in self.networks if n.trained]:
            self.engine(network, "onnxruntime", "fp32")
            path = network.file("onnxruntime", "fp32")
            table = layer_times(network.model, path, image, repeats=5 * self.rounds)
            tables.append(table.assign(model=network.name))
        self._write("layers", pd.concat(tables))

    def _write(self, name: str, table: pd.DataFrame) -> None:
        record_table(
            table,
            DEPLOYMENT / f"{name}.csv",
            data=self.dataset.name,
            data_sha256=self.dataset.fingerprint(),
            command=shlex.join(["python", "-m", "prunekit.book.deployment", *sys.argv[1:]]),
            begin=self.begin,
            commit=self.commit,
            original=START,
            pruned=REPAIRED,
        )


STEPS = ("files", "instructions", "seeds", "latency", "layers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", nargs="*", metavar="step", help=f"{', '.join(STEPS)}; default all")
    parser.add_argument("--limit", type=int, help="so many validation images; default all")
    parser.add_argument("--rounds", type=int, default=200, help="turns of each engine")
    parser.add_argument("--trained-only", action="store_true", help="leave out the cut networks")
    parser.add_argument("--skip", action="append", default=[], help="do not time this engine")
    options = parser.parse_args()
    unknown = set(options.step) - set(STEPS)
    if unknown:
        parser.error(f"no step {', '.join(unknown)}: there are {', '.join(STEPS)}")
    shares = () if options.trained_only else SHARES
    recording = Recording(options.limit, options.rounds, shares, options.skip)
    for step in options.step or STEPS:
        getattr(recording, step)()


if __name__ == "__main__":
    main()
