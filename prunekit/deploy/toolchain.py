"""Building the C++ runner, for this machine and for 64-bit ARM.

The ARM runner is compiled against Debian 11's libraries, so that it starts on
boards with glibc 2.31, and against the headers and libraries inside
ExecuTorch's own aarch64 wheel: nothing of ExecuTorch is compiled here.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from importlib import metadata
from pathlib import Path

from prunekit.errors import PrunekitError
from prunekit.extras import need
from prunekit.storage.files import replacing

SOURCES = Path(__file__).parent / "board"
LIBRARIES = ("executorch", "executorch_backend_xnnpack", "executorch_threadpool")
#: The newest glibc that the ARM runner may ask for: that of Debian 11.
GLIBC = (2, 31)
TOOLS = {
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "qemu-aarch64-static": "qemu-user-static",
    "qemu-aarch64": "qemu-user",  # the static one takes no plugins
    "dpkg-deb": "dpkg",
    "gcc": "gcc",
}
ARCHIVES = ("https://deb.debian.org/debian", "https://archive.debian.org/debian")
#: Debian 11's C and C++ libraries for arm64, by their SHA-256.
PACKAGES = {
    "glibc/libc6_2.31-13+deb11u11": (
        "baaa9aa184e2f21738c5819055e6740cc5b22f198e3f416e33f82b40ff6933d8"
    ),
    "glibc/libc6-dev_2.31-13+deb11u11": (
        "28d478134722dcd4b0bd2045a199301d18713bf95947b9fce66634e7aeacab2e"
    ),
    "linux/linux-libc-dev_5.10.223-1": (
        "8b6374a64412d33eac61d74f77b8f932da4b8a707ea8a614791e2a35b8917618"
    ),
    "gcc-10/libgcc-s1_10.2.1-6": (
        "e2fcdb378d3c1ad1bcb64d4fb6b37aab44011152beca12a4944f435a2582df1f"
    ),
    "gcc-10/libgcc-10-dev_10.2.1-6": (
        "80fc73d339ada2e194175afe83cd89014565242153b6e3c2128849d8817da367"
    ),
    "gcc-10/libstdc++6_10.2.1-6": (
        "7869aa540cc46e9f3d4267d5bde2af0e5b429a820c1d6f1a4cfccfe788c31890"
    ),
    "gcc-10/libstdc++-10-dev_10.2.1-6": (
        "cee7ca63613b50a8a51cc670db385c7e6d1181b72c94148fc8b7992e4570782d"
    ),
}


class ToolError(PrunekitError, RuntimeError):
    """A compiler, emulator or download that is needed is not there; the message says which."""


def missing_tools() -> list[str]:
    """The system packages that building and emulating for ARM lack here."""
    return sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})


def install_tools() -> None:
    """Install what :func:`missing_tools` names with apt-get, as root or through sudo.

    Raises
    ------
    ToolError
        There is no apt-get, or no right to use it, or it failed.
    """
    packages = missing_tools()
    if not packages:
        return
    remedy = f"install these packages: {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise ToolError(f"there is no apt-get here: {remedy}")
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if root and (
        shutil.which("sudo") is None
        or subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode
    ):
        raise ToolError(f"neither root nor sudo without a password: {remedy}")
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    subprocess.run([*apt, "update", "-qq"], check=False)
    install = [*apt, "install", "-y", "-qq", "--no-install-recommends", *packages]
    if subprocess.run(install, stdout=subprocess.DEVNULL).returncode or missing_tools():
        raise ToolError(f"apt-get could not {remedy}")


def tool(name: str) -> str:
    """The path of a program.

    Raises
    ------
    ToolError
        It is not installed; the message names the package.
    """
    path = shutil.which(name)
    if path is None:
        raise ToolError(f"{name} is not installed: apt-get install {TOOLS.get(name, name)}")
    return path


def build_runner(machine: str) -> Path:
    """Build the C++ runner, once for each version of its parts.

    Parameters
    ----------
    machine
        ``"aarch64"``, or this machine's own architecture.

    Returns
    -------
    A folder with ``runner`` and ``lib/``.

    Raises
    ------
    ToolError
        A tool or download is missing, compiling failed, or the result asks
        for a newer glibc than :data:`GLIBC`.
    """
    if machine not in {"aarch64", platform.machine()}:
        raise ToolError(f"runners are built for aarch64 and {platform.machine()}, not {machine}")
    package = _executorch(machine)
    if machine == "aarch64":
        compiler = tool("aarch64-linux-gnu-g++")
        flags = _sysroot_flags(compiler)
    else:
        compiler, flags = tool("g++"), []
    source = SOURCES / "runner.cpp"
    facts = [machine, metadata.version("executorch"), compiler, *flags]
    key = hashlib.sha256(source.read_bytes() + " ".join(facts).encode()).hexdigest()[:12]
    folder = cache() / f"runner-{machine}-{key}"
    if folder.is_dir():
        return folder
    with _filling(folder) as scratch:
        include = package / "include"
        command = [
            *(compiler, "-std=c++20", "-O2", str(source), "-o", str(scratch / "runner")),
            *("-isystem", str(include)),
            *("-isystem", str(include / "executorch/runtime/core/portable_type/c10")),
            *("-DC10_USING_CUSTOM_GENERATED_MACROS", *flags),
            *("-L", str(package / "lib"), "-Wl,--no-as-needed"),
            *(f"-l{name}" for name in LIBRARIES),
            "-Wl,-rpath,$ORIGIN/lib",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ToolError(f"the runner does not compile:\n{done.stderr[-2000:]}")
        (scratch / "lib").mkdir()
        for name in LIBRARIES:
            shutil.copy2(package / "lib" / f"lib{name}.so", scratch / "lib")
        if machine == "aarch64" and needed_glibc(scratch) > GLIBC:
            raise ToolError(f"the runner needs glibc {needed_glibc(scratch)}, more than {GLIBC}")
    return folder


def needed_glibc(folder: Path) -> tuple[int, int]:
    """The newest glibc version that any program or library in a folder asks for."""
    versions = [
        (int(major), int(minor))
        for path in folder.rglob("*")
        if path.is_file()
        for major, minor in re.findall(rb"GLIBC_(\d+)\.(\d+)", path.read_bytes())
    ]
    if not versions:
        raise ToolError(f"no program in {folder} asks for glibc")
    return max(versions)


def sysroot() -> Path:
    """Debian 11's libraries for arm64, fetched once and checked against their hashes."""
    folder = cache() / "debian11-arm64"
    if folder.is_dir():
        return folder
    with _filling(folder) as scratch:
        for name, digest in PACKAGES.items():
            archive = _fetch(name, digest)
            done = subprocess.run(
                [tool("dpkg-deb"), "-x", archive, scratch], capture_output=True, text=True
            )
            if done.returncode:
                raise ToolError(f"cannot unpack {archive}: {done.stderr.strip()}")
    return folder


