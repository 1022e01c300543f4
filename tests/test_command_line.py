"""The command line: a network by name and a folder of pictures, and what it says of bad input."""

from __future__ import annotations

import importlib.machinery
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models

import prunekit
from prunekit.__main__ import COLUMNS, layer_table, main
from prunekit.data import Loader
from prunekit.models import TinySqueezeNet
from prunekit.models.by_name import named


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Noise, dark and light: 12 pictures of each to train on, 4 to test."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 4)):
        for name, least in (("dark", 0), ("light", 130)):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(least, least + 100, (40, 40, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tiny(tmp_path) -> Path:
    """A file of a network for two classes."""
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    prunekit.save(TinySqueezeNet(num_classes=2), path, {"size": 48})
    return path


def command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_a_network_by_name_is_trained_pruned_and_written(pictures, tmp_path, capsys):
    pytest.importorskip("onnxscript", reason="pip install prunekit[deploy]")
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install prunekit[deploy]")
    out, onnx = tmp_path / "small.safetensors", tmp_path / "small.onnx"
    options = ("--weights", "none", "--size", 32, "--batch-size", 12, "--steps", 2)
    options += ("--training", 1, "--criterion", "taylor", "--onnx", onnx, "--device", "cpu")
    network = ("--network", "torchvision:resnet18", "--data", pictures)
    assert command("prune", *network, "--ratio", 0.5, "--out", out, *options) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[:4]] == ["iteration", "0", "1", "2"]
    assert "accuracy on the 8 test pictures" in shown[4]
    assert shown[5:] == [f"{path}: {path.stat().st_size:,} bytes" for path in (out, onnx)]
    small, x = prunekit.load(out), torch.randn(1, 3, 32, 32)
    about = {"network": "torchvision:resnet18", "classes": ["dark", "light"], "size": 32}
    assert small.metadata == about
    layers = prunekit.profile(small, x).layers.set_index("layer")["filters"]
    assert 2390 < layers.sum() - layers["fc"] <= 2400  # half of 4800, in whole groups
    session = onnxruntime.InferenceSession(onnx)
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), small(x), rtol=1e-3, atol=1e-3)


