"""A saved model comes back from its file alone."""

import copy
import os
import re

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from storage_files import Everything, read, write
from torch import nn
from torchvision import models

import prunekit
from prunekit.detection import ssd_anchors
from prunekit.models import TinySqueezeNet
from prunekit.storage.files import detached_copies, write_table


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("squeezenet1_1", "features.3.squeeze"),
        ("resnet18", "layer1.0.conv1"),
        ("mobilenet_v2", "features.1.conv.1"),
        ("densenet121", "features.conv0"),
        ("shufflenet_v2_x0_5", "stage2.0.branch2.0"),
    ],
)
def test_a_pruned_model_comes_back_equal(tmp_path, name, layer):
    torch.manual_seed(0)
    x = torch.randn(1, 3, 64, 64)
    small = prunekit.rebuild(getattr(models, name)(weights=None), x, {layer: [0, 2]}).eval()
    prunekit.save(small, tmp_path / "small.safetensors", {"classes": ["a", "b"]})
    loaded = prunekit.load(tmp_path / "small.safetensors")
    with torch.inference_mode():
        assert torch.allclose(loaded(x), small(x), atol=1e-5)
    assert loaded.metadata == {"classes": ["a", "b"]}
    assert loaded.get_submodule(layer).weight.shape == small.get_submodule(layer).weight.shape


def test_a_loaded_model_can_be_trained_pruned_and_saved_again(tmp_path):
    x = torch.randn(2, 3, 32, 32)
    prunekit.save(TinySqueezeNet(), tmp_path / "a.safetensors")
    model = prunekit.load(tmp_path / "a.safetensors").train()
    model(x).sum().backward()
    small = prunekit.rebuild(model, x, {"features.0": [0]})
    prunekit.save(small, tmp_path / "b.safetensors")
    assert prunekit.load(tmp_path / "b.safetensors")(x).shape == (2, 10)


def test_dtype_and_buffers_survive(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).to(torch.bfloat16)
    model[1].running_mean.fill_(0.5)
    prunekit.save(model, tmp_path / "model.safetensors")
    loaded = prunekit.load(tmp_path / "model.safetensors")
    assert loaded.get_submodule("0").weight.dtype == torch.bfloat16
    assert loaded.get_submodule("1").running_mean.tolist() == [0.5] * 4


def test_tied_weights_are_tied_again_and_pruned_together(tmp_path):
    path, x = tmp_path / "model.safetensors", torch.randn(2, 3, 8, 8)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    model.append(nn.Conv2d(4, 2, 1))
    model[3].weight = model[1].weight
    prunekit.save(model, path)
    assert "3.weight" not in read(path)[1]
    loaded = prunekit.load(path)
    assert loaded.get_submodule("3").weight is loaded.get_submodule("1").weight
    small = prunekit.rebuild(loaded, x, {"1": [0]})
    same = prunekit.mask(loaded, x, {"1": [0]})
    assert small.get_submodule("3").weight is small.get_submodule("1").weight
    assert torch.allclose(small(x), same(x), atol=1e-6)


def test_parameters_and_buffers_of_no_layer_come_back_as_they_were(tmp_path):
    model, x = Everything(), torch.randn(2, 3, 8, 8)
    prunekit.save(model, tmp_path / "a.safetensors")
    once = prunekit.load(tmp_path / "a.safetensors")
    prunekit.save(once, tmp_path / "b.safetensors")
    for loaded in (once, prunekit.load(tmp_path / "b.safetensors"), copy.deepcopy(once)):
        ours, theirs = loaded.eval()(x), model.eval()(x)
        assert torch.equal(ours["scores"], theirs["scores"])
        assert torch.equal(ours["maps"][0], theirs["maps"][0]) and ours["maps"][1] == [2.0]
        assert loaded(x, factor=3.0)["maps"][1] == [3.0]
        assert set(dict(loaded.named_parameters())) == set(dict(model.named_parameters())) - {
            "tied.weight"
        }
        assert {name for name, _ in loaded.named_buffers()} == {
            name for name, _ in model.named_buffers()
        }


def test_a_loaded_model_can_be_exported(tmp_path):
    model, x = TinySqueezeNet().eval(), torch.randn(1, 3, 32, 32)
    prunekit.save(model, tmp_path / "model.safetensors")
    program = torch.export.export(prunekit.load(tmp_path / "model.safetensors"), (x,))
    assert torch.allclose(program.module()(x), model(x), atol=1e-6)


