"""Batch norm inserted and folded: the function stays, and so do names."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from networks import TwoPlaces, random_networks, randomise
from paper import InPlace
from torch import nn
from torchvision import models

import prunekit
from prunekit import fold_batch_norm, insert_batch_norm
from prunekit.models import TinySqueezeNet, freeze_features, squeezenet

BARE = "squeezenet1_1", "alexnet"
NORMED = "resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "densenet121", "regnet_y_400mf"


def check_same(a: nn.Module, b: nn.Module, x: torch.Tensor, tolerance: float = 1e-5) -> None:
    with torch.inference_mode():
        ours, theirs = a(x), b(x)
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def norms_in(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_on_paper():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)).eval()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), (2.0, 3.0, 1.0, 0.0), strict=True):
            parameter.fill_(value)
    x = torch.tensor([-1.0, 0.0, 1.0, 2.0]).view(4, 1, 1, 1)
    normed = insert_batch_norm(model, [x[:1], x[1:]])
    conv, norm = normed[0].conv, normed[0].norm
    # 2x + 3 is 1, 3, 5 and 7: mean 4, variance 5. The convolution alone gives 3 less.
    assert (conv.weight.item(), conv.bias) == (2, None)
    assert norm.running_mean.item() == pytest.approx(4 - 3)
    assert norm.running_var.item() == pytest.approx(5)
    assert norm.weight.item() == pytest.approx(5**0.5)
    assert norm.bias.item() == pytest.approx(4)
    assert isinstance(normed[1], nn.Conv2d)  # the output, which nothing normalises
    folded = fold_batch_norm(normed)
    assert folded[0].weight.item() == pytest.approx(2)
    assert folded[0].bias.item() == pytest.approx(3)


@pytest.mark.parametrize("name", BARE)
def test_there_and_back_again(name):
    torch.manual_seed(0)
    model = getattr(models, name)(weights=None, num_classes=10).eval()
    x = torch.randn(4, 3, 64, 64)
    normed = insert_batch_norm(model, [(x, torch.zeros(4))])
    prunable = prunekit.trace(model, x).prunable
    convolutions = [key for key in prunable if isinstance(model.get_submodule(key), nn.Conv2d)]
    assert norms_in(normed) == len(convolutions)
    check_same(normed, model, x)
    folded = fold_batch_norm(normed)
    check_same(folded, model, x)
    assert str(folded) == str(model)
    assert folded.state_dict().keys() == model.state_dict().keys()
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(folded.state_dict()[key], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NORMED)
def test_known_networks_are_folded(name):
    torch.manual_seed(0)
    model = randomise(getattr(models, name)(weights=None, num_classes=10)).eval()
    x = torch.randn(4, 3, 32, 32)
    folded = fold_batch_norm(model)
    check_same(folded, model, x)
    joined = 62 if name == "densenet121" else 0  # behind what several convolutions gave
    assert norms_in(folded) == joined < norms_in(model)


@settings(max_examples=settings.default.max_examples // 4)
@given(random_networks())
def test_the_function_stays_on_random_networks(model):
    x = torch.randn(4, 3, 8, 8, dtype=torch.double)
    normed = insert_batch_norm(model, [x])
    check_same(normed, model, torch.randn_like(x), 1e-9)
    check_same(fold_batch_norm(normed), model, torch.randn_like(x), 1e-9)
    check_same(fold_batch_norm(model), model, torch.randn_like(x), 1e-9)


def test_what_is_written_over_in_place_is_seen_before():
    model, x = randomise(InPlace()).eval(), torch.randn(4, 3, 8, 8)
    x = x.to(memory_format=torch.channels_last)
    before = x.clone()
    normed = insert_batch_norm(nn.Sequential(nn.ReLU(inplace=True), model), [x])
    assert torch.equal(x, before)
    assert isinstance(normed[1].second, nn.Sequential)
    assert isinstance(normed[1].first, nn.Conv2d)
    check_same(normed[1], model, x)


def test_a_convolution_in_two_places_has_one_batch_norm():
    model, x = TwoPlaces().eval(), torch.randn(4, 3, 6, 6)
    normed = insert_batch_norm(model, [x])
    assert normed.alias is normed.shared
    (ours, [second]), (theirs, [other]) = normed(x), model(x)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(second, other)
    folded = fold_batch_norm(normed)
    assert folded.alias is folded.shared
    assert folded.state_dict().keys() == model.state_dict().keys()


class NormedOnce(nn.Module):
    """A convolution called twice, and a batch norm behind one of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x)) + self.conv(x)