def test_a_file_is_pruned_at_the_size_it_was_made_for_and_again(pictures, tiny, tmp_path, capsys):
    once, twice = tmp_path / "once.safetensors", tmp_path / "twice.safetensors"
    options = ("--criterion", "weight_l1", "--epochs", 0, "--steps", 1, "--ratio", 0.3)
    for network, out in ((tiny, once), (once, twice)):
        given = ("--network", network, "--data", pictures, "--out", out, *options)
        assert command("prune", *given) == 0
        assert prunekit.load(out).metadata["size"] == 48
    sizes = [sum(p.numel() for p in prunekit.load(f).parameters()) for f in (tiny, once, twice)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_data_that_go_by_a_name_are_enlarged_to_the_size_of_the_network(tmp_path, capsys):
    pytest.importorskip("sklearn", reason="pip install prunekit[digits]")
    prunekit.save(TinySqueezeNet(), tmp_path / "tiny.safetensors", {"size": 40})
    given = ("--network", tmp_path / "tiny.safetensors", "--data", "digits", "--ratio", 0.1)
    given += ("--criterion", "weight_l1", "--epochs", 0, "--steps", 1, "--device", "cpu")
    assert command("prune", *given, "--out", tmp_path / "small.safetensors") == 0
    assert prunekit.load(tmp_path / "small.safetensors").metadata["size"] == 40


def test_the_same_seed_writes_the_same_network(pictures, tmp_path):
    def written(name: str, seed: int) -> dict[str, torch.Tensor]:
        out = tmp_path / name
        network = ("--network", "torchvision:squeezenet1_1", "--weights", "none", "--size", 48)
        options = ("--ratio", 0.2, "--steps", 1, "--training", 0.5, "--epochs", 0.5)
        options += ("--data", pictures, "--out", out, "--seed", seed, "--device", "cpu")
        assert command("prune", *network, *options) == 0
        return prunekit.load(out).state_dict()

    one, same, other = written("one", 0), written("same", 0), written("other", 1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one if name in other)


def test_a_run_that_was_stopped_goes_on_and_ends_as_an_unbroken_one(
    pictures, tmp_path, monkeypatch, capsys
):
    made = []

    def rebuild(*arguments):
        made.append(arguments)
        if len(made) == stop:
            raise KeyboardInterrupt
        return prunekit.rebuild(*arguments)

    def written(name: str, folder: Path, code: int) -> dict[str, torch.Tensor]:
        given = ("--network", "torchvision:squeezenet1_1", "--weights", "none", "--size", 48)
        given += ("--data", pictures, "--ratio", 0.2, "--steps", 2, "--training", 1, "--epochs", 1)
        given += ("--device", "cpu", "--batch-size", 12, "--folder", folder)
        assert command("prune", *given, "--out", tmp_path / name) == code
        return prunekit.load(tmp_path / name).state_dict() if not code else {}

    monkeypatch.setattr("prunekit.pruning.iterations.rebuild", rebuild)
    stop = 2
    written("broken", tmp_path / "run", 130)
    assert not (tmp_path / "broken").exists()
    made.clear()
    stop = 0
    resumed = written("resumed", tmp_path / "run", 0)
    assert len(made) == 1  # the second of two iterations
    unbroken = written("unbroken", tmp_path / "other", 0)
    assert all(torch.equal(resumed[name], unbroken[name]) for name in unbroken)
    capsys.readouterr()
    assert command("prune", "--network", "torchvision:squeezenet1_1", "--weights", "none",
                   "--size", 48, "--data", pictures, "--ratio", 0.3, "--training", 1,
                   "--batch-size", 12, "--device", "cpu", "--folder", tmp_path / "run",
                   "--out", tmp_path / "else") == 2  # fmt: skip
    assert "of a pruning run with other settings: ratio" in capsys.readouterr().err


def test_a_state_dict_of_ones_own_is_pruned_without_training(pictures, tmp_path, capsys):
    torch.manual_seed(0)
    model = models.squeezenet1_1(num_classes=2)
    torch.save(model.state_dict(), tmp_path / "own.pt")
    out = tmp_path / "small.safetensors"
    given = ("--network", "torchvision:squeezenet1_1", "--weights", tmp_path / "own.pt")
    given += ("--data", pictures, "--size", 48, "--ratio", 0.01, "--steps", 1, "--epochs", 0)
    assert (
        command("prune", *given, "--criterion", "weight_l1", "--out", out, "--device", "cpu") == 0
    )
    of_file = {str(value.flatten()[0].item()) for value in model.state_dict().values()}
    kept = [str(v.flatten()[0].item()) in of_file for v in prunekit.load(out).state_dict().values()]
    assert np.mean(kept) > 0.5  # most first filters are still those of the file


def test_inspect_names_what_can_go_and_with_what(capsys):
    assert command("inspect", "--network", "torchvision:resnet18", "--size", 64) == 0
    *table, total = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in table}
    assert rows["layer"] == ["type", "filters", "can_go", "unit", "parameters", "macs"]
    goes_with = ["Conv2d", "128", "128", "layer2.0.conv2", "8,192", "524,288"]
    assert rows["layer2.0.downsample.0"] == goes_with
    assert rows["fc"] == ["Linear", "1,000", "0", "513,000", "512,000"]
    assert total.startswith("4,800 of 5,800 filters can go; 11,689,512 parameters")


def test_a_network_without_a_layer_to_prune_has_an_empty_table():
    table = layer_table(nn.Sequential(nn.AvgPool2d(2)), torch.zeros(2, 3, 8, 8))
    assert len(table) == 0 and list(table) == COLUMNS


def test_inspect_reads_a_file_at_its_own_size(tiny, capsys):
    assert command("inspect", "--network", tiny) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("MACs at (3, 48, 48)")


@pytest.fixture
def published(monkeypatch, tmp_path):
    """Puts weights where torchvision finds what it has downloaded once."""

    def put(name: str, state: dict[str, torch.Tensor]) -> None:
        file = (
            tmp_path / "hub" / "checkpoints" / Path(models.get_model_weights(name).DEFAULT.url).name
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, file)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return put


@pytest.mark.parametrize(
    ("name", "outputs"),
    [("squeezenet1_1", "classifier.1"), ("mnasnet0_5", "classifier.1")],
)
def test_weights_for_other_classes_are_taken_over_up_to_the_last_layer(published, name, outputs):
    torch.manual_seed(0)
    trained = models.get_model(name).state_dict()
    published(name, trained)
    network = named(f"torchvision:{name}", 2, "pretrained")
    assert network.metadata == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    model = network.state_dict()
    assert model.keys() == trained.keys()
    new = {name for name, value in model.items() if not torch.equal(value, trained[name])}
    assert new == {f"{outputs}.weight", f"{outputs}.bias"}
    assert len(model[f"{outputs}.bias"]) == 2


