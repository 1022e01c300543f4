"""Repair after removal: worked out on paper, and what holds for every network."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import TwoPlaces, random_networks, randomise
from repairs import error, pruned_pair
from torch import nn
from torchvision import models

import prunekit
from prunekit import fold_batch_norm
from prunekit.models import TinySqueezeNet
from prunekit.repair.calibration import channel_moments

ZOO = "mobilenet_v2", "shufflenet_v2_x0_5", "regnet_y_400mf"


def on_paper() -> nn.Sequential:
    """Two filters, x and 2x + 3, whose sum, 3x + 3, the last layer gives."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1)).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
        model[0].bias.copy_(torch.tensor([0.0, 3.0]))
        model[1].weight.fill_(1)
        model[1].bias.zero_()
    return model


FOUR_PIXELS = torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.double).view(4, 1, 1, 1)


def test_moments_on_paper():
    model, remove = on_paper(), {"0": [1]}
    small = prunekit.rebuild(model, FOUR_PIXELS, remove)
    repaired = prunekit.repair(small, model, remove, [FOUR_PIXELS], method="moments")
    # x has mean 1/2; 3x + 3 has three times its deviation, and mean 9/2.
    assert repaired[1].weight.item() == pytest.approx(3)
    assert repaired[1].bias.item() == pytest.approx(9 / 2 - 3 / 2)
    assert error(repaired, model, FOUR_PIXELS) < 1e-12


def test_least_squares_on_paper():
    model, remove = on_paper(), {"0": [1]}
    small = prunekit.rebuild(model, FOUR_PIXELS, remove)
    repaired = prunekit.repair(small, model, remove, [FOUR_PIXELS])
    # 2x + 3 is lacking. Four pixels against a tenth of one: 40/41 of the slope 2 is added.
    slope = 1 + 2 * 40 / 41
    assert repaired[1].weight.item() == pytest.approx(slope, rel=1e-5)
    assert repaired[1].bias.item() == pytest.approx(9 / 2 - slope / 2, rel=1e-5)


def test_batch_norm_on_paper():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
        model[0].bias.copy_(torch.tensor([0.0, 3.0]))
    remove = {"0": [0]}
    small = prunekit.rebuild(model, FOUR_PIXELS, remove)
    repaired = prunekit.repair(small, model, remove, [FOUR_PIXELS], method="batch_norm")
    # 2x + 3 is 1, 3, 5 and 7.
    assert repaired[1].running_mean.item() == pytest.approx(4)
    assert repaired[1].running_var.item() == pytest.approx(20 / 3)
    for name, parameter in small.named_parameters():
        assert torch.equal(parameter, repaired.get_parameter(name))


