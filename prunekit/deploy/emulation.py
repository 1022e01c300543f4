"""64-bit ARM on this machine: programs under QEMU, and how many instructions they execute.

Time under emulation means nothing. Counts do: they repeat, and two counts on
the same core type can be compared.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from prunekit.deploy.processes import TIME_LIMIT, Stopped, finish
from prunekit.deploy.toolchain import SOURCES, ToolError, build_runner, cache, sysroot, tool
from prunekit.storage.files import replacing

#: Core types, and the part number by which each names itself (Arm, MIDR_EL1).
CORES = {"cortex-a53": 0xD03, "cortex-a57": 0xD07, "cortex-a72": 0xD08}
CPUINFO = """\
processor\t: 0
BogoMIPS\t: 100.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part:#05x}
CPU revision\t: 4

"""


def emulation_root(cpu: str) -> Path:
    """The folder that an emulated program sees as ``/``: Debian 11 on one core of this type.

    Libraries choose their kernels by ``/proc/cpuinfo``. Without one of its
    own, an emulated program would read that of the machine underneath.
    """
    if cpu not in CORES:
        raise ToolError(f"no core type {cpu!r}: there are {', '.join(CORES)}")
    libraries = sysroot()
    folder = cache() / f"root-{cpu}"
    processors = folder / "sys/devices/system/cpu"
    for part in (folder / "proc", processors):
        part.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "proc/cpuinfo") as temporary:
        temporary.write_text(CPUINFO.format(part=CORES[cpu]))
    for name in ("possible", "present", "online"):
        with replacing(processors / name) as temporary:
            temporary.write_text("0\n")
    for name in ("lib", "usr"):
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(libraries / name)
    return folder


def emulated(command: list[str], cpu: str) -> list[str]:
    """The command that runs an aarch64 program on an emulated core."""
    emulator = shutil.which("qemu-aarch64-static") or tool("qemu-aarch64")
    return [emulator, "-L", str(emulation_root(cpu)), "-cpu", cpu, *command]


def count_instructions(
    folder: str | Path, name: str, cpu: str, *, time_limit: float = TIME_LIMIT
) -> int:
    """Instructions that one inference of a model executes, single-threaded, by the C++ runner.

    Counted is the second inference: the run with two less the run with one,
    which takes out starting, loading and packing weights.

    Parameters
    ----------
    folder
        An unpacked bundle. The runner is this library's, not the bundle's.
    name
        A model of its plan, such as ``"pruned-int8"``.
    cpu
        One of :data:`CORES`. They may run different kernels.
    time_limit
        Seconds that each of the two runs may take.

    Raises
    ------
    ToolError
        A tool is missing, or the program failed or took too long.
    """
    one, two = (_count(Path(folder), name, cpu, repeats, time_limit) for repeats in (1, 2))
    return two - one


def _count(folder: Path, name: str, cpu: str, repeats: int, time_limit: float) -> int:
    runner = build_runner("aarch64") / "runner"
    command = [
        *(tool("qemu-aarch64"), "-L", str(emulation_root(cpu)), "-cpu", cpu),
        *("-plugin", str(_plugin()), "-d", "plugin", str(runner)),
        *("--plan", str(folder / "plan.txt"), "--only", name, "--threads", "1"),
        *("--images", "1", "--warmup", "0", "--repeats", str(repeats)),
    ]
    try:
        done = finish(command, time_limit)
    except Stopped as error:
        raise ToolError(f"counting {name} on {cpu} was ended: {error}") from error
    stderr = done.stderr.decode("utf-8", "replace")
    found = re.findall(r"^instructions (\d{1,18})$", stderr, re.MULTILINE)
    if done.returncode or len(found) != 1:
        raise ToolError(f"counting {name} on {cpu} failed: {stderr[-500:]}")
    return int(found[0])


def _plugin() -> Path:
    """The counting plugin, compiled for the plugin interface of the QEMU installed."""
    asked = subprocess.run([tool("qemu-aarch64"), "--version"], capture_output=True, text=True)
    version = re.search(r"version (\d+)\.", asked.stdout)
    if version is None:
        raise ToolError(f"qemu-aarch64 does not say its version: {asked.stdout[:200]!r}")
    # QEMU 9 raised the oldest interface it takes from 1 to 2.
    interface = 1 if int(version[1]) < 9 else 2
    source = SOURCES / "count.c"
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    path = cache() / f"count-{interface}-{key}.so"
    if not path.is_file():
        with replacing(path) as temporary:
            command = [
                *(tool("gcc"), "-shared", "-fPIC", "-O2", "-fvisibility=hidden"),
                *(f"-DQEMU_PLUGIN_VERSION={interface}", str(source), "-o", str(temporary)),
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise ToolError(f"the plugin does not compile:\n{done.stderr[-2000:]}")
    return path