def test_weights_are_taken_over_from_a_file_with_names_of_an_older_torchvision(published):
    trained = models.densenet121().state_dict()
    dotted = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))([12])\.")
    older = {dotted.sub(r"\1.\2.", key): v for key, v in trained.items() if v.dim()}
    published("densenet121", older)
    model = named("torchvision:densenet121", 3, "pretrained").state_dict()
    new = {name for name, value in model.items() if not torch.equal(value, trained[name])}
    assert new == {"classifier.weight", "classifier.bias"}


def test_a_network_scales_its_inputs_as_its_weights_need_it_and_trains_one_output(published):
    trained = models.googlenet(init_weights=False, transform_input=True)
    published("googlenet", trained.state_dict())
    trained.fc = nn.Linear(1024, 2)
    model = named("torchvision:googlenet", 2, "pretrained")
    trained.fc.load_state_dict(model.fc.state_dict())
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model.eval()(x), trained.eval()(x))
    assert model.train()(x).shape == (2, 2)


def test_weights_that_cannot_be_fetched_are_named(monkeypatch, pictures, tmp_path, capsys):
    def fetch(*arguments, **settings):
        raise URLError("no connection")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    given = ("--network", "torchvision:squeezenet1_1", "--data", pictures, "--size", 32)
    assert command("prune", *given, "--ratio", 0.5, "--out", tmp_path / "small.safetensors") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "torchvision:squeezenet1_1 cannot be had" in line and "no connection" in line


