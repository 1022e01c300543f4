"""Compilers, emulators and downloads, with scripts in their place: what is asked, and kept."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from prunekit.deploy import ToolError, count_instructions, emulation, toolchain
from prunekit.deploy.toolchain import build_runner, install_tools, missing_tools, needed_glibc

if not sys.platform.startswith("linux"):
    pytest.skip("boards run Linux, and so does what builds for them", allow_module_level=True)
HERE = platform.machine()
#: Writes what it is told with -o, as a compiler would, and what it was asked beside it.
COMPILER = """
case "$1" in -print-file-name=*) echo /own/headers; exit;; esac
echo "$@" >> "$CALLS"
while [ "$1" != -o ]; do shift; done
echo "program GLIBC_2.{minor} GLIBC_2.4" > "$2"
"""
#: Says what the counting plugin would: so many instructions to start, and so many an inference.
EMULATOR = """
[ "$1" = --version ] && { echo "qemu-aarch64 version {version}.2.1"; exit; }
while [ "$1" != --repeats ]; do shift; done
echo "instructions $((1000 + $2 * 70))" >&2
"""


class Bench:
    """A folder of programs that is the whole PATH, an empty cache, and a record of what ran."""

    def __init__(self, folder: Path) -> None:
        self.programs, self.calls = folder / "bin", folder / "calls"
        self.cache = folder / "cache" / "prunekit" / "arm"
        self.programs.mkdir()
        for name in ("sh", "mkdir", "cp"):
            (self.programs / name).symlink_to(shutil.which(name))

    def program(self, name: str, script: str = "exit 0") -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.cache.iterdir())


@pytest.fixture
def bench(tmp_path, monkeypatch) -> Bench:
    bench = Bench(tmp_path)
    monkeypatch.setenv("PATH", str(bench.programs))
    monkeypatch.setenv("CALLS", str(bench.calls))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return bench


@pytest.fixture
def native(bench, monkeypatch) -> Bench:
    """With a compiler for this machine and an ExecuTorch to link with."""
    package = bench.programs.parent / "executorch"
    (package / "lib").mkdir(parents=True)
    for name in toolchain.LIBRARIES:
        (package / "lib" / f"lib{name}.so").write_text(name)
    monkeypatch.setattr(toolchain, "_executorch", lambda machine: package)
    monkeypatch.setattr(toolchain.metadata, "version", lambda name: "1.5.0")
    bench.program("g++", COMPILER.format(minor=31))
    return bench


def test_missing_program_names_its_package(bench):
    assert set(missing_tools()) == set(toolchain.TOOLS.values())
    with pytest.raises(ToolError, match="apt-get install g\\+\\+-aarch64-linux-gnu"):
        toolchain.tool("aarch64-linux-gnu-g++")
    bench.program("gcc")
    assert "gcc" not in missing_tools() and toolchain.tool("gcc") == str(bench.programs / "gcc")


def test_tools_are_installed_with_apt_get_as_root_or_through_sudo(bench, monkeypatch):
    with pytest.raises(ToolError, match="no apt-get here: install these packages: dpkg g"):
        install_tools()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    bench.program("apt-get", "exit 1")
    with pytest.raises(ToolError, match="neither root nor sudo without a password"):
        install_tools()
    bench.program("env", 'shift; exec "$@"')
    bench.program("sudo", 'shift; [ "$1" = true ] || exec "$@"')
    with pytest.raises(ToolError, match="apt-get could not install these packages: dpkg g"):
        install_tools()
    copies = "; ".join(f"cp $0 {bench.programs}/{name}" for name in toolchain.TOOLS)
    bench.program("apt-get", f'echo "$@" >> "$CALLS"; [ "$1" = update ] || {{ {copies}; }}')
    install_tools()
    assert missing_tools() == [] and "install -y" in bench.calls.read_text()
    bench.calls.unlink()
    install_tools()
    assert not bench.calls.exists(), "nothing was missing any more"


def test_runner_is_built_once(native):
    folder = build_runner(HERE)
    assert (folder / "runner").is_file()
    assert {p.name for p in (folder / "lib").iterdir()} == {
        f"lib{name}.so" for name in toolchain.LIBRARIES
    }
    assert build_runner(HERE) == folder and len(native.calls.read_text().splitlines()) == 1
    assert needed_glibc(folder) == (2, 31)


def test_runner_that_does_not_compile_leaves_nothing(native):
    native.program("g++", "echo 'runner.cpp:1: no such thing' >&2; exit 1")
    with pytest.raises(ToolError, match=r"does not compile:\nrunner\.cpp:1: no such thing"):
        build_runner(HERE)
    assert native.kept() == []
    with pytest.raises(ToolError, match="not riscv64"):
        build_runner("riscv64")


def test_folder_without_programs_asks_for_no_glibc(tmp_path):
    (tmp_path / "notes.txt").write_text("no program")
    with pytest.raises(ToolError, match="no program in"):
        needed_glibc(tmp_path)


@pytest.fixture
def debian(bench, monkeypatch) -> Path:
    """An archive of Debian's with one package of libraries in it."""
    pool = bench.programs.parent / "debian"
    package = pool / "pool/main/libx/libxy/libxy_1_arm64.deb"
    package.parent.mkdir(parents=True)
    package.write_bytes(b"libraries")
    digest = hashlib.sha256(b"libraries").hexdigest()
    monkeypatch.setattr(toolchain, "PACKAGES", {"libxy/libxy_1": digest})
    monkeypatch.setattr(toolchain, "ARCHIVES", ("file:///nowhere", pool.as_uri()))
    bench.program("dpkg-deb", 'mkdir "$3/usr" && cp "$2" "$3/usr"')
    return package