class ReadBesides(NormedOnce):
    """What a convolution gives, with and without batch norm."""

    def forward(self, x):
        x = self.conv(x)
        return self.norm(x) + x


class NormedTwice(NormedOnce):
    """A batch norm behind a convolution, and behind the input as well."""

    def forward(self, x):
        return self.norm(self.conv(x)) + self.norm(x)


def tied() -> nn.Module:
    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    second.weight = first.weight
    return nn.Sequential(first, nn.BatchNorm2d(3), second)


def without_statistics() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))


def with_hook(place: int) -> nn.Module:
    """A pair of which the convolution or the batch norm gives twice what it computes."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    model[place].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


UNFOLDED = [NormedOnce, ReadBesides, NormedTwice, tied, without_statistics]


@pytest.mark.parametrize("make", [*UNFOLDED, partial(with_hook, 0), partial(with_hook, 1)])
def test_a_batch_norm_that_cannot_be_folded_stays(make):
    model, x = randomise_if_tracked(make()).eval(), torch.randn(4, 3, 6, 6)
    folded = fold_batch_norm(model)
    assert norms_in(folded) == 1
    check_same(folded, model, x)


def randomise_if_tracked(model: nn.Module) -> nn.Module:
    tracked = all(b.running_mean is not None for b in model.modules() if hasattr(b, "running_mean"))
    return randomise(model) if tracked else model


def test_transposed_convolutions_are_folded():
    up = nn.ConvTranspose2d(3, 5, 2, stride=2), nn.BatchNorm2d(5)
    grouped = nn.ConvTranspose2d(5, 10, 3, groups=5), nn.BatchNorm2d(10)
    model, x = randomise(nn.Sequential(*up, *grouped)).eval(), torch.randn(2, 3, 6, 6)
    folded = fold_batch_norm(model)
    check_same(folded, model, x)
    assert [type(part) for part in folded][1] is nn.Identity


def test_modes_and_what_is_trained_stay():
    model = freeze_features(squeezenet()).train()
    normed = insert_batch_norm(model, [torch.randn(2, 3, 64, 64)])
    assert all(module.training for module in normed.modules())
    trained = {name for name, p in normed.named_parameters() if p.requires_grad}
    assert trained == {"classifier.1.weight", "classifier.1.bias"}
    folded = fold_batch_norm(normed)
    assert all(module.training for module in folded.modules())
    assert {name for name, p in folded.named_parameters() if p.requires_grad} == trained
    unfrozen = fold_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)))
    assert unfrozen[0].bias.requires_grad


def test_half_precision_stays_half_precision():
    model = TinySqueezeNet().to(torch.bfloat16).eval()
    x = torch.randn(4, 3, 32, 32, dtype=torch.bfloat16)
    normed = insert_batch_norm(model, [x])
    assert {p.dtype for p in normed.parameters()} == {torch.bfloat16}
    check_same(normed, model, x, 2**-4)
    check_same(fold_batch_norm(normed), model, x, 2**-4)


def test_a_normed_network_is_pruned_trained_saved_and_folded(tmp_path):
    torch.manual_seed(0)
    model, x = TinySqueezeNet().eval(), torch.randn(16, 3, 32, 32)
    batch = x, torch.arange(16) % 10
    normed = insert_batch_norm(model, [batch])
    ranking = prunekit.rank(normed, [batch], "taylor")
    assert len(ranking) == len(prunekit.rank(model, [batch], "taylor"))
    assert set(ranking["layer"]) == {f"{key}.conv" for key in prunekit.trace(model, x).prunable}
    remove = prunekit.select(ranking, count=60)
    small, masked = prunekit.rebuild(normed, x, remove), prunekit.mask(normed, x, remove)
    check_same(small, masked, x)
    prunekit.training.fit(small, [batch], epochs=3, progress=False)
    prunekit.save(small.eval(), tmp_path / "normed.safetensors")
    read = prunekit.load(tmp_path / "normed.safetensors")
    for ready in (fold_batch_norm(small), fold_batch_norm(read)):
        check_same(ready, small, x)
        assert norms_in(ready) == 0
        assert set(ready.state_dict()) == set(model.state_dict())
        prunekit.save(ready, tmp_path / "ready.safetensors")
        check_same(prunekit.load(tmp_path / "ready.safetensors"), small, x)


def test_a_file_can_be_given_batch_norms_too(tmp_path):
    model, x = TinySqueezeNet().eval(), torch.randn(4, 3, 32, 32)
    prunekit.save(model, tmp_path / "model.safetensors")
    read = prunekit.load(tmp_path / "model.safetensors")
    normed = insert_batch_norm(read, [x])
    check_same(normed, model, x)
    assert set(fold_batch_norm(normed).state_dict()) == set(model.state_dict())


class Chunks(nn.Module):
    """A list of what chunk gives, as YOLO's C2f makes one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(12, 5, 1)

    def forward(self, x):
        parts = list(self.first(x).chunk(2, 1))
        return self.last(torch.cat([*parts, torch.relu(self.second(parts[-1]))], 1))