def test_timm_makes_a_network_for_these_classes(monkeypatch, capsys):
    asked = []

    def create_model(name, **options):
        asked.append((name, options))
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                             nn.Linear(4, options.get("num_classes", 1000)))  # fmt: skip

    timm = ModuleType("timm")
    timm.__spec__ = importlib.machinery.ModuleSpec("timm", None)
    vars(timm).update(
        create_model=create_model, is_model="resnet18".__eq__, list_models=lambda: ["resnet18"]
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert command("inspect", "--network", "timm:resnet18", "--size", 16) == 0
    assert asked == [("resnet18", {"pretrained": False})]
    assert command("inspect", "--network", "timm:resnet81") == 2
    assert "did you mean resnet18?" in capsys.readouterr().err


@pytest.mark.parametrize(("mean", "std"), [(0.2, 0.1), (0.5, 0.5)])
def test_pictures_are_normalised_as_the_network_states(
    monkeypatch, pictures, tmp_path, capsys, mean, std
):
    """One by name and, when that is written, the one of the file."""

    class Brightness(nn.Sequential):
        def __init__(self):
            super().__init__(
                nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
            )
            self.pretrained_cfg = {"mean": (mean,) * 3, "std": (std,) * 3}

    seen = []

    def given(*arguments, **settings):
        seen.append(Loader(*arguments, **settings))
        return seen[-1]

    timm = ModuleType("timm")
    timm.__spec__ = importlib.machinery.ModuleSpec("timm", None)
    vars(timm).update(
        create_model=lambda *_, **__: Brightness(), is_model="it".__eq__, list_models=lambda: ["it"]
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setattr("prunekit.__main__.Loader", given)
    options = ("--data", pictures, "--size", 16, "--ratio", 0.5, "--steps", 1, "--epochs", 0)
    options += ("--device", "cpu", "--training", 0, "--criterion", "weight_l1")
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    for network, out in (("timm:it", first), (first, second)):
        assert command("prune", "--network", network, "--out", out, *options) == 0
        (x, _), pixels = next(iter(seen[-1])), seen[-1].images.images
        torch.testing.assert_close(x, (pixels / 255 - mean) / std)
        about = prunekit.load(out).metadata
        assert (about["mean"], about["std"]) == ([mean] * 3, [std] * 3)


def test_the_real_timm_where_it_is_installed(capsys):
    pytest.importorskip("timm", reason="pip install prunekit[timm]")
    assert command("inspect", "--network", "timm:resnet18", "--size", 64) == 0
    assert "4,800 of 5,800 filters can go" in capsys.readouterr().out


BAD = [
    ({"--network": "torchvision:resnet81"}, "named 'resnet81': did you mean resnet"),
    ({"--network": "torchvision:fasterrcnn_resnet50_fpn"}, "no classification network named"),
    ({"--network": "nothing.safetensors"}, "there is no file nothing.safetensors"),
    ({"--network": "torchvision:vit_b_16"}, "fails on the example inputs|does not run on pictures"),
    ({"--data": "nowhere"}, "nowhere"),
    ({"--ratio": "1.5"}, "--ratio must be above 0 and below 1, not 1.5"),
    ({"--ratio": "nan"}, "--ratio must be above 0 and below 1, not nan"),
    ({"--steps": "0"}, "--steps must be at least 1, not 0"),
    ({"--batch-size": "0"}, "--batch-size must be at least 1, not 0"),
    ({"--epochs": "-1"}, "--epochs must be at least 0"),
    ({"--training": "inf"}, "--training must be at least 0 and finite, not inf"),
    ({"--lr": "0"}, "--lr must be above 0"),
    ({"--size": "0"}, "--size must be at least 1, not 0"),
    ({"--device": "tpu7"}, "--device tpu7"),
    ({"--weights": "nothing.pt"}, "--weights: there is no file nothing.pt"),
    ({"--out": "."}, r"--out must be a file, and \. is a folder"),
    ({"--folder": __file__}, "--folder must be a folder, and .* is a file"),
]


@pytest.mark.parametrize(("changed", "message"), BAD)
def test_bad_input_is_one_line_and_exit_code_2(pictures, tmp_path, capsys, changed, message):
    given = {"--network": "torchvision:squeezenet1_1", "--data": str(pictures), "--ratio": "0.5"}
    given |= {"--out": str(tmp_path / "out" / "small.safetensors"), "--weights": "none"}
    given |= {"--size": "32"} | changed
    assert command("prune", *(word for pair in given.items() for word in pair)) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("python -m prunekit: ") and not captured.out
    assert re.search(message, line), line
    assert not (tmp_path / "out").exists()


def test_weights_that_do_not_fit_are_named(pictures, tmp_path, capsys):
    given = ["--network", "torchvision:squeezenet1_1", "--data", pictures, "--ratio", 0.5]
    given += ["--out", tmp_path / "small.safetensors", "--size", 32, "--weights", tmp_path / "w.pt"]
    torch.save(models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "w.pt")
    assert command("prune", *given) == 2
    assert "w.pt holds no state_dict of torchvision:squeezenet1_1" in capsys.readouterr().err
    (tmp_path / "w.pt").write_bytes(b"no weights")
    assert command("prune", *given) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_file_of_other_classes_is_refused_before_any_work(pictures, tmp_path, capsys):
    prunekit.save(TinySqueezeNet(num_classes=5), tmp_path / "five.safetensors", {"size": 32})
    given = ["--network", tmp_path / "five.safetensors", "--data", pictures, "--ratio", 0.5]
    assert command("prune", *given, "--out", tmp_path / "small.safetensors") == 2
    assert "gives (1, 5) for one picture, and 2 scores are needed" in capsys.readouterr().err
    assert not (tmp_path / "small.safetensors").exists()


def test_outputs_stand_for_the_classes_that_a_file_names(pictures, tmp_path, capsys):
    """In whatever order; what else the file says of its network goes on with it."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    nn.init.constant_(model[0].weight, 1 / 3)
    nn.init.zeros_(model[0].bias)
    with torch.no_grad():  # the more light, the more output 0
        model[4].weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 8))
        model[4].bias.copy_(torch.tensor([-1.0, 1.0]))
    classes = ["light", "dark"]
    about = {"classes": classes, "size": 16, "author": "us"}
    prunekit.save(model, tmp_path / "own.safetensors", about)
    given = ["--network", tmp_path / "own.safetensors", "--data", pictures, "--epochs", 0]
    given += ["--steps", 1, "--ratio", 0.3, "--device", "cpu", "--out", tmp_path / "small"]
    assert command("prune", *given) == 0
    assert "accuracy on the 8 test pictures: 1.0000 before" in capsys.readouterr().out
    written = prunekit.load(tmp_path / "small").metadata
    assert written["classes"] == classes and written["author"] == "us"
    prunekit.save(model, tmp_path / "own.safetensors", {"classes": ["cat", "dog"], "size": 16})
    assert command("prune", *given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "its outputs are cat, dog; the classes of" in line and "are dark, light: name" in line


@pytest.mark.parametrize("arguments", [[], ["shrink"], ["prune", "--network", "x"]])
def test_the_command_by_itself_says_how_it_is_used(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "prunekit", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 2 and "usage: python -m prunekit" in done.stderr
    assert "Traceback" not in done.stderr