def cache() -> Path:
    """Where files are kept: in ``$XDG_CACHE_HOME/prunekit/arm``, else ``~/.cache/prunekit/arm``."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "prunekit" / "arm"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _executorch(machine: str) -> Path:
    """The ``executorch`` package for a machine: the installed one, or one from its wheel."""
    package = Path(next(iter(need("executorch", "deploy").__path__)))
    if machine == platform.machine():
        return package
    version = metadata.version("executorch").partition("+")[0]
    folder = cache() / f"executorch-{version}-{machine}"
    if not folder.is_dir():
        with _filling(folder) as scratch, zipfile.ZipFile(_wheel(version, machine)) as wheel:
            wanted = ("executorch/include/", *(f"executorch/lib/lib{n}.so" for n in LIBRARIES))
            wheel.extractall(scratch, [n for n in wheel.namelist() if n.startswith(wanted)])
    return folder / "executorch"


def _wheel(version: str, machine: str) -> Path:
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        tags = [f"manylinux_2_{minor}_{machine}" for minor in (28, 27, 17)]
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary", ":all:", "--dest", scratch, f"executorch=={version}"),
            *(option for tag in tags for option in ("--platform", tag)),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        found = list(Path(scratch).glob("*.whl"))
        if done.returncode or not found:
            raise ToolError(
                f"cannot fetch ExecuTorch {version} for {machine}: {done.stderr[-500:]}"
            )
        return found[0].replace(cache() / found[0].name)


def _sysroot_flags(compiler: str) -> list[str]:
    """Everything from Debian 11 but the compiler's own headers."""
    root = sysroot()
    done = subprocess.run(
        [compiler, "-print-file-name=include"], capture_output=True, text=True, check=True
    )
    triplet = "aarch64-linux-gnu"
    headers = [
        *(root / "usr/include/c++/10", root / f"usr/include/{triplet}/c++/10"),
        *(done.stdout.strip(), root / f"usr/include/{triplet}", root / "usr/include"),
    ]
    libraries = [f"usr/lib/{triplet}", f"lib/{triplet}", f"usr/lib/gcc/{triplet}/10"]
    return [
        *(f"--sysroot={root}", "-nostdinc", "-nostdinc++"),
        *(part for header in headers for part in ("-isystem", str(header))),
        *("-B", str(root / libraries[0])),
        *(part for library in libraries for part in ("-L", str(root / library))),
    ]


def _fetch(name: str, digest: str) -> Path:
    source, file = name.split("/")
    path = cache() / f"{file}_arm64.deb"
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
        return path
    folder = source[:4] if source.startswith("lib") else source[0]
    errors = []
    for archive in ARCHIVES:
        url = f"{archive}/pool/main/{folder}/{source}/{file}_arm64.deb"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                content = answer.read()
        except (urllib.error.URLError, TimeoutError) as error:
            errors.append(f"{url}: {error}")
            continue
        if hashlib.sha256(content).hexdigest() == digest:
            with replacing(path) as temporary:
                temporary.write_bytes(content)
            return path
        errors.append(f"{url}: another file than the one expected")
    raise ToolError("cannot fetch Debian 11's libraries: " + "; ".join(errors))


class _filling:
    """A scratch folder that takes its final name when it is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Path:
        self.scratch = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix="part."))
        return self.scratch

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None and not self.folder.is_dir():
            self.scratch.chmod(0o755)
            self.scratch.replace(self.folder)
        else:
            shutil.rmtree(self.scratch)
