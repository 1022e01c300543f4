"""The program of a bundle that runs on a board with Python, started as it is there."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

for package in ("onnxscript", "onnxruntime", "executorch", "cv2"):
    pytest.importorskip(package, reason="pip install prunekit[deploy]")
BOARD = Path(__file__).parents[1] / "prunekit" / "deploy" / "board"
FAST = ("--repeats", "2", "--warmup", "0")


def program(name: str, folder: Path) -> ModuleType:
    """A program of the board, which takes this folder for its own."""
    spec = importlib.util.spec_from_file_location(name, BOARD / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.HERE = folder
    return module


@pytest.fixture
def run(unpacked, monkeypatch, capfd):
    """What the program answers to these options."""
    module = program("run", unpacked)

    def answer(*options: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["run.py", *options])
        module.main()
        return json.loads(capfd.readouterr().out)

    answer.module = module
    return answer


def test_every_model_is_run_in_a_process_of_its_own(run, tmp_path):
    result = run("--json", str(tmp_path / "result.json"), *FAST)
    assert [model["name"] for model in result["models"]] == ["plain-fp32", "plain-int8"]
    assert all(model["correct"] and model["repeats"] == 2 for model in result["models"])
    assert result["models"][0]["accuracy"] == 1 and result["runner"] == "onnxruntime"
    assert json.loads((tmp_path / "result.json").read_text()) == result


def test_where_processes_cannot_fork_models_are_run_one_after_another(run, monkeypatch):
    monkeypatch.delattr(os, "fork")
    assert [model["correct"] for model in run(*FAST)["models"]] == [True, True]


def test_one_model_and_some_images(run):
    (model,) = run("--only", "plain-fp32", "--images", "3", *FAST)["models"]
    assert model["name"] == "plain-fp32" and model["images"] == 3


def test_outputs_that_are_not_the_expected_ones_are_said(run, unpacked):
    path = unpacked / "expected" / "plain-fp32.onnx.f32"
    expected = np.fromfile(path, "<f4")
    manifest = json.loads((unpacked / "manifest.json").read_text())
    del manifest["files"]["expected/plain-fp32.onnx.f32"]  # else the change is found first
    (unpacked / "manifest.json").write_text(json.dumps(manifest))
    (expected + 1).tofile(path)
    (model,) = run("--only", "plain-fp32", *FAST)["models"]
    assert not model["correct"] and model["max_error"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        (("--only", "best"), "no model best; there are plain-fp32, plain-int8"),
        (("--threads", "0"), "--threads and --repeats must be at least 1"),
        (("--warmup", "-1"), "--warmup at least 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(run, options, refusal):
    with pytest.raises(SystemExit, match=refusal):
        run(*options)


def test_changed_or_missing_file_is_named(run, unpacked):
    model = unpacked / "models" / "plain-int8.onnx"
    content = model.read_bytes()
    model.write_bytes(content[:-1] + b"?")
    with pytest.raises(SystemExit, match=r"models/plain-int8\.onnx is missing or changed"):
        run()
    model.unlink()
    with pytest.raises(SystemExit, match=r"models/plain-int8\.onnx is missing or changed"):
        run()


def test_model_that_fails_is_named(run, unpacked, monkeypatch):
    monkeypatch.setattr(run.module, "verify", lambda manifest: None)
    (unpacked / "models" / "plain-int8.onnx").write_bytes(b"no model")
    with pytest.raises(SystemExit, match=r"run\.py: plain-int8 failed"):
        run(*FAST)


def test_without_onnxruntime_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SystemExit, match="pip install onnxruntime numpy"):
        run("--only", "plain-fp32")


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd08\n", "0x41:0xd08"),
        ("model name\t: A processor\nmodel name\t: its second core\n", "A processor"),
    ],
)
def test_processor_names_itself(run, tmp_path, monkeypatch, lines, name):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(lines)
    monkeypatch.setattr(run.module, "Path", lambda path: cpuinfo)
    assert run.module.processor() == name


def test_facts_that_the_system_does_not_tell_are_empty(run, tmp_path, monkeypatch):
    assert run.module.first_line(str(tmp_path / "model")) == ""
    (tmp_path / "model").write_bytes(b"A board\x00")
    assert run.module.first_line(str(tmp_path / "model")) == "A board"
    monkeypatch.setattr(run.module, "Path", lambda path: tmp_path / "no cpuinfo")
    monkeypatch.setattr(run.module.platform, "processor", lambda: "some processor")
    assert run.module.processor() == "some processor"
    monkeypatch.setitem(sys.modules, "resource", None)
    assert run.module.peak_memory_kb() is None


def test_video_program_prints_what_it_measured(unpacked, tmp_path, monkeypatch, capsys):
    import cv2

    source = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(source, cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), 200, np.uint8))
    writer.release()
    video = program("video", unpacked)
    options = ("--bundle", str(unpacked), "--model", "plain-fp32")
    out = ("--out", str(tmp_path / "annotated.avi"))
    monkeypatch.setattr(sys, "argv", ["video.py", "--source", source, *out, *options])
    video.main()
    assert json.loads(capsys.readouterr().out)["frames"] == 3
    assert (tmp_path / "annotated.avi").is_file()
    monkeypatch.setattr(sys, "argv", ["video.py", "--source", source, *out, "--model", "best"])
    with pytest.raises(SystemExit, match=r"video\.py: no model 'best'"):
        monkeypatch.setattr(sys, "argv", [*sys.argv, *options[:2]])
        video.main()
    nowhere = ("--out", str(tmp_path / "no folder" / "x.avi"))
    with pytest.raises(ValueError, match=r"cannot write the video .*x\.avi"):
        video.annotate(source, nowhere[1], lambda image: ("x", 1.0))
