"""A bundle on a board over ssh; the board is this machine, behind an sshd of its own."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from boards import contents, forged, packed, running

from prunekit.deploy import BundleError, Settings, TargetError, run
from prunekit.deploy.toolchain import LIBRARIES

for package in ("onnxscript", "onnxruntime", "executorch"):
    pytest.importorskip(package, reason="pip install prunekit[deploy]")
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
if not SSHD or not shutil.which("ssh-keygen") or not hasattr(os, "geteuid"):
    pytest.skip("no sshd here: apt-get install openssh-server", allow_module_level=True)
SETTINGS = Settings(runner="python", only="plain-fp32", repeats=2, warmup=0)


@dataclass
class Host:
    """What a person knows of a board, and the folders the tests look into."""

    url: str
    identity: Path
    known_hosts: Path
    folder: Path
    programs: Path

    def run(self, bundle: Path, **changes) -> dict:
        arguments = {
            "settings": SETTINGS,
            "identity": self.identity,
            "known_hosts": self.known_hosts,
            "folder": str(self.folder),
        } | changes
        return run(bundle, arguments.pop("url", self.url), **arguments)

    def program(self, name: str, text: str) -> None:
        """Put a program before the system's own on the board."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


def keys(folder: Path, name: str) -> Path:
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Host]:
    base = tmp_path_factory.mktemp("sshd")
    host_key, identity = keys(base, "host"), keys(base, "user")
    programs, folder = base / "programs", base / "board"
    programs.mkdir()
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config = base / "config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\n"
        f"AuthorizedKeysFile {identity}.pub\nStrictModes no\nUsePAM no\nPidFile none\n"
        # Set here, after the shell has read its own settings, which may change PATH.
        f"PasswordAuthentication no\nForceCommand PATH={programs}:/usr/bin:/bin exec sh -c "
        '"$SSH_ORIGINAL_COMMAND"\n'
    )
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(200):
            if process.poll() is not None:
                pytest.skip(f"sshd does not start here: {process.stderr.read()[-300:]}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        known = base / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {Path(f'{host_key}.pub').read_text()}")
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
        yield Host(url, identity, known, folder, programs)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def board(server) -> Iterator[Host]:
    server.program("python3", f'exec {sys.executable} "$@"')
    yield server
    left = list(server.folder.iterdir())
    for program in server.programs.iterdir():
        program.unlink()
    assert not left, "the target was not cleaned up"


def test_bundle_runs_on_a_board_and_leaves_nothing(archive, board):
    result = board.run(archive)
    assert result["target"] == board.url
    (model,) = result["models"]
    assert model["name"] == "plain-fp32" and model["correct"] and model["median_ms"] > 0


def test_unknown_host_key_is_refused(archive, board, tmp_path):
    (tmp_path / "known").write_text("")
    with pytest.raises(TargetError, match=r"host key of 127\.0\.0\.1 is not known"):
        board.run(archive, known_hosts=tmp_path / "known")


def test_changed_host_key_is_refused(archive, board, tmp_path):
    other = Path(f"{keys(tmp_path, 'other')}.pub").read_text()
    (tmp_path / "known").write_text(f"{board.known_hosts.read_text().split()[0]} {other}")
    with pytest.raises(TargetError, match="another host key"):
        board.run(archive, known_hosts=tmp_path / "known")


def test_key_that_is_not_accepted(archive, board, tmp_path):
    with pytest.raises(TargetError, match="does not accept the key"):
        board.run(archive, identity=keys(tmp_path, "stranger"))


def test_host_that_cannot_be_reached(archive, board):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ssh://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(TargetError, match=r"cannot be reached.*refused"):
            board.run(archive, url=url)


@pytest.mark.parametrize("url", ["ssh://-oProxyCommand=x", "ssh://", "ssh://a:b", "ssh://a/b"])
def test_address_that_is_none(archive, url):
    with pytest.raises(TargetError):
        run(archive, url)


