"""What must stand beside a recorded result so that someone else can get it again."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch
import torchvision


def provenance(
    *, seed: int, data: str, data_sha256: str, command: str, seconds: float, commit: str
) -> dict:
    """Seed, data, machine, versions, commit, command and wall time of a run, for JSON.

    Take ``commit`` from :func:`current_commit` when the run starts: by its
    end the checkout may have moved on.
    """
    return {
        "seed": seed,
        "data": data,
        "data_sha256": data_sha256,
        "command": command,
        "seconds": round(seconds, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
        "commit": commit,
    }


def machine() -> dict:
    """Processor, instruction set, threads and accelerator of this machine."""
    cuda = torch.cuda.is_available()
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if cuda else None,
        "system": platform.system(),
    }


def current_commit() -> str:
    """The commit of the code in use, ``+changes`` where files differ, ``unknown`` outside git.

    Results that are being recorded differ while the code does not: folders of
    that name are not looked at.
    """
    here = Path(__file__).parent
    try:
        head = _git("rev-parse", "HEAD", cwd=here)
        tracked = ("status", "--porcelain", "--untracked-files=no", "--")
        changed = _git(*tracked, ":/", ":(top,exclude)*/results/*", cwd=here)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed else "")


def _git(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
