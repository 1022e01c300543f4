"""Running a bundle somewhere: here, under emulation, or on a board over ssh.

Everywhere the same steps: copy the archive to a fresh folder, check every
file, run, read the JSON, remove the folder.
"""

from __future__ import annotations

import hashlib
import math
import platform
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from prunekit.deploy import answers
from prunekit.deploy.archives import ROOT, pack
from prunekit.deploy.bundles import TargetError, unpack
from prunekit.deploy.emulation import emulated
from prunekit.deploy.processes import TIME_LIMIT, Stopped, finish
from prunekit.deploy.ssh import Board
from prunekit.deploy.toolchain import ToolError, build_runner

RUNNERS = ("auto", "native", "python")
#: Cores by implementer and part, as ``/proc/cpuinfo`` gives them.
CORE_NAMES = {
    "0x41:0xd03": "Cortex-A53",
    "0x41:0xd04": "Cortex-A35",
    "0x41:0xd05": "Cortex-A55",
    "0x41:0xd07": "Cortex-A57",
    "0x41:0xd08": "Cortex-A72",
    "0x41:0xd09": "Cortex-A73",
    "0x41:0xd0a": "Cortex-A75",
    "0x41:0xd0b": "Cortex-A76",
    "0x41:0xd0c": "Neoverse N1",
    "0x41:0xd40": "Neoverse V1",
    "0x41:0xd41": "Cortex-A78",
    "0x41:0xd42": "Cortex-A78AE",
    "0x41:0xd4f": "Neoverse V2",
    "0x4e:0x003": "NVIDIA Denver 2",
    "0x4e:0x004": "NVIDIA Carmel",
}


@dataclass(frozen=True)
class Settings:
    """How to run: which runner, on how many threads, how often."""

    runner: str = "auto"
    only: str | None = None
    threads: int = 1
    repeats: int = 50
    warmup: int = 5

    def options(self) -> list[str]:
        return [
            *("--threads", str(self.threads), "--repeats", str(self.repeats)),
            *("--warmup", str(self.warmup), *(["--only", self.only] if self.only else [])),
        ]


def run(
    bundle: str | Path,
    target: str = "local",
    *,
    settings: Settings | None = None,
    cpu: str = "cortex-a72",
    identity: str | Path | None = None,
    known_hosts: str | Path | None = None,
    folder: str = "/tmp",
    time_limit: float = TIME_LIMIT,
) -> dict:
    """Run a bundle on a target and bring back what its runner says.

    Parameters
    ----------
    bundle
        An archive of :func:`prunekit.deploy.bundle`.
    target
        ``"local"``, ``"emulated"`` (aarch64 under QEMU), or
        ``"ssh://user@host[:port]"``. The host's key must be known already:
        an unknown or changed one is refused.
    cpu
        The core to emulate.
    identity, known_hosts
        Key file and known hosts for ssh; by default ssh's own.
    folder
        Where the board has room for a scratch folder, which is removed
        afterwards.
    time_limit
        Seconds that a step may take: connecting, copying, running. A program
        that takes longer is ended.

    Returns
    -------
    The runner's JSON, with ``target`` and ``core`` (the core's name) added.
    Under emulation it holds no times, for they mean nothing.

    Raises
    ------
    TargetError
        The host cannot be reached or does not accept the key, its own key is
        not known, its disk is full, it has another architecture than the
        bundle's runners, a file arrives changed, the runner fails, is not
        this library's own, takes longer than ``time_limit``, or answers
        something else than what was asked.
    BundleError
        The archive itself is damaged or no bundle. A TargetError is one too.
    """
    settings = settings or Settings()
    if settings.runner not in RUNNERS:
        raise ValueError(f"runner must be one of {', '.join(RUNNERS)}, not {settings.runner!r}")
    if not 0 < time_limit < math.inf:
        raise ValueError(f"time_limit must be a number of seconds above 0, not {time_limit!r}")
    with tempfile.TemporaryDirectory() as scratch:
        place, manifest = unpack(bundle, scratch)
        names = [entry["name"] for entry in manifest["models"]]
        if settings.only not in (None, *names):
            raise TargetError(
                f"{bundle}: the plan has no model {settings.only}: there are {', '.join(names)}"
            )
        if target == "local":
            result = _run_here(place, manifest, settings, time_limit)
        elif target == "emulated":
            if "aarch64" not in manifest["machines"] or settings.runner == "python":
                raise TargetError(
                    "emulation runs the native aarch64 runner: bundle with machine aarch64"
                )
            own_runner(manifest, "aarch64")
            result = run_emulated(place, manifest, settings, cpu, time_limit)
        elif target.startswith("ssh://"):
            board = Board.from_url(target, identity, known_hosts, time_limit)
            result = _run_on(board, place, manifest, settings, folder)
        else:
            raise ValueError(f"target must be local, emulated or ssh://user@host, not {target!r}")
    return {"target": target, "core": CORE_NAMES.get(result["cpu"], result["cpu"])} | result