def test_libraries_are_fetched_once_from_whichever_archive_has_them(bench, debian):
    root = toolchain.sysroot()
    assert (root / "usr" / "libxy_1_arm64.deb").read_bytes() == b"libraries"
    debian.unlink()
    assert toolchain.sysroot() == root
    shutil.rmtree(root)
    assert toolchain.sysroot() == root, "the package is kept as well"


def test_another_file_than_expected_is_not_unpacked(bench, debian):
    debian.write_bytes(b"something else")
    with pytest.raises(ToolError, match=r"nowhere.*libxy_1_arm64\.deb: another file than"):
        toolchain.sysroot()
    assert bench.kept() == []


def test_package_that_cannot_be_unpacked_is_named(bench, debian):
    bench.program("dpkg-deb", "echo 'no space' >&2; exit 2")
    with pytest.raises(ToolError, match=r"cannot unpack .*libxy_1_arm64\.deb: no space"):
        toolchain.sysroot()
    assert bench.kept() == ["libxy_1_arm64.deb"]


@pytest.fixture
def foreign(bench, debian, monkeypatch) -> Bench:
    """With all that building for ARM takes, on a machine that is none."""
    wheel = bench.programs.parent / "executorch.whl"
    with zipfile.ZipFile(wheel, "w") as stored:
        for name in ("include/a.h", *(f"lib/lib{n}.so" for n in toolchain.LIBRARIES), "big.py"):
            stored.writestr(f"executorch/{name}", name)
    bench.program("pip", f'while [ "$1" != --dest ]; do shift; done; cp {wheel} "$2"')
    bench.program("aarch64-linux-gnu-g++", COMPILER.format(minor=31))
    monkeypatch.setattr(toolchain.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(toolchain.metadata, "version", lambda name: "1.5.0+cpu")
    monkeypatch.setattr(sys, "executable", str(bench.programs / "pip"))
    return bench


def test_arm_runner_is_built_against_debian_and_its_own_executorch(foreign):
    pytest.importorskip("executorch", reason="pip install prunekit[deploy]")
    folder = build_runner("aarch64")
    asked = foreign.calls.read_text()
    assert f"--sysroot={foreign.cache}/debian11-arm64" in asked and "/own/headers" in asked
    unpacked = foreign.cache / "executorch-1.5.0-aarch64" / "executorch"
    assert f"-L {unpacked}/lib" in asked and not (unpacked / "big.py").exists()
    assert (folder / "lib" / "libexecutorch.so").is_file()

    foreign.program("aarch64-linux-gnu-g++", COMPILER.format(minor=36))
    shutil.rmtree(folder)
    with pytest.raises(ToolError, match=r"needs glibc \(2, 36\), more than \(2, 31\)"):
        build_runner("aarch64")
    assert not folder.exists()


def test_executorch_that_cannot_be_fetched_is_said(foreign):
    pytest.importorskip("executorch", reason="pip install prunekit[deploy]")
    foreign.program("pip", "echo 'no matching distribution' >&2; exit 1")
    with pytest.raises(ToolError, match=r"cannot fetch ExecuTorch 1\.5\.0 .* no matching"):
        build_runner("aarch64")


@pytest.fixture
def emulator(bench, tmp_path, monkeypatch) -> Bench:
    """With an emulator and a compiler for its plugin, and a runner that is already there."""
    (tmp_path / "runner").mkdir()
    (tmp_path / "libraries" / "lib").mkdir(parents=True)
    monkeypatch.setattr(emulation, "build_runner", lambda machine: tmp_path / "runner")
    monkeypatch.setattr(emulation, "sysroot", lambda: tmp_path / "libraries")
    bench.program("qemu-aarch64", EMULATOR.replace("{version}", "9"))
    bench.program("gcc", COMPILER.format(minor=31))
    return bench


def test_emulated_core_names_itself(emulator):
    command = emulation.emulated(["runner", "--plan", "plan.txt"], "cortex-a53")
    root = Path(command[command.index("-L") + 1])
    assert "CPU part\t: 0xd03" in (root / "proc/cpuinfo").read_text()
    assert (root / "lib").samefile(emulation.sysroot() / "lib")
    assert command[-5:] == ["-cpu", "cortex-a53", "runner", "--plan", "plan.txt"]
    assert emulation.emulation_root("cortex-a53") == root, "a second time as well"
    with pytest.raises(ToolError, match="no core type 'cortex-m4': there are cortex-a53"):
        emulation.emulation_root("cortex-m4")


@pytest.mark.parametrize(("version", "interface"), [("8", 1), ("9", 2), ("10", 2)])
def test_one_inference_is_counted_by_a_plugin_of_the_right_interface(emulator, version, interface):
    emulator.program("qemu-aarch64", EMULATOR.replace("{version}", version))
    assert [count_instructions("bundle", "plain-int8", "cortex-a72") for _ in range(2)] == [70, 70]
    (asked,) = emulator.calls.read_text().splitlines()
    assert f"-DQEMU_PLUGIN_VERSION={interface}" in asked


def test_counting_that_fails_says_why(emulator):
    emulator.program("gcc", "echo 'no header' >&2; exit 1")
    with pytest.raises(ToolError, match=r"plugin does not compile:\nno header"):
        count_instructions("bundle", "plain-int8", "cortex-a72")
    emulator.program("gcc", COMPILER.format(minor=31))
    emulator.program("qemu-aarch64", '[ "$1" = --version ] && echo "version 9.0" || echo no >&2')
    with pytest.raises(ToolError, match="counting plain-int8 on cortex-a72 failed: no"):
        count_instructions("bundle", "plain-int8", "cortex-a72")
    emulator.program(
        "qemu-aarch64", '[ "$1" = --version ] && echo "version 9.0" || while :; do :; done'
    )
    with pytest.raises(ToolError, match=r"on cortex-a72 was ended: no end after 0\.1 seconds"):
        count_instructions("bundle", "plain-int8", "cortex-a72", time_limit=0.1)
    emulator.program("qemu-aarch64", "echo 'an emulator'")
    with pytest.raises(ToolError, match="does not say its version: 'an emulator"):
        count_instructions("bundle", "plain-int8", "cortex-a72")
