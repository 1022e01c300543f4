"""Programs that do not end, and what the command line says when something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from boards import contents, forged, running

import prunekit
from prunekit.deploy import BundleError, Settings, TargetError, run, targets
from prunekit.deploy.__main__ import main
from prunekit.deploy.processes import Stopped, finish
from prunekit.deploy.toolchain import LIBRARIES
from prunekit.models import TinySqueezeNet

for package in ("onnxscript", "onnxruntime", "executorch"):
    pytest.importorskip(package, reason="pip install prunekit[deploy]")


def program(folder: Path, text: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "sleep 60 & echo $! $$ >{pids}; wait",
        "exec >&- 2>&-; sleep 60 & echo $! $$ >{pids}; wait",
        "sleep 60 & echo $! $$ >{pids}; while sleep 0.05; do echo still here; done",
        "trap '' TERM HUP INT; sleep 60 & echo $! $$ >{pids}; wait",
        "sleep 60 & echo $! >{pids}",
    ],
    ids=["silent", "outputs closed", "talking", "deaf", "child left"],
)
def test_stalled_runner_is_ended_with_its_children(text, archive, tmp_path, monkeypatch):
    pids = tmp_path / "pids"
    stalled = program(tmp_path, text.format(pids=pids))
    monkeypatch.setattr(sys, "executable", str(stalled))
    start = time.monotonic()
    with pytest.raises(TargetError, match=r"local: the runner was ended: no end after 0\.5 s"):
        run(archive, settings=Settings("python"), time_limit=0.5)
    assert time.monotonic() - start < 10
    started = [int(pid) for pid in pids.read_text().split()]
    assert started and not any(running(pid) for pid in started)


def test_stalled_emulator_is_ended(archive, tmp_path, monkeypatch):
    files = contents(archive)
    parts = ("runner", *(f"lib/lib{name}.so" for name in LIBRARIES))
    files |= {f"bin/aarch64/{part}": b"" for part in parts}
    manifest = json.loads(files["manifest.json"])
    manifest |= {"machines": ["aarch64"], "glibc": {"aarch64": "2.31"}}
    with_runner = forged(files, manifest, tmp_path / "with_runner.tar.gz")
    monkeypatch.setattr(targets, "build_runner", lambda machine: tmp_path / "nothing to compare")
    monkeypatch.setattr(targets, "emulated", lambda command, cpu: ["sleep", "60"])
    with pytest.raises(BundleError, match=r"emulated: the runner was ended: no end after 0\.1 s"):
        run(with_runner, "emulated", time_limit=0.1)


def test_runner_that_never_stops_talking_is_ended(archive, tmp_path, monkeypatch):
    for flooded in ("yes", "yes >&2"):
        monkeypatch.setattr(sys, "executable", str(program(tmp_path, flooded)))
        with pytest.raises(BundleError, match=r"local: .*it wrote more than 4,194,304 bytes"):
            run(archive, settings=Settings("python"))


def test_output_is_whole_and_input_empty():
    done = finish(["sh", "-c", "cat; head -c 3000000 /dev/zero; echo no >&2; exit 3"], 60)
    assert done.returncode == 3 and done.stdout == bytes(3_000_000) and done.stderr == b"no\n"
    with pytest.raises(FileNotFoundError):
        finish(["prunekit-has-no-such-program"], 1)


def test_interrupted_run_leaves_no_program_behind(tmp_path):
    pids = tmp_path / "pids"
    stalled = program(tmp_path, f"echo $$ >{pids}; sleep 60")
    # A shell that starts tests in the background has them ignore Ctrl-C, and so their children.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"from prunekit.deploy.processes import finish; finish([{str(stalled)!r}], 60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        while not (pids.is_file() and pids.read_text()):
            time.sleep(0.05)
        os.kill(process.pid, 2)
    assert process.returncode and not running(int(pids.read_text()))


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_time_limit_must_be_one(limit, archive):
    with pytest.raises(ValueError, match="time_limit must be"):
        run(archive, time_limit=limit)
    with pytest.raises(Stopped, match="no end"):
        finish(["sleep", "60"], 0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.tar.gz"], "there is no file none.tar.gz"),
        (["run", "{archive}", "--target", "moon"], "target must be local"),
        (["run", "{archive}", "--target", "ssh://-x"], "not of the form"),
        (["run", "{archive}", "--only", "best"], "no model best: there are plain-fp32"),
        (["run", "{archive}", "--runner", "native"], "no machine"),
        (["run", "{archive}", "--threads", "0"], "--threads"),
        (["run", "{archive}", "--time-limit", "nan"], "time_limit"),
        (["run", "{archive}", "--runner", "python", "--time-limit", "0.01"], "no end after"),
        (["run", "{text}"], "damaged or no bundle"),
        (["run", "/"], "there is no file /"),
        (["count", "{text}"], "damaged or no bundle"),
        (["bundle", "{out}", "--model", "{text}"], "NAME=FILE"),
        (["bundle", "{out}", "--model", "a={text}"], "text"),
        (["bundle", "{out}", "--model", "a=none.safetensors"], "none.safetensors"),
        (["bundle", "{out}", "--model", "a={model}", "--data", "/nowhere"], "/nowhere"),
        (["bundle", "{out}", "--model", "a={model}", "--images", "0"], "at least 1, not 0"),
        (["bundle", "{out}", "--model", "a={model}", "--images", "-1"], "at least 1, not -1"),
        (["bundle", "{out}", "--model", "a={model}", "--size", "0"], "at least 1, not 0"),
        (["bundle", "{out}", "--model", "a={model}", "--calibration", "0"], "at least 1, not 0"),
        (["bundle", "{out}", "--model", "a/b={model}"], "a/b"),
        (["bundle", "{out}", "--model", "a={model}", "--machine", "vax"], "not vax"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_command_line_says_what_is_wrong_in_one_line(
    arguments, message, archive, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("text\n")
    prunekit.save(TinySqueezeNet(), "model.safetensors")
    places = {"archive": archive, "out": "out.tar.gz", "text": "text", "model": "model.safetensors"}
    arguments = [argument.format(**places) for argument in arguments]
    if arguments[0] == "bundle" and "--data" not in arguments:
        arguments += ["--data", "digits"]
    status = main(arguments)
    errors = capsys.readouterr().err.splitlines()
    assert status == 1 and message in errors[-1] and "Traceback" not in "".join(errors)
    assert errors[-1].startswith("python -m prunekit.deploy: ")
    assert not Path("out.tar.gz").exists()


def test_a_count_that_takes_too_long_is_said_in_one_line(archive, capsys, monkeypatch):
    def stalled(*arguments):
        raise Stopped("no end after 600 s")

    monkeypatch.setattr("prunekit.deploy.__main__.count_instructions", stalled)
    assert main(["count", str(archive)]) == 1
    assert capsys.readouterr().err == "python -m prunekit.deploy: no end after 600 s\n"


def test_words_of_a_board_cannot_move_the_cursor(archive, tmp_path, capsys, monkeypatch):
    shouts = program(tmp_path, "printf 'no\\033[2Jsuch\\nmodule' >&2; exit 3")
    monkeypatch.setattr(sys, "executable", str(shouts))
    assert main(["run", str(archive), "--runner", "python"]) == 1
    message = "python -m prunekit.deploy: local: the runner failed (3): no?[2Jsuch module\n"
    assert capsys.readouterr().err == message
