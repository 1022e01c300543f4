"""EfficientNet-Lite0, trained on ImageNet: a photograph is recognised, before and after pruning."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from networks import some_of_every_layer
from PIL import Image
from safetensors.torch import save_file
from test_surgery import relative_difference
from torch import nn

import prunekit
from prunekit.deploy import export_onnx
from prunekit.models.efficientnet import EFFICIENTNET_LITE0_FILE, efficientnet_lite0
from prunekit.study import read_study
from prunekit.study.work import carry_out

pytest.importorskip("timm", reason="pip install prunekit[timm]")
WEIGHTS = Path(os.environ.get("PRUNEKIT_WEIGHTS", "none")) / EFFICIENTNET_LITE0_FILE
trained = pytest.mark.skipif(
    not WEIGHTS.is_file(), reason="EfficientNet-Lite0 is not here: set PRUNEKIT_WEIGHTS"
)
STUDY = """
title = "In small"
dataset = "digits"
input_size = 32
start = "efficientnet_lite0"
seeds = [0]

[prune]
criterion = "taylor"
budget = "macs"
ratio = 0.1
share_per_iteration = 0.05
rank_batches = 1
fine_tune = { epochs = 0.1, lr = 0.01 }

[finish]
fine_tune = { epochs = 0.1, lr = 0.01 }
"""
# The classes of ImageNet, by their numbers.
PALACE, DAISY = 698, 985


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return efficientnet_lite0(1000, pretrained=True).eval()


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    """The palace and the daisy of scikit-learn, their middles in 224 pixels, from -1 to 1."""
    datasets = pytest.importorskip("sklearn.datasets", reason="pip install prunekit[digits]")
    pictures = []
    for name in ("china.jpg", "flower.jpg"):
        image = Image.fromarray(datasets.load_sample_image(name))
        side, left = image.height, (image.width - image.height) // 2
        image = image.resize((224, 224), Image.Resampling.BICUBIC, (left, 0, left + side, side))
        pictures.append(torch.tensor(list(image.tobytes())).view(224, 224, 3).permute(2, 0, 1))
    return torch.stack(pictures) / 127.5 - 1


@trained
def test_photographs_are_recognised(model, photographs):
    with torch.inference_mode():
        assert model(photographs).argmax(1).tolist() == [PALACE, DAISY]


@trained
def test_the_law_holds(model, photographs):
    graph = prunekit.trace(model, photographs)
    remove = some_of_every_layer(graph, 0.5, seed=0)
    small, masked = prunekit.rebuild(model, graph, remove), prunekit.mask(model, graph, remove)
    with torch.inference_mode():
        assert relative_difference(small(photographs), masked(photographs)) < 1e-4
        assert relative_difference(small(photographs), model(photographs)) > 0.01


@trained
def test_pruned_and_repaired_it_still_recognises_them_saved_filled_and_exported(
    model, photographs, tmp_path
):
    """It is ranked and repaired on mirrored photographs, and asked about them as they are."""
    mirrored = [(photographs.flip(3), torch.tensor([PALACE, DAISY]))]
    ranking = prunekit.rank(model, mirrored, "taylor")
    remove = prunekit.select(ranking, len(ranking["group"].unique()) // 20, per_layer={"*": 0.3})
    small = prunekit.rebuild(model, photographs, remove)
    small = prunekit.repair(small, model, remove, mirrored, progress=False)
    with torch.inference_mode():
        scores = small(photographs)
    assert scores.argmax(1).tolist() == [PALACE, DAISY]
    before, after = (prunekit.profile(one, photographs) for one in (model, small))
    assert after.macs < before.macs and after.parameters < before.parameters
    path = tmp_path / "small.safetensors"
    prunekit.save(small, path, example_inputs=photographs)  # its padding asks for sizes
    again = prunekit.load(path, into=efficientnet_lite0(1000))
    with torch.inference_mode():
        assert torch.equal(again(photographs), scores)
    pytest.importorskip("onnxscript", reason="pip install prunekit[deploy]")
    pytest.importorskip("onnxruntime", reason="pip install prunekit[deploy]")
    assert export_onnx(small, photographs[:1], tmp_path / "small.onnx") < 1e-4


def test_other_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("PRUNEKIT_WEIGHTS", raising=False)
    with pytest.raises(FileNotFoundError, match="set PRUNEKIT_WEIGHTS"):
        efficientnet_lite0(pretrained=True)
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match=r"other does not hold EfficientNet-Lite0"):
        efficientnet_lite0(pretrained=True, path=tmp_path / "other")


@trained
def test_a_study_begins_with_it_and_keeps_what_pads_by_size(tmp_path):
    (tmp_path / "lite.toml").write_text(STUDY)
    study = read_study(tmp_path / "lite.toml")
    carry_out(
        study.runs["lite-seed0"],
        tmp_path / "run",
        tmp_path,
        threads=1,
        command="",
        commit="",
        progress=lambda share: None,
    )
    x = torch.rand(1, 3, 32, 32)
    small, whole = prunekit.load(tmp_path / "run" / "model.safetensors"), efficientnet_lite0()
    assert small(x).shape == (1, 10)
    macs = [prunekit.profile(one, x).macs for one in (small, whole)]
    assert 0.5 < macs[0] / macs[1] < 0.9