def test_full_disk_is_seen_before_anything_is_sent(archive, board):
    board.program("df", "echo Filesystem; echo /dev/root 100 99 1 99% /")
    with pytest.raises(TargetError, match="no room"):
        board.run(archive)


def test_disk_that_fills_up_on_the_way(archive, board):
    board.program(
        "tar", 'cat >/dev/null; echo "tar: write error: No space left on device" >&2\nexit 2'
    )
    with pytest.raises(TargetError, match="no room"):
        board.run(archive)


def test_file_that_arrives_changed_is_named(archive, board):
    board.program("tar", '/usr/bin/env -i /bin/tar "$@" && echo x >> bundle/images.f32')
    with pytest.raises(TargetError, match=r"images\.f32 arrived changed"):
        board.run(archive)


def test_wrong_architecture_is_said(archive, board, tmp_path):
    files = contents(archive)
    files |= {f"bin/sparc64/lib/lib{name}.so": b"" for name in LIBRARIES}
    manifest = json.loads(files["manifest.json"])
    manifest |= {"machines": ["sparc64"], "glibc": {"sparc64": "2.31"}}
    other = forged(files | {"bin/sparc64/runner": b""}, manifest, tmp_path / "sparc.tar.gz")
    with pytest.raises(TargetError, match="native runner is for sparc64"):
        board.run(other, settings=Settings(repeats=1))


def test_runner_that_fails_is_quoted(archive, board):
    board.program("python3", "echo no such module: onnxruntime >&2; exit 3")
    with pytest.raises(TargetError, match=r"failed \(3\).*onnxruntime"):
        board.run(archive)


def test_folder_that_is_not_there(archive, board):
    with pytest.raises(TargetError, match="cannot use /nowhere"):
        board.run(archive, folder="/nowhere")


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("uname", "connecting"),
        ("mktemp", "making a folder"),
        ("tar", "copying"),
        ("sha256sum", "verifying"),
        ("python3", "running"),
    ],
)
def test_board_that_stalls_is_left_with_nothing_running(name, step, archive, board, tmp_path):
    pids = tmp_path / "pids"
    board.program(name, f"sleep 60 & echo $! $$ >{pids}; wait")
    start = time.monotonic()
    with pytest.raises(BundleError, match=rf"127\.0\.0\.1: {step} was ended: no end after 2 sec"):
        board.run(archive, time_limit=2)
    assert time.monotonic() - start < 20
    started = [int(pid) for pid in pids.read_text().split()]
    assert started and not any(running(pid) for pid in started)


def test_host_that_takes_the_call_and_is_silent(archive, board):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ssh://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(BundleError, match=r"127\.0\.0\.1"):
            board.run(archive, url=url, time_limit=1)
        assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("uname", "true", "say nothing"),
        ("df", "echo", "say nothing"),
        ("mktemp", "true", "made no folder"),
        ("mktemp", "echo /etc", "made no folder there: /etc"),
        ("mktemp", "echo '/tmp/x; touch evil'", "made no folder"),
        ("mktemp", "exit 1", r"making a folder failed \(1\)"),
        ("sha256sum", "exit 1", "cannot verify"),
        ("python3", "echo Welcome", "the runner's answer is no such"),
        ("python3", "yes", "more than 4,194,304 bytes"),
        ("python3", "echo '{}'", r"answer\.runner is missing"),
        ("timeout", "exit 127", "cannot use"),
    ],
)
def test_board_that_talks_nonsense(name, text, message, archive, board):
    board.program(name, text)
    with pytest.raises(BundleError, match=rf"127\.0\.0\.1.*{message}"):
        board.run(archive)


def test_archive_with_a_stranger_is_never_sent(archive, board, tmp_path):
    sent = tmp_path / "sent"
    board.program("uname", f"touch {sent}; exec /bin/uname")
    bad = packed(contents(archive) | {"onnxruntime.py": b"evil"}, tmp_path / "bad.tar.gz")
    with pytest.raises(BundleError, match=r"it holds onnxruntime\.py"):
        board.run(bad)
    assert not sent.exists()
