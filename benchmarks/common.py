"""What the benchmarks share: a process for each case, peak memory, and where results go."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from prunekit.storage.files import replacing, write_json
from prunekit.storage.provenance import current_commit, machine

RESULTS = Path(__file__).parent / "results"
STATUS = Path("/proc/self/status")
PACKAGES = ("torch", "torchvision", "torch-pruning")


def in_process(script: str, *arguments: str, timeout: float = 1800) -> dict[str, Any]:
    """Run one case in a process of its own, so that none sees the memory of another.

    The case prints its result as JSON on its last line. A case that fails
    gives ``{"error": ...}`` with the last line of what it said.
    """
    command = [sys.executable, script, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {timeout:.0f} s"}
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    last = said[-1] if said else f"ended with code {done.returncode}"
    return json.loads(last) if done.returncode == 0 else {"error": last}


def forked(
    function: Callable[[str], dict[str, Any]], name: str, seconds: int, gigabytes: int
) -> dict[str, Any]:
    """As :func:`in_process`, in a fork of this process: nothing is imported again.

    The limits are of processor time and of memory. For Linux: elsewhere
    memory has no such limit.
    """
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(send, function, name, seconds, gigabytes))
    process.start()
    send.close()
    try:
        return receive.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGXCPU:
            return {"error": f"took longer than {seconds} s"}
        return {"error": f"ended with code {process.exitcode}"}
    finally:
        process.terminate()
        process.join()


def _answer(send: Any, function: Callable, name: str, seconds: int, gigabytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 10))
    resource.setrlimit(resource.RLIMIT_DATA, (gigabytes << 30, gigabytes << 30))
    try:
        send.send(function(name))
    except Exception as error:
        message = " ".join(str(error).split())
        short = "alloc" in message and ("memory" in message or isinstance(error, MemoryError))
        needs = f"needs more than {gigabytes} GB"
        send.send({"error": needs if short else f"{type(error).__name__}: {message[:200]}"})


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time in seconds, and what the function gave.

    On one thread and with nothing to wait for it is the wall time of a free
    machine, and other programs at work lengthen it far less.
    """
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def peak_of(function: Callable[[], Any]) -> float:
    """How many MB the process grew by at its largest while ``function`` ran."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark on Linux
    before = _memory("VmRSS")
    function()
    return max(_memory("VmHWM") - before, 0.1)


def _memory(field: str) -> float:
    if STATUS.is_file():
        for line in STATUS.read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """The median over rounds of ours / theirs, taken a moment apart."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    return {package: version(package) for package in packages}


def record(
    rows: list[dict[str, Any]],
    name: str,
    commit: str,
    packages: tuple[str, ...] = PACKAGES,
    **settings: Any,
) -> None:
    """Write the table, and beside it how it came about."""
    RESULTS.mkdir(exist_ok=True)
    with replacing(RESULTS / f"{name}.csv") as temporary:
        # convert_dtypes: a count stays whole beside rows that have none.
        pd.DataFrame(rows).convert_dtypes().to_csv(temporary, index=False, float_format="%.4g")
    about = {
        "command": " ".join(["python", *sys.argv]),
        "settings": settings,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {**machine(), "threads": 1, "load": round(os.getloadavg()[0], 2)},
        "versions": versions(packages),
        "commit": commit,
    }
    write_json(about, RESULTS / f"{name}.json")
    print(f"{name}.csv: {len(rows)} rows", flush=True)


def recorded(
    name: str, settings: dict[str, Any], packages: tuple[str, ...] = PACKAGES
) -> dict[str, dict[str, Any]]:
    """The rows of an earlier run, if its settings and versions are those of this one."""
    path = RESULTS / f"{name}.csv"
    if not path.is_file():
        return {}
    about = json.loads(path.with_suffix(".json").read_text())
    earlier, now = about["settings"] | about["versions"], settings | versions(packages)
    changed = sorted(key for key in {*earlier, *now} if earlier.get(key) != now.get(key))
    if changed:
        print(f"{path} was made with other {', '.join(changed)}: every network runs again")
        return {}
    table = pd.read_csv(path)
    # A field that a row does not have must not come back as NaN.
    rows = [row.dropna().to_dict() for _, row in table.iterrows()]
    return {row["model"]: row for row in rows if "left_out" not in row}  # memory may have grown


def show(rows: list[dict[str, Any]]) -> None:
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))


__all__ = [
    "RESULTS",
    "current_commit",
    "forked",
    "in_process",
    "median_ratio",
    "peak_of",
    "record",
    "recorded",
    "show",
    "timed",
    "versions",
]
