"""What runs on the board itself: the classifier, the RTMaps component, the video pipeline."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest
import torch
from boards import BOARD, script, stand_in_engine

from prunekit.data import IMAGENET_MEAN, IMAGENET_STD, normalise

for package in ("onnxscript", "onnxruntime", "executorch", "cv2"):
    pytest.importorskip(package, reason="pip install prunekit[deploy]")


@pytest.fixture(autouse=True)
def beside_one_another(monkeypatch):
    monkeypatch.syspath_prepend(BOARD)


@pytest.mark.parametrize("side", [8, 17, 32, 200])
def test_classifier_prepares_images_as_the_library_does(unpacked, side):
    classifier = script("classifier").Classifier("plain-fp32", unpacked)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    wanted = normalise(torch.from_numpy(image).permute(2, 0, 1)[None], 16).numpy()
    np.testing.assert_allclose(classifier.prepare(image), wanted, atol=1e-4)


def test_classifier_takes_the_middle_square(unpacked):
    classifier = script("classifier").Classifier("plain-fp32", unpacked)
    image = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        classifier.prepare(image), classifier.prepare(image[:, 30:70].copy())
    )
    classifier.size = [16, 24]  # as of a network of such images
    assert classifier.prepare(image).shape == (1, 3, 16, 24)
    np.testing.assert_array_equal(
        classifier.prepare(image), classifier.prepare(image[:, 20:80].copy())
    )
    with pytest.raises(ValueError, match="uint8"):
        classifier.prepare(image.astype(float))
    with pytest.raises(ValueError, match="no model 'best'"):
        script("classifier").Classifier("best", unpacked)


def test_manifest_carries_the_normalisation(unpacked):
    manifest = json.loads((unpacked / "manifest.json").read_text())
    assert manifest["mean"] == list(IMAGENET_MEAN) and manifest["std"] == list(IMAGENET_STD)


def test_rtmaps_component_writes_class_and_score(unpacked, monkeypatch):
    reports = stand_in_engine(monkeypatch)
    component = script("rtmaps_component").rtmaps_python()
    component.Dynamic()
    component.properties["bundle"].data = str(unpacked)
    component.properties["model"].data = "plain-int8"
    component.Birth()
    assert reports["info"] and not reports["error"] and component.policy == 4

    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    for pixels, order, ts in ((image, "RGB", 1000), (image[..., ::-1], "BGR", 2000)):
        data = types.SimpleNamespace(image_data=pixels, channel_seq=order)
        component.inputs["image"].ioelt = types.SimpleNamespace(data=data, ts=ts)
        component.Core()
    (first, first_ts), (second, second_ts) = component.outputs["class"].written
    assert first == second in list("abcd") and (first_ts, second_ts) == (1000, 2000)
    (score, _), (same, _) = component.outputs["score"].written
    assert score == same and 0.25 <= score <= 1

    component.inputs["image"].ioelt.data.channel_seq = "YUV"
    component.Core()
    assert "YUV" in reports["error"][0] and len(component.outputs["class"].written) == 2
    component.Death()
    assert component.network is None


def test_video_is_read_classified_and_written(tmp_path):
    import cv2

    video = script("video")
    source, out = tmp_path / "clip.avi", tmp_path / "annotated.avi"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for shade in (0, 0, 255, 255, 255):
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    result = video.annotate(source, out, lambda image: (f"{image.mean() > 128}", 0.5))
    assert result["frames"] == 5 and result["seen"] == [("False", 0.5)] * 2 + [("True", 0.5)] * 3
    assert result["fps"] > 0 and result["network_ms"] > 0
    capture = cv2.VideoCapture(str(out))
    frames = [frame for there, frame in (capture.read() for _ in range(6)) if there]
    assert len(frames) == 5 and frames[0].shape == (48, 64, 3)
    assert frames[0].max() > 100, "nothing was drawn"
    assert video.annotate(source, out, lambda image: ("x", 1.0), frames=2)["frames"] == 2


def test_video_that_cannot_be_read_is_named(tmp_path):
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"broken\.avi"):
        script("video").annotate(broken, tmp_path / "out.avi", lambda image: ("x", 1.0))
    assert not (tmp_path / "out.avi").exists()