def own_runner(manifest: dict, machine: str) -> Path:
    """This library's C++ runner for a machine, if the bundle's is the same.

    Raises
    ------
    TargetError
        It is another, or this library's own cannot be built to compare.
    """
    try:
        built = build_runner(machine)
    except ToolError as error:
        raise TargetError(
            f"the bundle's native runner cannot be compared with this library's own: {error}; "
            "the python runner can do without"
        ) from error
    for path in (path for path in built.rglob("*") if path.is_file()):
        name = f"bin/{machine}/{path.relative_to(built).as_posix()}"
        if manifest["files"].get(name) != hashlib.sha256(path.read_bytes()).hexdigest():
            raise TargetError(
                f"{name} of the bundle is not what prunekit {metadata.version('prunekit')} and "
                f"ExecuTorch {metadata.version('executorch')} build here: bundle again with "
                f"machine {machine}, or use the python runner"
            )
    return built


def _run_here(place: Path, manifest: dict, settings: Settings, time_limit: float) -> dict:
    machine = platform.machine()
    native = settings.runner != "python" and machine in manifest["machines"]
    if settings.runner == "native" and not native:
        raise TargetError(_wrong_machine(machine, manifest))
    if native:
        runner = own_runner(manifest, machine) / "runner"
        command = [str(runner), "--plan", str(place / "plan.txt")]
    else:
        command = [sys.executable, str(place / "run.py")]
    done = _finish([*command, *settings.options()], place, "local", time_limit)
    return _answer(done, "local", native, manifest, settings)


def run_emulated(
    place: Path, manifest: dict, settings: Settings, cpu: str, time_limit: float = TIME_LIMIT
) -> dict:
    """What this library's aarch64 runner says of a folder's plan on an emulated core, no times."""
    runner = build_runner("aarch64") / "runner"
    command = [str(runner), "--plan", str(place / "plan.txt"), *settings.options()]
    done = _finish(emulated(command, cpu), place, "emulated", time_limit)
    result = _answer(done, "emulated", True, manifest, settings)
    for model in result["models"]:
        for name in answers.TIMES:
            del model[name]
    return result


def _finish(
    command: list[str], folder: Path, target: str, time_limit: float
) -> subprocess.CompletedProcess[bytes]:
    try:
        return finish(command, time_limit, folder=folder)
    except Stopped as error:
        raise TargetError(f"{target}: the runner was ended: {error}") from error


def _answer(
    done: subprocess.CompletedProcess[bytes],
    target: str,
    native: bool,
    manifest: dict,
    settings: Settings,
) -> dict:
    if done.returncode:
        stderr = done.stderr.decode("utf-8", "replace")
        lines = [line for line in stderr.splitlines() if "executorch:" not in line]
        raise TargetError(
            f"{target}: the runner failed ({done.returncode}): {' '.join(lines).strip()[-800:]}"
        )
    try:
        return answers.read(
            done.stdout,
            "executorch" if native else "onnxruntime",
            [e for e in manifest["models"] if settings.only in (None, e["name"])],
            images=manifest["images"],
            labelled=manifest["labels"] is not None,
            threads=settings.threads,
            repeats=settings.repeats,
            warmup=settings.warmup,
        )
    except ValueError as error:
        raise TargetError(f"{target}: the runner's answer is no such: {error}") from error


def _wrong_machine(machine: str, manifest: dict) -> str:
    held = ", ".join(manifest["machines"]) or "no machine"
    return (
        f"the target is {machine}, the bundle's native runner is for {held}: "
        f"bundle again with machine {machine}, or use the python runner"
    )


def _run_on(board: Board, place: Path, manifest: dict, settings: Settings, folder: str) -> dict:
    machine, free = board.look(folder)
    native = settings.runner == "native" or (settings.runner == "auto" and manifest["machines"])
    if native and machine not in manifest["machines"]:
        raise TargetError(f"{board.name}: {_wrong_machine(machine, manifest)}")
    if native:
        own_runner(manifest, machine)
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    if free is not None and free < 1.05 * size:
        raise TargetError(board.full(folder))
    # What was checked is packed again, so that nothing else is sent.
    parcel = place.with_suffix(".tar.gz")
    pack(place, parcel)
    with board.scratch(folder) as scratch:
        board.send(parcel, scratch)
        program = f"./bin/{machine}/runner" if native else "python3 run.py"
        options = shlex.join(settings.options())
        done = board.run(f"cd {scratch}/{ROOT} && {program} {options}", "running")
        return _answer(done, board.name, bool(native), manifest, settings)