def test_example_inputs_show_the_sizes_that_a_network_asks():
    model, x = Chunks().eval(), torch.randn(4, 3, 6, 6)
    normed = insert_batch_norm(model, [x])
    assert norms_in(normed) == 2
    with pytest.raises(prunekit.TraceError, match="asks sizes, pass example_inputs"):
        fold_batch_norm(normed)
    folded = fold_batch_norm(normed, example_inputs=x)
    assert str(folded) == str(model)
    check_same(folded, model, x)


@pytest.mark.parametrize("from_file", [False, True])
def test_squeezenet_without_the_relu_on_its_class_maps(from_file, tmp_path):
    model, x = squeezenet().eval(), torch.randn(2, 3, 64, 64)
    if from_file:
        prunekit.save(model, tmp_path / "model.safetensors")
        model = prunekit.load(tmp_path / "model.safetensors")
    model.set_submodule("classifier.2", nn.Identity())
    maps = model.get_submodule("classifier.1")
    with torch.no_grad():
        maps.bias.fill_(-100)
    assert (model(x) < -50).all()
    normed = insert_batch_norm(model, [x])
    assert type(normed.get_submodule("classifier.1")) is nn.Conv2d
    assert "classifier.1" not in set(prunekit.rank(normed, [(x, torch.arange(2))])["layer"])


def test_a_forward_pass_that_asks_a_convolution_for_its_sizes():
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 2, 1)

        def forward(self, x):
            x = F.avg_pool2d(self.conv(x), self.conv.stride)
            return self.last(x) * self.conv.in_channels

    model, x = Asks().eval(), torch.randn(8, 3, 12, 12)
    normed = insert_batch_norm(model, [x])
    assert norms_in(normed) == 1
    check_same(normed, model, x)
    check_same(fold_batch_norm(normed), model, x)
    with pytest.raises(AttributeError, match="no attribute 'strides'"):
        normed.conv.strides  # noqa: B018


def test_layers_by_name():
    model, x = TinySqueezeNet().eval(), torch.randn(4, 3, 32, 32)
    normed = insert_batch_norm(model, [x], layers=["classifier.1"])
    assert norms_in(normed) == 1
    check_same(normed, model, x)
    for layers in ("classifier.1", iter(["classifier.1"])):
        again = insert_batch_norm(model, [x], layers=layers)
        assert again.state_dict().keys() == normed.state_dict().keys()
    with pytest.raises(KeyError, match=r"no convolution is named 'classifier.9'; .* classifier.1"):
        insert_batch_norm(model, [x], layers=["classifier.9"])
    with pytest.raises(ValueError, match=r"classifier.1.conv has a norm behind it already"):
        insert_batch_norm(normed, [x], layers=["classifier.1.conv"])


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([], "the loader gave no images"),
        ([torch.full((2, 3, 32, 32), torch.inf)], "batch 1 of the loader .* NaN or infinite"),
        ([torch.full((2, 3, 32, 32), 3e38)], r"features.0: its outputs .* are NaN or infinite"),
    ],
)
def test_images_that_say_nothing_are_refused(loader, message):
    with pytest.raises(ValueError, match=message):
        insert_batch_norm(TinySqueezeNet(), loader)
