"""Running a bundle somewhere: here, under emulation, or on a board over ssh.

Everywhere the same steps: copy the archive to a fresh folder, check every
file, run, read the JSON, remove the folder.
"""

from __future__ import annotations

import json
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from prunekit.deploy.bundles import ROOT, unpack
from prunekit.deploy.emulation import emulated

RUNNERS = ("auto", "native", "python")
TIMES = ("median_ms", "p95_ms", "min_ms")
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


class TargetError(RuntimeError):
    """The bundle could not be run there; the message says why and what to do."""


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

    Returns
    -------
    The runner's JSON, with ``target`` and ``core`` (the core's name) added.
    Under emulation it holds no times, for they mean nothing.

    Raises
    ------
    TargetError
        The host cannot be reached or does not accept the key, its own key is
        not known, its disk is full, it has another architecture than the
        bundle's runners, a file arrives changed, or the runner fails.
    BundleError
        The archive itself is damaged.
    """
    settings = settings or Settings()
    if settings.runner not in RUNNERS:
        raise ValueError(f"runner must be one of {', '.join(RUNNERS)}, not {settings.runner!r}")
    with tempfile.TemporaryDirectory() as scratch:
        place, manifest = unpack(bundle, scratch)
        if target == "local":
            result = _run_here(place, manifest, settings)
        elif target == "emulated":
            if "aarch64" not in manifest["machines"] or settings.runner == "python":
                raise TargetError(
                    "emulation runs the native aarch64 runner: bundle with machine aarch64"
                )
            result = run_emulated(place, settings, cpu)
        elif target.startswith("ssh://"):
            board = Board.from_url(target, identity, known_hosts)
            size = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
            result = _run_on(board, Path(bundle), size, manifest, settings, folder)
        else:
            raise ValueError(f"target must be local, emulated or ssh://user@host, not {target!r}")
    return {"target": target, "core": CORE_NAMES.get(result["cpu"], result["cpu"])} | result


def _run_here(place: Path, manifest: dict, settings: Settings) -> dict:
    machine = platform.machine()
    native = settings.runner != "python" and machine in manifest["machines"]
    if settings.runner == "native" and not native:
        raise TargetError(_wrong_machine(machine, manifest))
    program = [f"bin/{machine}/runner"] if native else [sys.executable, "run.py"]
    return _finish([*program, *settings.options()], place)


def run_emulated(place: Path, settings: Settings, cpu: str) -> dict:
    """What the aarch64 runner of an unpacked bundle says on an emulated core, without times."""
    command = [str(place / "bin/aarch64/runner"), *settings.options()]
    result = _finish(emulated(command, cpu), place)
    for model in result["models"]:
        for name in TIMES:
            del model[name]
    return result


def _finish(command: list[str], folder: Path) -> dict:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return _parse(done.returncode, done.stdout, done.stderr)


def _parse(code: int, output: str, errors: str) -> dict:
    lines = [line for line in errors.splitlines() if "executorch:" not in line]
    if code:
        raise TargetError(f"the runner failed ({code}): {' '.join(lines).strip()[-800:]}")
    try:
        return json.loads(output)
    except ValueError as error:
        raise TargetError(f"the runner answered no JSON: {output[:200]!r}") from error


def _wrong_machine(machine: str, manifest: dict) -> str:
    held = ", ".join(manifest["machines"]) or "no machine"
    return (
        f"the target is {machine}, the bundle's native runner is for {held}: "
        f"bundle again with machine {machine}, or use the python runner"
    )


@dataclass(frozen=True)
class Board:
    """A host that ssh reaches. Keys are verified, and nothing is ever asked."""

    name: str
    command: tuple[str, ...]

    @classmethod
    def from_url(
        cls, url: str, identity: str | Path | None, known_hosts: str | Path | None
    ) -> Board:
        try:
            parts = urlsplit(url)
            host, port, user = parts.hostname, parts.port, parts.username
        except ValueError as error:
            raise TargetError(f"{url}: {error}") from error
        # A name that starts with a dash would be an option to ssh.
        if (
            not host
            or host.startswith("-")
            or (user or "").startswith("-")
            or parts.path.strip("/")
        ):
            raise TargetError(f"{url} is not of the form ssh://user@host[:port]")
        if shutil.which("ssh") is None:
            raise TargetError("ssh is not installed")
        options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=10"]
        if known_hosts:
            options.append(f'UserKnownHostsFile="{Path(known_hosts).absolute()}"')
        if identity:
            options.append("IdentitiesOnly=yes")
        command = ["ssh", *(part for option in options for part in ("-o", option))]
        command += ["-i", str(identity)] if identity else []
        command += ["-p", str(port)] if port else []
        return cls(host, (*command, f"{user}@{host}" if user else host))

    def run(self, script: str, source: Path | None = None) -> subprocess.CompletedProcess:
        """Run a shell script there, fed from a file."""
        command = [*self.command, f"LC_ALL=C sh -c {shlex.quote(script)}"]
        with source.open("rb") if source else nullcontext(subprocess.DEVNULL) as stream:
            done = subprocess.run(command, stdin=stream, capture_output=True, text=True)
        if done.returncode == 255:
            raise TargetError(_unreachable(self.name, done.stderr))
        return done


def _unreachable(host: str, told: str) -> str:
    if "HOST IDENTIFICATION HAS CHANGED" in told:
        return f"{host} shows another host key than the known one: make sure who answers there"
    if "Host key verification failed" in told:
        return (
            f"the host key of {host} is not known: connect once with ssh and compare its "
            "fingerprint with the board's, or pass known_hosts"
        )
    if "Permission denied" in told:
        return f"{host} does not accept the key: install it with ssh-copy-id, or pass identity"
    reason = " ".join(line for line in told.splitlines() if not line.startswith("Warning"))
    return f"{host} cannot be reached: {reason.strip()[-300:]}"


def _run_on(
    board: Board, archive: Path, size: int, manifest: dict, settings: Settings, folder: str
) -> dict:
    where = shlex.quote(folder)
    probe = board.run(f"uname -m && df -Pk {where}")
    if probe.returncode:
        raise TargetError(f"{board.name}: cannot use {folder}: {probe.stderr.strip()[-300:]}")
    machine, _, disk = probe.stdout.strip().splitlines()[-3:]
    native = settings.runner == "native" or (settings.runner == "auto" and manifest["machines"])
    if native and machine not in manifest["machines"]:
        raise TargetError(f"{board.name}: {_wrong_machine(machine, manifest)}")
    full = f"{board.name} has no room in {folder} for {size / 1e6:.1f} MB: pass another folder"
    free = re.search(r"(\d+)\s+\d+%", disk)
    if free and int(free[1]) * 1024 < 1.05 * size:
        raise TargetError(full)
    made = board.run(f"mktemp -d {where}/prunekit.XXXXXX")
    if made.returncode:
        raise TargetError(full if _is_full(made) else f"{board.name}: {made.stderr.strip()}")
    scratch = shlex.quote(made.stdout.strip())
    try:
        sent = board.run(f"cd {scratch} && gzip -dc | tar -xf -", archive)
        if sent.returncode:
            raise TargetError(full if _is_full(sent) else f"{board.name}: {sent.stderr.strip()}")
        place = f"{scratch}/{ROOT}"
        checked = board.run(f"cd {place} && sha256sum -c SHA256SUMS")
        bad = re.findall(r"^(.+): FAILED", checked.stdout, re.MULTILINE)
        if bad:
            raise TargetError(f"{board.name}: {', '.join(bad)} arrived changed: send it again")
        if checked.returncode:
            raise TargetError(f"{board.name}: cannot verify the bundle: {checked.stderr.strip()}")
        program = f"./bin/{machine}/runner" if native else "python3 run.py"
        done = board.run(f"cd {place} && {program} {shlex.join(settings.options())}")
        return _parse(done.returncode, done.stdout, done.stderr)
    finally:
        board.run(f"rm -rf {scratch}")


def _is_full(done: subprocess.CompletedProcess) -> bool:
    return "No space left" in done.stderr
