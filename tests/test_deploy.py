"""Export, bundle and the programs on the board: right outputs, or one clear error and no file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from boards import plain_network, some_batch
from torch import nn

from prunekit.deploy import (
    ExportError,
    Settings,
    TargetError,
    bundle,
    export_executorch,
    export_onnx,
    run,
)
from prunekit.deploy.engines import executorch_engine, onnx_engine, torch_engine
from prunekit.deploy.layers import layer_times

for package in ("onnx", "onnxscript", "onnxruntime", "executorch", "cv2"):
    pytest.importorskip(package, reason="pip install prunekit[deploy]")

BOARD = Path(__file__).parents[1] / "prunekit" / "deploy" / "board"
NAMES = ["plain-fp32", "plain-int8"]


def test_onnx_file_gives_the_outputs_of_the_model(tmp_path):
    model, x = plain_network(), some_batch(1)
    error = export_onnx(model, x, tmp_path / "plain.onnx")
    found = onnx_engine(tmp_path / "plain.onnx")(x.numpy())
    assert error < 1e-4
    np.testing.assert_allclose(found, model(x).detach().numpy(), atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["plain.onnx"], "weights in a second file"


def test_int8_for_batches_larger_than_what_is_checked_by_default(tmp_path):
    model, images = plain_network(), some_batch(40)
    error = export_onnx(model, images, tmp_path / "plain.onnx", "int8", calibration=images)
    assert 0 < error < 0.2
    with_calibration = export_onnx(model, images, tmp_path / "plain.onnx", calibration=images)
    assert with_calibration < 1e-4


def test_export_leaves_mode_and_gradients_as_they_were(tmp_path):
    model = plain_network().train()
    export_onnx(model, some_batch(1), tmp_path / "plain.onnx")
    assert all(m.training for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_an_engine_of_pytorch_leaves_the_model_in_its_mode():
    images = np.random.default_rng(0).normal(size=(4, 2, 3, 3)).astype(np.float32)
    model = nn.BatchNorm2d(2).train()
    engine = torch_engine(model)
    assert model.training
    assert engine(images) == pytest.approx(images, abs=1e-4)  # by the running statistics
    assert model.num_batches_tracked == 0


@pytest.mark.parametrize("export", [export_onnx, export_executorch])
def test_file_that_differs_too_much_is_not_written(export, tmp_path):
    path = tmp_path / "plain.file"
    path.write_text("the older one")
    with pytest.raises(ExportError, match=r"plain\.file.*differ from PyTorch's"):
        export(plain_network(), some_batch(1), path, tolerance=-1.0)
    assert path.read_text() == "the older one"
    assert [p.name for p in tmp_path.iterdir()] == ["plain.file"]


def test_model_that_cannot_be_exported_is_named(tmp_path):
    class Chooses(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ExportError, match="Chooses cannot be exported"):
        export_onnx(Chooses(), some_batch(1), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("export", [export_onnx, export_executorch])
def test_bad_arguments_are_refused_before_any_work(export, tmp_path):
    model, x = plain_network(), some_batch(1)
    with pytest.raises(TypeError, match="one tensor, not a tuple: only networks of one input"):
        export(model, (x, x), tmp_path / "x")
    with pytest.raises(ValueError, match="int4"):
        export(model, x, tmp_path / "x", "int4")
    with pytest.raises(ValueError, match="calibration images"):
        export(model, x, tmp_path / "x", "int8")
    with pytest.raises(ValueError, match="calibration images have the shape"):
        export(model, x, tmp_path / "x", "int8", calibration=torch.zeros(4, 3, 8, 8))


def test_bundle_lists_every_file_with_its_hash(archive, unpacked):
    manifest = json.loads((unpacked / "manifest.json").read_text())
    present = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*") if p.is_file()}
    assert set(manifest["files"]) == present - {"manifest.json", "SHA256SUMS"}
    assert [m["name"] for m in manifest["models"]] == NAMES
    assert [m["executorch"]["tolerance"] for m in manifest["models"]] == [1e-4, 0.0]
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=unpacked, capture_output=True)
    assert done.returncode == 0


def test_expected_outputs_are_those_of_the_files(unpacked):
    x = some_batch().numpy()
    for name in NAMES:
        for engine, suffix, load in (
            ("onnx", "onnx", onnx_engine),
            ("executorch", "pte", executorch_engine),
        ):
            run_one = load(unpacked / f"models/{name}.{suffix}")
            found = np.concatenate([run_one(image[None]) for image in x])
            expected = np.fromfile(unpacked / f"expected/{name}.{engine}.f32", "<f4")
            np.testing.assert_array_equal(found, expected.reshape(len(x), -1))


def test_int8_keeps_the_classes_of_a_clear_case(unpacked):
    expected = {
        name: np.fromfile(unpacked / f"expected/{name}.executorch.f32", "<f4").reshape(8, -1)
        for name in NAMES
    }
    difference = np.abs(expected["plain-int8"] - expected["plain-fp32"]).max()
    assert 0 < difference < 0.1 * np.abs(expected["plain-fp32"]).max()


def test_local_run_reports_all_that_a_board_should(archive):
    result = run(archive, settings=Settings(runner="python", repeats=5, warmup=1))
    assert result["runner"] == "onnxruntime" and result["threads"] == 1 and result["core"]
    assert [m["name"] for m in result["models"]] == NAMES
    for model in result["models"]:
        assert model["correct"] and model["max_error"] <= model["tolerance"]
        assert 0 < model["min_ms"] <= model["median_ms"] <= model["p95_ms"]
        assert model["repeats"] == 5 and model["images"] == 8 and model["peak_memory_kb"] > 1000
    assert result["models"][0]["accuracy"] == 1


def test_bundle_needs_models_images_and_plain_names(tmp_path):
    x = some_batch(2)
    y = torch.zeros(2, dtype=torch.int64)
    for models, images, message in (
        ({}, (x, y), "at least one model"),
        ({"a/b": plain_network()}, (x, y), "a/b"),
        ({"-a": plain_network()}, (x, y), "-a"),
        ({"a" * 41: plain_network()}, (x, y), "up to 40 letters"),
        ({"a": plain_network()}, (x, y[:1]), "1 labels"),
        ({"a": plain_network()}, (x, None), "labels or, of a detector, its anchors"),
        ({"a": plain_network()}, (x, y - 100), "from 0, not -100"),
    ):
        with pytest.raises(ValueError, match=message):
            bundle(models, images, tmp_path / "x.tar.gz", calibration=x)
    for precisions in ((), ("int4",)):
        with pytest.raises(ValueError, match="precisions must be some of fp32, int8"):
            bundle({}, (x, y), tmp_path / "x.tar.gz", calibration=x, precisions=precisions)
    assert not list(tmp_path.iterdir())


def test_bundle_that_could_not_be_unpacked_is_not_written(tmp_path):
    x, path = some_batch(2), tmp_path / "x.tar.gz"
    path.write_text("the older one")
    images, model = (x, torch.tensor([0, 1])), plain_network().train()
    with pytest.raises(ValueError, match="a gives 4 numbers an image, and these classes ask for 2"):
        bundle({"a": model}, images, path, calibration=x, classes="ab", machines=())
    with pytest.raises(ValueError, match="a does not run on images"):
        bundle({"a": model}, (x[:, :2], images[1]), path, calibration=x, machines=())
    assert model.training
    assert path.read_text() == "the older one" and len(list(tmp_path.iterdir())) == 1


def test_native_runner_that_is_not_there_is_said(archive):
    with pytest.raises(TargetError, match="no machine"):
        run(archive, settings=Settings(runner="native"))
    with pytest.raises(TargetError, match="aarch64"):
        run(archive, "emulated")
    with pytest.raises(ValueError, match="target must be"):
        run(archive, "board")


def test_layer_times_cover_every_convolution(unpacked):
    model = plain_network()
    image = some_batch(1).numpy()
    table = layer_times(model, unpacked / "models/plain-fp32.onnx", image, repeats=3)
    assert table["layer"].tolist() == ["0", "2", "everything else"]
    assert table["macs"].tolist() == [14 * 14 * 27 * 8, 14 * 14 * 8 * 4, 0]
    assert (table["ms"] >= 0).all()
    with pytest.raises(ValueError, match="not those of the model"):
        layer_times(nn.Sequential(model[0]), unpacked / "models/plain-fp32.onnx", image, repeats=1)
