"""A detector on a board: its bundle, its boxes, the video and the RTMaps component."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from boards import BOARD, script, stand_in_engine
from streets import streets

import prunekit
from prunekit.book.street import street
from prunekit.deploy import Settings, bundle, run, unpack
from prunekit.detection import detect

for package in ("onnxscript", "onnxruntime", "executorch", "cv2"):
    pytest.importorskip(package, reason="pip install prunekit[deploy]")
LEAST = 0.3


@pytest.fixture(scope="module")
def scene():
    return street(small=True)


@pytest.fixture(scope="module")
def archive(scene, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "detector.tar.gz"
    x = torch.cat([x for x, _ in scene.loader("val", 8)])
    half = (0.5, 0.5, 0.5)
    bundle(
        {"tiny": scene.model},
        (x, None),
        path,
        calibration=x,
        classes=["person"],
        anchors=scene.model.anchors,
        mean=half,
        std=half,
        precisions=["fp32"],
        machines=(),
    )
    return path


@pytest.fixture
def unpacked(archive, tmp_path, monkeypatch) -> Path:
    monkeypatch.syspath_prepend(BOARD)
    return unpack(archive, tmp_path)[0]


def shown(scene, place: int) -> np.ndarray:
    """A picture as a camera gives it."""
    return np.ascontiguousarray(scene.pictures["val"].images[place].permute(1, 2, 0).numpy())


def test_the_bundle_says_what_its_numbers_mean(unpacked, scene):
    manifest = json.loads((unpacked / "manifest.json").read_text())
    assert manifest["labels"] is None and manifest["classes"] == ["person"]
    assert np.allclose(manifest["detector"]["anchors"], scene.model.anchors)
    assert manifest["models"][0]["outputs"] == len(scene.model.anchors) * 6
    assert "labels" not in (unpacked / "plan.txt").read_text()


def test_all_numbers_of_all_outputs_are_compared(archive, unpacked):
    once = Settings(repeats=1, warmup=0)
    for model in run(archive, settings=once)["models"]:
        assert model["correct"] and model["accuracy"] is None and model["images"] == 8
    expected = unpacked / "expected" / "tiny-fp32.onnx.f32"
    numbers = np.fromfile(expected, "<f4")
    assert (
        len(numbers)
        == 8 * json.loads((unpacked / "manifest.json").read_text())["models"][0]["outputs"]
    )


def test_boxes_are_those_of_the_library(unpacked, scene):
    detector = script("detector").Detector("tiny-fp32", unpacked, least=LEAST)
    people = 0
    for place in range(8):
        image = shown(scene, place)
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.inference_mode():
            wanted = detect(scene.model(x), scene.model.anchors, min_score=LEAST)
        found = detector(image)
        assert [one.name for one in found] == ["person"] * len(wanted.scores)
        assert np.allclose([one.score for one in found], wanted.scores, atol=1e-3)
        if found:
            boxes = np.array([one.box for one in found]) / scene.size
            assert np.allclose(boxes, wanted.boxes, atol=1e-3)
        people += len(found)
    assert people and detector.decoding_ms > 0


def crowded(anchors: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Outputs in which most anchors see something, and move to a place of their own."""
    chance = np.random.default_rng(0)
    scores = chance.normal(0, 2, (anchors, 1 + classes))
    return scores.astype("f4"), chance.normal(0, 3, (anchors, 4)).astype("f4")


@pytest.mark.parametrize("classes", [1, 2])
def test_of_a_crowd_the_board_keeps_as_many_as_the_library_and_the_same(unpacked, scene, classes):
    detector = script("detector").Detector("tiny-fp32", unpacked, least=0.01)
    anchors = scene.model.anchors
    scores, offsets = crowded(len(anchors), classes)
    given = tuple(torch.from_numpy(part)[None] for part in (scores, offsets))
    wanted = detect(given, anchors, min_score=0.01)
    assert len(detect(given, anchors, min_score=0.01, most=10_000).scores) > 100  # what is cut off
    labels, shares, boxes = zip(*detector.boxes(scores, offsets), strict=True)
    assert len(boxes) == 100
    assert [label + 1 for label in labels] == wanted.labels.tolist()
    assert np.allclose(shares, wanted.scores, atol=1e-6)
    assert np.allclose(boxes, wanted.boxes, atol=1e-5)
    detector.boxes.most = 3
    assert [score for _, score, _ in detector.boxes(scores, offsets)] == list(shares[:3])


@pytest.mark.parametrize(("part", "wrong"), [(0, np.nan), (1, np.nan), (1, np.inf)])
def test_a_network_out_of_order_is_no_empty_street(unpacked, scene, part, wrong):
    detector = script("detector").Detector("tiny-fp32", unpacked)
    given = crowded(len(scene.model.anchors), 1)
    given[part][7] = wrong
    with pytest.raises(ValueError, match="the network gives NaN or infinite numbers"):
        detector.boxes(*given)


def test_a_wide_frame_is_squashed_and_its_boxes_are_in_its_own_pixels(unpacked, scene):
    detector = script("detector").Detector("tiny-fp32", unpacked, least=LEAST)
    square = shown(scene, 0)
    wide = square.repeat(3, axis=1)  # each column three times
    found = detector(square)
    assert found
    for one, other in zip(found, detector(wide), strict=True):
        assert one.score == pytest.approx(other.score, abs=0.05)
        assert other.box[0::2] == pytest.approx([3 * x for x in one.box[0::2]], abs=9)
        assert other.box[1::2] == pytest.approx(one.box[1::2], abs=3)