@settings(max_examples=settings.default.max_examples // 5)
@given(random_networks(), st.sampled_from(["least_squares", "moments"]))
def test_where_nothing_was_removed_nothing_changes(model, method):
    x = torch.randn(4, 3, 8, 8, dtype=torch.double)
    small = prunekit.rebuild(model, x, {})
    repaired = prunekit.repair(small, model, {}, [x], method=method)
    assert repaired.state_dict().keys() == model.state_dict().keys()
    assert error(repaired, model, x) < 1e-9


@settings(max_examples=settings.default.max_examples // 5)
@given(random_networks(), st.integers(0, 2**16))
def test_moments_of_every_layer_are_the_originals(model, seed):
    x = torch.randn(6, 3, 8, 8, dtype=torch.double)
    small, remove = pruned_pair(model, x, 0.6, seed)
    repaired = prunekit.repair(small, model, remove, [x], method="moments")
    graph = prunekit.trace(model, x)
    gone = graph.groups_of(remove)
    # Folded, as the shift may be in the batch norm behind a layer.
    ours, theirs = (moments_of(fold_batch_norm(m), graph.layers, x) for m in (repaired, model))
    for name, layer in graph.layers.items():
        if len(theirs[name]) == 1:
            (mean, variance), [(found_mean, found_variance)] = theirs[name][0], ours[name]
            kept = torch.from_numpy(~gone[layer.groups])
            torch.testing.assert_close(found_mean, mean[kept], rtol=1e-6, atol=1e-8)
            varies = found_variance > 1e-12
            wanted = variance[kept][varies]
            torch.testing.assert_close(found_variance[varies], wanted, rtol=1e-5, atol=1e-8)


def moments_of(model, names, x):
    """Of the output of each layer, at each of its calls."""
    seen, handles = {name: [] for name in names}, []
    for name in names:
        layer = model.get_submodule(name)

        def look(module, inputs, output, name=name):
            maps = output.movedim(-1, 1) if isinstance(module, nn.Linear) else output
            seen[name].append(channel_moments(maps))

        handles.append(layer.register_forward_hook(look))
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("name", ZOO)
def test_known_networks_come_nearer_to_the_original(name):
    torch.manual_seed(0)
    model = randomise(getattr(models, name)(weights=None, num_classes=10)).eval()
    x = torch.randn(32, 3, 32, 32)
    # Else the signal of random weights dies away.
    model = prunekit.repair(model, model, {}, [x], method="batch_norm")
    small, remove = pruned_pair(model, x[:2], 0.4)
    fitted = prunekit.repair(small, model, remove, [x])
    matched = prunekit.repair(small, model, remove, [x], method="moments")
    assert type(fitted) is type(matched) is type(model)
    assert error(fitted, model, x) < error(small, model, x) / 2
    with torch.inference_mode():
        ours, theirs, plain = (m(x) for m in (matched, model, small))
    assert (ours - theirs).mean(0).abs().max() < (plain - theirs).mean(0).abs().max() / 100
    torch.testing.assert_close(ours.std(0), theirs.std(0), rtol=1e-3, atol=1e-5)


METHODS = ["least_squares", "moments", "batch_norm"]


@pytest.mark.parametrize("method", METHODS)
def test_the_result_is_new_and_can_be_trained_and_saved(method, tmp_path):
    model = normed_and_bare()
    model[4].weight.requires_grad_(False)
    x = torch.randn(8, 3, 8, 8)
    small = prunekit.rebuild(model, x, {"0": [1, 2]}).train()
    before = copy.deepcopy((model.state_dict(), small.state_dict()))
    repaired = prunekit.repair(small, model, {"0": [1, 2]}, [x], method=method)
    for module, states in zip((model, small), before, strict=True):
        assert all(torch.equal(states[key], value) for key, value in module.state_dict().items())
        assert not any(module._forward_hooks for module in module.modules())
    assert repaired.training
    assert not model.training
    assert not repaired[4].weight.requires_grad
    repaired(x).sum().backward()
    assert all(p.grad is not None for p in repaired[3].parameters())
    prunekit.save(repaired.eval(), tmp_path / "repaired.safetensors")
    loaded = prunekit.load(tmp_path / "repaired.safetensors")
    torch.testing.assert_close(loaded(x), repaired(x))


def normed_and_bare() -> nn.Sequential:
    """A convolution before a batch norm and two with neither batch norm nor bias."""
    first = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU()
    model = nn.Sequential(*first, nn.Conv2d(6, 5, 3, bias=False), nn.Conv2d(5, 2, 1, bias=False))
    return randomise(model).eval()


@pytest.mark.parametrize("method", ["least_squares", "moments"])
def test_a_shift_goes_where_there_is_room_for_it(method):
    """Into the batch norm behind, else into a new bias: where nothing shifts there is none."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), *normed_and_bare())
    model[2] = nn.Conv2d(4, 6, 3, bias=False)
    x = torch.randn(32, 3, 8, 8)
    small = prunekit.rebuild(model.eval(), x, {"0": [0]})
    repaired = prunekit.repair(small, model, {"0": [0]}, [x], method=method)
    assert repaired[2].bias is None
    assert not torch.equal(repaired[3].running_mean, small[3].running_mean)
    assert repaired[5].bias is not None
    with torch.inference_mode():
        ours, theirs = (m[:4](x).mean((0, 2, 3)) for m in (repaired, model))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_one_method_after_another():
    model, x = randomise(TinySqueezeNet()).eval(), torch.randn(64, 3, 32, 32)
    small, remove = pruned_pair(model, x[:2])
    fitted = prunekit.repair(small, model, remove, [x])
    both = prunekit.repair(fitted, model, remove, [x], method="moments")
    with torch.inference_mode():
        torch.testing.assert_close(both(x).mean(0), model(x).mean(0), rtol=1e-3, atol=1e-3)
    assert error(both, model, x) < error(small, model, x) / 2


def test_the_same_images_give_the_same_weights_and_draw_no_random_number():
    model, x = TinySqueezeNet().eval(), torch.randn(24, 3, 64, 64)
    small, remove = pruned_pair(model, x[:2])
    labelled = [(part, torch.zeros(8)) for part in x.split(8)]
    torch.manual_seed(7)
    states = [
        prunekit.repair(small, model, remove, loader).state_dict()
        for loader in ([x], list(x.split(8)), labelled, [list(pair) for pair in labelled])
    ]
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    for state in states[1:]:
        assert all(torch.equal(state[key], value) for key, value in states[0].items())


def test_so_many_batches_and_no_more_are_read():
    model, x = TinySqueezeNet().eval(), torch.randn(300, 3, 32, 32)
    small, remove = pruned_pair(model, x[:2])
    read = []

    def endless():
        while True:
            read.append(1)
            yield x

    prunekit.repair(small, model, remove, endless(), batches=1)
    assert len(read) == 1
    prunekit.repair(small, model, remove, endless())
    assert len(read) == 1 + 2  # 512 images are enough


@pytest.mark.parametrize("method", ["least_squares", "moments"])
def test_a_layer_used_twice_and_tied_weights_stay_as_they_are(method):
    model, x = TwoPlaces().eval(), torch.randn(16, 3, 6, 6)
    small = prunekit.rebuild(model, x, {"shared": [1]})
    repaired = prunekit.repair(small, model, {"shared": [1]}, [x], method=method)
    assert repaired.alias is repaired.shared
    assert torch.equal(repaired.shared.weight, small.shared.weight)
    assert not torch.equal(repaired.heads[0].weight, small.heads[0].weight)

    parts = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)
    model = nn.Sequential(*parts).eval()
    model[2].weight = model[1].weight
    small = prunekit.rebuild(model, x, {"1": [2]})
    repaired = prunekit.repair(small, model, {"1": [2]}, [x], method=method)
    assert repaired[2].weight is repaired[1].weight
    assert torch.equal(repaired[1].weight, small[1].weight)
    assert not torch.equal(repaired[3].weight, small[3].weight)


@pytest.mark.parametrize("method", ["least_squares", "moments"])
def test_what_lies_before_the_removal_stays_as_it_is(method):
    model, x = normed_and_bare(), torch.randn(8, 3, 8, 8)
    small = prunekit.rebuild(model, x, {"3": [0]})
    repaired = prunekit.repair(small, model, {"3": [0]}, [x], method=method)
    assert set(repaired.state_dict()) == {*small.state_dict(), "4.bias"}
    changed = [
        name
        for name, p in small.named_parameters()
        if not torch.equal(p, repaired.get_parameter(name))
    ]
    assert changed == ["4.weight"]


@pytest.mark.parametrize("method", ["least_squares", "moments"])
def test_in_half_precision_a_layer_that_is_some_percent_wrong_is_repaired(method):
    model, remove = on_paper(), {"0": [1]}
    with torch.no_grad():
        model[1].weight[0, 1] = 1 / 64  # what is removed matters little
    model, x = model.to(torch.bfloat16), FOUR_PIXELS.to(torch.bfloat16)
    small = prunekit.rebuild(model, x, remove)
    repaired = prunekit.repair(small, model, remove, [x], method=method, progress=False)
    before, after = ((m(x) - model(x)).norm() / model(x).norm() for m in (small, repaired))
    assert 0.04 < before < 10 * torch.finfo(torch.bfloat16).eps
    assert after < 0.01


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"loader": []}, ValueError, "the loader gave no images"),
        ({"loader": [torch.full((2, 3, 8, 8), torch.nan)]}, ValueError, "batch 1 .* NaN"),
        ({"loader": [("image.png", 3)]}, TypeError, "begins with one"),
        ({"loader": [{"x": 3}]}, TypeError, "batch 1 of the loader is {'x': 3}"),
        ({"loader": [()]}, TypeError, r"batch 1 of the loader is \(\)"),
        ({"batches": 0}, ValueError, "at least 1, not 0"),
        ({"remove": {"0": [0]}}, ValueError, r"0: .filters, inputs. are .4, 3. .* and .5, 3."),
        ({"remove": {"9": [0]}}, KeyError, "9"),
        ({"remove": {"0": [6]}}, IndexError, "not 6"),
        ({"original": TinySqueezeNet()}, KeyError, "'0'"),
        ({"pruned": TinySqueezeNet()}, ValueError, "pass what rebuild"),
    ],
)
def test_what_does_not_fit_is_refused(change, error, message, method):
    model, x = normed_and_bare(), torch.randn(8, 3, 8, 8)
    remove = {"0": [1, 2]}
    given = {"pruned": prunekit.rebuild(model, x, remove), "original": model, "remove": remove}
    given |= {"loader": [x]} | change
    if isinstance(change.get("pruned") or change.get("original"), TinySqueezeNet):
        given["loader"] = [torch.randn(2, 3, 32, 32)]
    with pytest.raises(error, match=message):
        prunekit.repair(**given, method=method)


def test_unknown_methods_networks_without_batch_norm_and_broken_ones_are_refused():
    model, x = TinySqueezeNet().eval(), torch.randn(2, 3, 32, 32)
    with pytest.raises(ValueError, match="one of least_squares, moments, batch_norm, not 'magic'"):
        prunekit.repair(model, model, {}, [x], method="magic")
    with pytest.raises(ValueError, match="no batch norm with running statistics"):
        prunekit.repair(model, model, {}, [x], method="batch_norm")
    with torch.no_grad():
        model.features[2].squeeze.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"features.2.squeeze: its output .* NaN"):
        prunekit.repair(model, model, {}, [x])
    assert not any(module._forward_hooks for module in model.modules())


class WrittenOut(nn.BatchNorm2d):
    """A batch norm with its activation, as collections of networks have them."""

    def forward(self, x):
        statistics = self.running_mean, self.running_var
        return torch.relu(
            nn.functional.batch_norm(x, *statistics, self.weight, self.bias, self.training)
        )


def test_statistics_of_a_norm_that_is_written_out_are_estimated_too():
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), WrittenOut(8), nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)),
    )
    model, images = randomise(model).eval(), torch.randn(32, 3, 10, 10)
    small = prunekit.rebuild(model, images, {"0": [1, 4]})
    repaired = prunekit.repair(small, model, {"0": [1, 4]}, [images], method="batch_norm")
    mean, _ = channel_moments(small[0](images))
    torch.testing.assert_close(repaired[1].running_mean, mean.float())
    assert not torch.equal(repaired[3].running_mean, small[3].running_mean)
