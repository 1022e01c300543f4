"""The detector on SqueezeNet: its weights, its maps, the first law, export, its two studies."""

from __future__ import annotations

import pytest
import torch
from networks import randomise, some_of_every_layer
from streets import streets
from torch import nn
from torchvision.models import squeezenet1_1

import prunekit
from prunekit.data import IMAGENET_MEAN, IMAGENET_STD
from prunekit.detection import detection_loss, ssdlite_squeezenet
from prunekit.storage import load
from prunekit.study import read_study
from prunekit.study.recorded import Recorded
from prunekit.study.work import carry_out

LEARNT = "hub/checkpoints/squeezenet1_1-b8a52dc0.pth"


@pytest.fixture
def learnt(tmp_path, monkeypatch) -> nn.Module:
    """A SqueezeNet of random weights, where torchvision looks for those from ImageNet."""
    torch.manual_seed(0)
    classifier = squeezenet1_1()
    for name, values in classifier.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(values, std=0.1)
    (tmp_path / LEARNT).parent.mkdir(parents=True)
    torch.save(classifier.state_dict(), tmp_path / LEARNT)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return classifier


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return randomise(ssdlite_squeezenet(3, size=64)).double().eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()


@pytest.fixture(scope="module")
def remove(model, images) -> dict[str, list[int]]:
    return some_of_every_layer(prunekit.trace(model, images), 0.6, seed=1)


@pytest.mark.parametrize("size", [32, 64, 97, 300])
def test_maps_are_of_the_sides_that_anchors_are_made_for(size):
    model = ssdlite_squeezenet(3, size=size).eval()
    maps, x = [], torch.zeros(1, 3, size, size)
    with torch.inference_mode():
        scores, offsets = model(x)
        for stage in model.stages:
            maps.append((x := stage(x)).shape[2])
    assert model.maps == tuple(maps)
    assert scores.shape == (1, len(model.anchors), 3)
    assert offsets.shape == (1, len(model.anchors), 4)
    assert size != 300 or model.maps == (37, 18, 9, 5, 3, 2)


def test_the_backbone_sees_of_pictures_from_minus_one_to_one_what_imagenet_taught_it(learnt):
    model = ssdlite_squeezenet(size=64, pretrained=True).double().eval()
    x = torch.rand(2, 3, 64, 64, dtype=torch.double)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        seen = model.stages[1](model.stages[0](2 * x - 1))
        expected = learnt.double().features((x - mean) / std)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-6)


def test_outputs_stay_and_a_map_goes_with_all_that_read_it(model, images):
    graph = prunekit.trace(model, images)
    final = [f"{kind}.{index}.1" for kind in ("class_heads", "box_heads") for index in range(6)]
    assert set(graph.layers) - set(graph.prunable) == set(final)
    filter_of_the_first_map = int(graph.layers["stages.0.7.expand3x3"].groups[7])
    assert set(graph.members(filter_of_the_first_map)) == {
        "stages.0.7.expand3x3",
        "class_heads.0.0.0",
        "box_heads.0.0.0",
    }


def test_rebuild_equals_mask_and_nothing_removed_changes_nothing(model, images, remove, tmp_path):
    small, masked = (cut(model, images, remove) for cut in (prunekit.rebuild, prunekit.mask))
    prunekit.save(small, tmp_path / "small.safetensors", {"maps": small.maps})
    with torch.inference_mode():
        before, found = model(images), small(images)
        torch.testing.assert_close(found, masked(images), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            load(tmp_path / "small.safetensors")(images), found, rtol=1e-9, atol=1e-12
        )
        assert (found[0] - before[0]).abs().max() > 1e-6
        unchanged = prunekit.rebuild(model, images, {})(images)
    assert all(torch.equal(a, b) for a, b in zip(unchanged, before, strict=True))
    assert torch.equal(small.anchors, model.anchors)
    for part in ("stages", "class_heads", "box_heads"):
        sizes = [
            sum(p.numel() for p in getattr(each, part).parameters()) for each in (small, model)
        ]
        assert sizes[0] < 0.9 * sizes[1]


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_pruned_one_is_exported_with_both_outputs(quantize, remove, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from prunekit.deploy import export_onnx

    torch.manual_seed(0)
    whole = randomise(ssdlite_squeezenet(3, size=64)).eval()
    image, typical = torch.randn(1, 3, 64, 64), torch.randn(8, 3, 64, 64)
    small = prunekit.rebuild(whole, image, remove)
    error = export_onnx(small, image, tmp_path / "small.onnx", quantize, calibration=typical)
    assert error < (0.25 if quantize else 1e-4)


def test_a_few_steps_of_training_find_the_object():
    """On two pictures, by the loss alone: gradients reach heads and backbone."""
    torch.manual_seed(0)
    model = ssdlite_squeezenet(size=64)
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
    assert losses[-1] < 0.3 * losses[0]
    assert all(p.grad is not None for p in model.parameters())


def test_its_two_studies_run_in_small(root, learnt, tmp_path, monkeypatch):
    """As the book declares them, on eight pictures and with an epoch wherever there are more."""
    streets(tmp_path / "streets", train=9, val=3, test=3)
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    shared = {"threads": 1, "command": "", "commit": "", "progress": lambda share: None}
    base, pruned = (
        read_study(name, root / "book" / "studies")
        for name in ("squeezenet_ssdlite_base", "squeezenet_ssdlite")
    )
    assert [len(study.runs) for study in (base, pruned)] == [3, 12]
    settings = base.runs["squeezenet_ssdlite_base-seed0"]
    settings["train"]["epochs"] = 1
    carry_out(settings, tmp_path / "run", tmp_path, **shared)
    Recorded(tmp_path / "squeezenet_ssdlite_base", base).add(
        "squeezenet_ssdlite_base-seed0", tmp_path / "run"
    )
    settings = pruned.runs["half-seed0"]
    settings["prune"]["share_per_iteration"] = 0.5
    settings["prune"]["fine_tune"]["epochs"] = settings["finish"]["fine_tune"]["epochs"] = 1
    carry_out(settings, tmp_path / "pruned", tmp_path, **shared)
    before, after = (load(tmp_path / run / "model.safetensors") for run in ("run", "pruned"))
    example = torch.zeros(1, 3, 300, 300)
    macs = [prunekit.profile(model, example).macs for model in (before, after)]
    assert macs[1] / macs[0] == pytest.approx(0.5, abs=0.01)
    assert tuple(after.metadata["maps"]) == (37, 18, 9, 5, 3, 2)
    scores, offsets = after(example)
    assert (scores.shape, offsets.shape) == ((1, 6765, 2), (1, 6765, 4))