def test_each_kind_of_network_has_its_own_program(unpacked):
    with pytest.raises(ValueError, match=r"find boxes: use detector\.py"):
        script("classifier").Classifier("tiny-fp32", unpacked)


def test_boxes_are_drawn_into_a_video(unpacked, scene, tmp_path, monkeypatch, capsys):
    import cv2

    source, out = tmp_path / "clip.avi", tmp_path / "annotated.avi"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter_fourcc(*"MJPG"), 10, (192, 192))
    for place in range(4):
        writer.write(cv2.resize(shown(scene, place)[..., ::-1], (192, 192)))
    writer.release()
    command = ["video.py", "--source", str(source), "--out", str(out), "--bundle", str(unpacked)]
    monkeypatch.setattr(sys, "argv", [*command, "--model", "tiny-fp32"])
    script("video").main()
    said = json.loads(capsys.readouterr().out)
    assert said["frames"] == 4 and 0 < said["decoding_ms"] < said["network_ms"]

    detector = script("detector").Detector("tiny-fp32", unpacked)
    before, after = (cv2.VideoCapture(str(path)) for path in (source, out))
    drawn = 0
    for _ in range(4):
        (_, plain), (_, annotated) = before.read(), after.read()
        changed = np.abs(plain.astype(int) - annotated.astype(int)).max(2) > 60
        for one in detector(np.ascontiguousarray(plain[..., ::-1])):
            x1, y1, x2, y2 = (min(max(round(edge), 1), 190) for edge in one.box)
            assert changed[y1:y2, [x1, x2]].mean() > 0.5, "no sides were drawn"
            drawn += 1
    assert drawn


def test_rtmaps_component_writes_boxes(unpacked, scene, monkeypatch):
    reports = stand_in_engine(monkeypatch)
    component = script("rtmaps_detector").rtmaps_python()
    component.Dynamic()
    component.properties["bundle"].data = str(unpacked)
    component.properties["model"].data = "tiny-fp32"
    component.properties["least"].data = LEAST
    component.Birth()
    assert reports["info"] and not reports["error"]
    image = shown(scene, 0)
    for pixels, order, ts in ((image, "RGB", 1000), (image[..., ::-1], "BGR", 2000)):
        data = types.SimpleNamespace(image_data=pixels, channel_seq=order)
        component.inputs["image"].ioelt = types.SimpleNamespace(data=data, ts=ts)
        component.Core()
    (first, first_ts), (second, second_ts) = component.outputs["boxes"].written
    assert (first_ts, second_ts) == (1000, 2000) and np.array_equal(first, second)
    found = script("detector").Detector("tiny-fp32", unpacked, least=LEAST)(image)
    assert found
    assert first.reshape(-1, 5)[:, 4] == pytest.approx([one.score for one in found])
    assert [ts for _, ts in component.outputs["classes"].written] == [1000, 2000]
    assert component.outputs["classes"].written[0][0].tolist() == [0] * len(found)
    (element, _), (same, _) = component.outputs["annotated"].written
    assert element.ts == 1000 and element.data.color_model == "COLR"
    assert element.data.channel_seq == same.data.channel_seq == "BGR"
    wanted = image[..., ::-1].copy()
    script("video").draw(wanted, found, 1.0)
    assert (wanted != image[..., ::-1]).any(), "nothing was drawn"
    below = slice(30, None)  # the line of text above says how fast it was
    for drawn in (element, same):
        assert np.array_equal(drawn.data.image_data[below], wanted[below])
    component.properties["draw"].data = False
    component.Core()
    assert len(component.outputs["boxes"].written) == 3
    assert len(component.outputs["annotated"].written) == 2
    component.inputs["image"].ioelt.data.channel_seq = "YUV"
    component.Core()
    assert "YUV" in reports["error"][0]
    component.Death()
    assert component.network is None


def test_the_command_line_packs_detectors_with_their_anchors(scene, tmp_path, monkeypatch, capsys):
    from prunekit.deploy import __main__ as command_line

    prunekit.save(
        scene.model,
        tmp_path / "tiny.safetensors",
        {"maps": list(scene.model.maps)},
        example_inputs=scene.example_inputs,
    )
    data, given = streets(tmp_path / "street", train=3, val=4), {}

    def packed(models, images, out, **facts):
        given.update(facts, models=list(models), images=images)
        out.write_bytes(b"packed")

    monkeypatch.setattr(command_line, "bundle", packed)
    command = ["bundle", str(tmp_path / "out.tar.gz"), "--boxes", "person", "--data", str(data)]
    command += ["--model", f"tiny={tmp_path / 'tiny.safetensors'}", "--size", "96", "--images", "2"]
    assert command_line.main(command) == 0
    x, labels = given["images"]
    assert x.shape == (2, 3, 96, 96) and labels is None and len(given["calibration"]) == 3
    assert torch.equal(given["anchors"], scene.model.anchors) and given["classes"] == ["person"]
    assert (x * 0.5 + 0.5).min() >= 0 and given["mean"] == given["std"] == (0.5, 0.5, 0.5)

    prunekit.save(scene.model, tmp_path / "tiny.safetensors", example_inputs=scene.example_inputs)
    assert command_line.main(command) == 1
    assert "tiny is no detector whose anchors are known" in capsys.readouterr().err