def test_loading_leaves_the_random_numbers_alone(tmp_path):
    prunekit.save(TinySqueezeNet(), tmp_path / "model.safetensors")
    before = torch.get_rng_state()
    prunekit.load(tmp_path / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_every_model_file_of_the_repository_loads(root):
    files = sorted((root / "book" / "results").rglob("model.safetensors"))
    assert len(files) > 5
    for file in files:
        model = prunekit.load(file).float()
        if "maps" in model.metadata:  # a detector
            scores, offsets = model(torch.zeros(1, 3, 300, 300))
            anchors = len(ssd_anchors(model.metadata["maps"]))
            assert scores.shape == (1, anchors, 2) and offsets.shape == (1, anchors, 4)
        else:
            assert model(torch.zeros(2, 3, 48, 48)).shape == (2, 10)


def test_a_file_of_version_1_has_no_digest(tmp_path):
    path, model = tmp_path / "model.safetensors", TinySqueezeNet().eval()
    prunekit.save(model, path)
    words, tensors = read(path)
    assert words.pop("tied") == {} and words["prunekit"] == 2
    write(path, words | {"prunekit": 1}, tensors, sha256=None)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(prunekit.load(path)(x), model(x))


@pytest.mark.parametrize("metadata", [None, [], {}, ["cat"], {"a": {"b": [1, 0.5, None, "ü"]}}])
def test_metadata_comes_back(tmp_path, metadata):
    prunekit.save(TinySqueezeNet(), tmp_path / "model.safetensors", metadata)
    loaded = prunekit.load(tmp_path / "model.safetensors")
    assert loaded.metadata == ({} if metadata is None else metadata)


RECURSIVE: dict = {}
RECURSIVE["self"] = [RECURSIVE]


@pytest.mark.parametrize(
    ("metadata", "error", "said"),
    [
        ({"a": [float("nan")]}, ValueError, "metadata.*not JSON"),
        ({"a": -float("inf")}, ValueError, "metadata.*not JSON"),
        ({"a": {1: "b"}}, TypeError, "metadata has the key 1"),
        ({"a": torch.zeros(1)}, TypeError, "metadata.*Tensor"),
        ({"a": {1, 2}}, TypeError, "metadata.*set"),
        (RECURSIVE, ValueError, "metadata.*holds itself"),
    ],
)
def test_metadata_that_json_cannot_hold_is_refused(tmp_path, metadata, error, said):
    with pytest.raises(error, match=said):
        prunekit.save(TinySqueezeNet(), tmp_path / "sub" / "model.safetensors", metadata)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        (".", ValueError, r"path must be a file, and \. is a folder"),
        ("", TypeError, "path must be a path, not ''"),
        (None, TypeError, "path must be a path, not None"),
    ],
)
def test_a_path_that_can_be_no_file_is_refused(path, error, said):
    with pytest.raises(error, match=said):
        prunekit.save(TinySqueezeNet(), path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        prunekit.load(tmp_path / "none.safetensors")


def test_a_folder_is_no_model_file(tmp_path):
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))} is no file but a folder"):
        prunekit.load(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    prunekit.save(TinySqueezeNet(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        prunekit.load(path)


def test_a_file_without_a_description_is_refused(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="no prunekit description"):
        prunekit.load(tmp_path / "plain.safetensors")


def test_a_failed_save_leaves_the_old_file(tmp_path):
    class Strange(nn.Module):
        def forward(self, x):
            return torch.linalg.svd(x)

    path = tmp_path / "model.safetensors"
    prunekit.save(TinySqueezeNet(), path)
    old = path.read_bytes()
    with pytest.raises(ValueError, match="svd"):
        prunekit.save(Strange(), path)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_table_is_the_same_bytes_on_every_system(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "linesep", "\r\n")
    write_table(pd.DataFrame({"layer": ["0"], "filters": [3]}), tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == b"layer,filters\n0,3\n"


def test_copies_for_a_file_share_no_memory_and_lie_in_order():
    weight = nn.Parameter(torch.arange(6.0).view(2, 3))
    copies = detached_copies({"weight": weight, "tied": weight, "turned": weight.T})
    assert {t.untyped_storage().data_ptr() for t in copies.values()}.isdisjoint(
        {weight.untyped_storage().data_ptr()}
    )
    assert len({t.untyped_storage().data_ptr() for t in copies.values()}) == 3
    assert all(t.is_contiguous() and not t.requires_grad for t in copies.values())
    assert copies["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
