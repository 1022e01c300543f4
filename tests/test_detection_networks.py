"""The detector as a network: the first law, ranking by its loss, files, export, trained weights."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import randomise, some_of_every_layer
from safetensors.torch import load_file, save_file
from torch import nn

import prunekit
from prunekit.data import data_folder
from prunekit.deploy.engines import torch_engine
from prunekit.detection import (
    BoxLoader,
    BoxSet,
    decode,
    detect,
    detection_loss,
    evaluate_detector,
    load_voc,
    pedestrian_detector,
    ssdlite_mobilenet_v2,
    tiny_ssdlite,
)
from prunekit.execution import autocast

WEIGHTS = Path(os.environ.get("PRUNEKIT_WEIGHTS", "none"))
REFERENCE = WEIGHTS / "pedestrian_reference.safetensors"
trained = pytest.mark.skipif(
    not REFERENCE.is_file(),
    reason="the trained pedestrian detector is not here: set PRUNEKIT_WEIGHTS",
)
X_FIRST = [1, 0, 3, 2]  # TensorFlow has y before x, and height before width


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return randomise(ssdlite_mobilenet_v2(size=64)).double().eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()


@pytest.fixture(scope="module")
def remove(model, images) -> dict[str, list[int]]:
    return some_of_every_layer(prunekit.trace(model, images), 0.6, seed=1)


def differences(ours: tuple, theirs: tuple) -> list[float]:
    return [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(ours, theirs, strict=True)]


def test_a_map_is_seen_by_two_heads_and_the_next_stage_and_outputs_stay(model, images):
    graph = prunekit.trace(model, images)
    final = [f"{kind}.{index}.1" for kind in ("class_heads", "box_heads") for index in range(6)]
    assert set(graph.layers) - set(graph.prunable) == set(final)
    filter_of_the_first_map = int(graph.layers["stages.0.14.0"].groups[7])
    assert set(graph.members(filter_of_the_first_map)) == {
        "stages.0.14.0",
        "class_heads.0.0.0",
        "box_heads.0.0.0",
        "stages.1.0.1",
    }


def test_rebuild_equals_mask_and_nothing_removed_changes_nothing(model, images, remove):
    small, masked = (cut(model, images, remove) for cut in (prunekit.rebuild, prunekit.mask))
    with torch.inference_mode():
        assert max(differences(small(images), masked(images))) < 1e-9
        assert max(differences(small(images), model(images))) > 1e-6
        assert differences(prunekit.rebuild(model, images, {})(images), model(images)) == [0, 0]
    for part in ("stages", "class_heads", "box_heads"):
        sizes = [
            sum(p.numel() for p in getattr(each, part).parameters()) for each in (small, model)
        ]
        assert sizes[0] < 0.9 * sizes[1]


def test_a_pruned_detector_keeps_its_anchors_and_comes_back_from_a_file(
    model, images, remove, tmp_path
):
    small = prunekit.rebuild(model, images, remove)
    assert torch.equal(small.anchors, model.anchors)
    prunekit.save(small, tmp_path / "small.safetensors", {"maps": small.maps})
    loaded = prunekit.load(tmp_path / "small.safetensors")
    with torch.inference_mode():
        assert max(differences(loaded(images), small(images))) < 1e-9
    assert tuple(loaded.metadata["maps"]) == small.maps


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_pruned_detector_is_exported_with_both_of_its_outputs(quantize, images, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("executorch")
    from prunekit.deploy import export_executorch, export_onnx
    from prunekit.deploy.engines import executorch_engine, onnx_engine, onnx_session

    torch.manual_seed(0)
    image, typical = images[:1].float(), torch.randn(8, 3, 64, 64)
    whole = randomise(tiny_ssdlite(size=64)).eval()
    remove = some_of_every_layer(prunekit.trace(whole, image), 0.4, seed=1)
    small = prunekit.rebuild(whole, image, remove)
    with torch.inference_mode():
        expected = small(image)
    for suffix, export, engine in (
        ("onnx", export_onnx, onnx_engine),
        ("pte", export_executorch, executorch_engine),
    ):
        path = tmp_path / f"small.{suffix}"
        error = export(small, image, path, quantize, calibration=typical)
        assert error < (0.25 if quantize else 1e-4)
        found = [torch.from_numpy(output) for output in engine(path)(image.numpy())]
        assert [output.shape for output in found] == [output.shape for output in expected]
        assert max(differences(found, expected)) < (0.25 if quantize else 1e-4)
        if not quantize:
            ours, theirs = (detect(each, small.anchors) for each in (expected, found))
            assert torch.allclose(ours.boxes, theirs.boxes, atol=1e-4)
    outputs = onnx_session(tmp_path / "small.onnx").get_outputs()
    assert [output.name for output in outputs] == ["output_0", "output_1"]


def test_an_output_that_differs_is_found_whichever_it_is(model, images, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from prunekit.deploy import ExportError, export, export_onnx

    small, image = tiny_ssdlite(size=64).eval(), images[:1].float()
    for wrong in (0, 1):

        def engine(path, wrong=wrong):
            honest = torch_engine(small)
            return lambda x: tuple(y * (1 + (n == wrong)) for n, y in enumerate(honest(x)))

        monkeypatch.setattr(export, "onnx_engine", engine)
        with pytest.raises(ExportError, match=r"differ from PyTorch's by 1 \(relative\)"):
            export_onnx(small, image, tmp_path / "small.onnx")
    assert not (tmp_path / "small.onnx").exists()


def test_ranking_by_the_detection_loss_scores_each_picture_by_itself(model):
    torch.manual_seed(1)
    pictures = BoxSet(
        torch.randint(256, (6, 3, 64, 64), dtype=torch.uint8),
        torch.tensor([[[0.1, 0.1, 0.4, 0.9, 1, 0]], [[0.5, 0.2, 0.9, 0.8, 1, 0]]]).repeat(3, 1, 1),
    )
    loss = partial(detection_loss, anchors=model.anchors)
    single = ssdlite_mobilenet_v2(size=64)
    single.load_state_dict(model.state_dict())
    rankings = [
        prunekit.rank(single, BoxLoader(pictures, size), "taylor", loss=loss, normalize=False)
        for size in (1, 6)
    ]
    one_by_one, together = (ranking["score"].to_numpy() for ranking in rankings)
    assert np.allclose(one_by_one, together, rtol=1e-2, atol=1e-6)
    ranked = set(rankings[0]["layer"])
    assert {"stages.0.0.1", "stages.5.2.0", "class_heads.5.0.0"} <= ranked


def test_the_mean_of_a_loss_is_refused(model):
    loss = partial(detection_loss, anchors=model.anchors)
    pictures = BoxSet(
        torch.randint(256, (4, 3, 64, 64), dtype=torch.uint8),
        torch.tensor([[[0.1, 0.1, 0.4, 0.9, 1, 0]]]).repeat(4, 1, 1),
    )
    with pytest.raises(ValueError, match="add up over examples"):
        prunekit.rank(
            ssdlite_mobilenet_v2(size=64),
            BoxLoader(pictures),
            "taylor",
            loss=lambda output, y: loss(output, y).mean(),
        )


def test_a_few_steps_of_training_find_the_object():
    """On two pictures, by the loss alone: gradients reach heads and backbone."""
    torch.manual_seed(0)
    model = ssdlite_mobilenet_v2(size=64)
    targets = torch.tensor([[[0.1, 0.1, 0.5, 0.9, 1, 0]], [[0.5, 0.2, 0.9, 0.8, 1, 0]]])
    x = torch.randn(2, 3, 64, 64)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = detection_loss(model.train()(x), targets, model.anchors).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("size", [300, 64, 97])
def test_maps_are_of_the_sides_that_anchors_are_made_for(size):
    model = ssdlite_mobilenet_v2(3, size=size).eval()
    with torch.inference_mode():
        scores, offsets = model(torch.zeros(1, 3, size, size))
    assert scores.shape == (1, len(model.anchors), 3)
    assert offsets.shape == (1, len(model.anchors), 4)
    assert size != 300 or model.maps == (19, 10, 5, 3, 2, 1)


def test_weights_that_are_not_there_or_of_another_network_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("PRUNEKIT_WEIGHTS", raising=False)
    with pytest.raises(FileNotFoundError, match="set PRUNEKIT_WEIGHTS"):
        pedestrian_detector()
    monkeypatch.setenv("PRUNEKIT_WEIGHTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"pedestrian_ssdlite_mobilenetv2\.safetensors"):
        pedestrian_detector()
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ValueError, match=r"text is damaged"):
        pedestrian_detector(tmp_path / "text")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match=r"other does not hold the pedestrian detector: it lacks"):
        pedestrian_detector(tmp_path / "other")


@trained
def test_weights_of_another_shape_or_too_many_are_refused(tmp_path):
    arrays = load_file(WEIGHTS / "pedestrian_ssdlite_mobilenetv2.safetensors")
    bias = "BoxPredictor_0/ClassPredictor/biases"
    for changes, message in (
        ({bias: torch.zeros(9)}, rf"'{bias}' has the shape \(9,\)"),
        ({"Logits": torch.zeros(1)}, "also holds the array 'Logits'"),
    ):
        save_file(arrays | changes, tmp_path / "changed")
        with pytest.raises(ValueError, match=message):
            pedestrian_detector(tmp_path / "changed")


@trained
@pytest.mark.parametrize("picture", ["000005", "000015"])
def test_the_trained_detector_gives_what_the_original_program_gave(picture):
    reference = load_file(REFERENCE)
    given = {name: reference[f"{picture}/{name}"] for name in ("image", "class_logits", "scores")}
    image = given["image"].permute(2, 0, 1)[None]
    ((x, _),) = BoxLoader(BoxSet(image, torch.zeros(1, 0, 6)))
    model = pedestrian_detector()
    with torch.inference_mode():
        scores, offsets = model(x)
        found = detect((scores, offsets), model.anchors, min_score=0)

    def close(ours: torch.Tensor, name: str) -> None:
        theirs = reference[name][..., X_FIRST]
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-3), name

    close(model.anchors, "anchors")
    close(offsets[0], f"{picture}/box_encodings")
    close(decode(offsets[0], model.anchors), f"{picture}/box_locations")
    close(found.boxes, f"{picture}/boxes")
    assert torch.allclose(scores[0], given["class_logits"], rtol=0, atol=1e-3)
    assert torch.allclose(found.scores, given["scores"], rtol=0, atol=1e-3)


@trained
@pytest.mark.skipif(
    not (data_folder() / "streets").is_dir(), reason="the pictures of streets are not here"
)
def test_the_trained_detector_finds_people_in_the_street():
    model = pedestrian_detector()
    pictures = load_voc("streets", "test", first_pixel=0)  # as for the published number
    with autocast(torch.device("cpu")):
        scores = evaluate_detector(model, BoxLoader(pictures, 16), model.anchors)
    assert (scores.pictures, scores.objects) == (335, 851)
    assert scores.average_precision_11 == pytest.approx(0.591, abs=0.005)
    assert scores.recall == pytest.approx(0.946, abs=0.005)
