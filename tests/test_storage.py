"""A saved model comes back from its file alone."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torchvision import models

import prunekit
from prunekit.models import TinySqueezeNet


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


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        prunekit.load(tmp_path / "none.safetensors")


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


def test_a_file_cannot_call_what_the_tracer_does_not_know(tmp_path):
    path = tmp_path / "model.safetensors"
    prunekit.save(TinySqueezeNet(), path)
    with safe_open(path, framework="pt") as stored:
        description = json.loads(stored.metadata()["prunekit"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    call = next(node for node in description["nodes"] if node["op"] == "call_function")
    call["target"] = "os.system"
    save_file(tensors, path, {"prunekit": json.dumps(description)})
    with pytest.raises(ValueError, match=r"os\.system"):
        prunekit.load(path)


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
