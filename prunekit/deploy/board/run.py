"""Run the models of this bundle on ONNX Runtime: are the outputs right, how long do they take?

    python3 run.py [--only NAME] [--threads N] [--repeats N] [--warmup N] [--json FILE]

Needs Python 3.8 or newer, onnxruntime and numpy. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="run this model alone")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--images", type=int, default=None, help="check so many images only")
    parser.add_argument("--json", type=Path, help="write the result to this file as well")
    options = parser.parse_args()
    if options.threads < 1 or options.repeats < 1 or options.warmup < 0:
        sys.exit("run.py: --threads and --repeats must be at least 1, --warmup at least 0")
    manifest = json.loads((HERE / "manifest.json").read_text("utf-8"))
    verify(manifest)
    chosen = [m for m in manifest["models"] if options.only in (None, m["name"])]
    if not chosen:
        names = ", ".join(m["name"] for m in manifest["models"])
        sys.exit(f"run.py: no model {options.only}; there are {names}")
    result = {
        "runner": "onnxruntime",
        "machine": platform.machine(),
        "system": platform.system() + " " + platform.release(),
        "cpu": processor(),
        "board": first_line("/proc/device-tree/model"),
        "governor": first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "threads": options.threads,
        "models": [run_apart(manifest, entry, options, len(chosen) > 1) for entry in chosen],
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", "utf-8")


def verify(manifest: dict[str, Any]) -> None:
    for name, digest in manifest["files"].items():
        path = HERE / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            sys.exit(f"run.py: {name} is missing or changed since the bundle was written")


def run_apart(
    manifest: dict[str, Any], entry: dict[str, Any], options: argparse.Namespace, several: bool
) -> dict[str, Any]:
    """Each of several models in a process of its own, so that its peak memory is its own."""
    if not several or not hasattr(os, "fork"):
        return run_model(manifest, entry, options)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writing, json.dumps(run_model(manifest, entry, options)).encode())
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    if os.waitpid(child, 0)[1] or not text:
        sys.exit(f"run.py: {entry['name']} failed")
    return json.loads(text)


def run_model(
    manifest: dict[str, Any], entry: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    try:
        import numpy as np
        import onnxruntime as ort
    except ImportError as error:
        sys.exit(f"run.py: {error}: pip install onnxruntime numpy")

    model = entry["onnx"]
    shape = manifest["shape"]
    images = np.fromfile(HERE / "images.f32", "<f4").reshape([-1, *shape])
    expected = np.fromfile(HERE / model["expected"], "<f4").reshape(len(images), -1)
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    session = ort.InferenceSession(
        str(HERE / model["file"]), settings, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    checked = images[: options.images]
    given = (session.run(None, {name: image}) for image in checked)
    found = np.stack([np.concatenate([part.ravel() for part in parts]) for parts in given])
    worst = float(np.abs(found - expected[: len(found)]).max())
    labels = manifest["labels"]
    right = None if labels is None else found.argmax(1) == np.array(labels[: len(found)])
    times = []
    for number in range(options.warmup + options.repeats):
        start = time.perf_counter()
        session.run(None, {name: images[0]})
        if number >= options.warmup:
            times.append((time.perf_counter() - start) * 1e3)
    return {
        "name": entry["name"],
        "precision": entry["precision"],
        "correct": worst <= model["tolerance"],
        "max_error": worst if worst == worst else None,
        "tolerance": model["tolerance"],
        "accuracy": None if right is None else float(right.mean()),
        "images": len(found),
        "median_ms": float(np.median(times)),
        "p95_ms": float(np.quantile(times, 0.95)),
        "min_ms": min(times),
        "repeats": options.repeats,
        "warmup": options.warmup,
        "peak_memory_kb": peak_memory_kb(),
    }


def peak_memory_kb() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def processor() -> str:
    """An ARM core as implementer:part, any other by its name."""
    facts: dict[str, str] = {}
    try:
        with Path("/proc/cpuinfo").open() as file:
            for line in file:
                key, _, value = line.partition(":")
                facts.setdefault(key.strip(), value.strip())
    except OSError:
        return platform.processor()
    if "CPU part" in facts:
        return facts.get("CPU implementer", "") + ":" + facts["CPU part"]
    return facts.get("model name", platform.processor())


def first_line(path: str) -> str:
    try:
        with Path(path).open() as file:
            return file.readline().strip("\x00\n ")
    except OSError:
        return ""


if __name__ == "__main__":
    main()
