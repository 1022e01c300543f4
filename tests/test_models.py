"""The book's networks."""

import pytest
import torch
from networks import randomise
from torch import nn

import prunekit
from prunekit import mask, profile, rank, rebuild, select
from prunekit.models import (
    CIFAR_MODELS,
    TinySqueezeNet,
    freeze_features,
    replace_head,
    squeezenet,
)


def test_squeezenet_has_the_size_the_thesis_states():
    parameters = sum(p.numel() for p in squeezenet(10).parameters())
    assert parameters == 727_626
    assert round(parameters * 4 / 1e6, 1) == 2.9


def test_squeezenet_has_2944_filters_before_its_classifier():
    model = squeezenet()
    convolutions = [m for m in model.features.modules() if isinstance(m, nn.Conv2d)]
    assert sum(conv.out_channels for conv in convolutions) == 2944


def test_a_new_head_changes_the_number_of_classes_and_nothing_else():
    model = squeezenet(10)
    before = model.features[0].weight.clone()
    replace_head(model, 7)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert torch.equal(model.features[0].weight, before)


def test_freezing_leaves_only_the_classifier_to_learn():
    learning = [
        name for name, p in freeze_features(squeezenet()).named_parameters() if p.requires_grad
    ]
    assert learning == ["classifier.1.weight", "classifier.1.bias"]


def test_the_small_network_has_184_filters_before_its_classifier():
    model = TinySqueezeNet()
    convolutions = [m for m in model.features.modules() if isinstance(m, nn.Conv2d)]
    assert sum(conv.out_channels for conv in convolutions) == 184


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        # Li et al. 2017: 1.5e7 and 3.13e8. Parameters count batch norm, MACs do not.
        ("vgg16_bn", 14_987_210, 313_463_808),
        # Half of the channels on both sides of every layer: nearly a quarter of both.
        ("vgg16_bn_half", 3_750_890, 78_809_600),
        # He et al. 2016, table 6: 0.27 M, 0.85 M and 1.7 M; papers on pruning give 125 M and 253 M.
        ("resnet20", 269_722, 40_551_040),
        ("resnet56", 853_018, 125_485_696),
        ("resnet110", 1_727_962, 252_887_680),
        # Papers on pruning give 2.3 M and 90 to 95 M.
        ("mobilenet_v2", 2_296_922, 91_154_944),
        # Lin et al. 2020 (HRank) give 1.86 M as 69.8 % fewer, and 0.45 G as 70.4 % fewer.
        ("googlenet", 6_158_346, 1_521_756_160),
    ],
)
def test_cifar_networks_have_the_published_sizes(name, parameters, macs):
    with torch.device("meta"):
        model = CIFAR_MODELS[name](10)
    cost = profile(model, torch.zeros(1, 3, 32, 32, device="meta"))
    assert (cost.parameters, cost.macs) == (parameters, macs)


@pytest.mark.parametrize("name", ["vgg16_bn", "resnet20", "mobilenet_v2", "googlenet"])
def test_cifar_networks_obey_the_first_law_and_can_be_stored(name, tmp_path):
    torch.manual_seed(0)
    model = randomise(CIFAR_MODELS[name](10)).double().eval()
    x, y = torch.randn(2, 3, 32, 32, dtype=torch.double), torch.tensor([0, 1])
    ranking = rank(model, [(x, y)], "weight_l1")
    remove = select(ranking, ranking["group"].nunique() // 3)
    small = rebuild(model, x, remove)
    assert torch.allclose(small(x), mask(model, x, remove)(x), rtol=1e-9)
    prunekit.save(small, tmp_path / "small.safetensors")
    more = torch.cat([x, x])  # the file must not fix the number of examples
    assert torch.allclose(prunekit.load(tmp_path / "small.safetensors")(more), small(more))


def test_every_filter_of_a_resnet_but_its_classifier_may_go():
    model = CIFAR_MODELS["resnet20"](10)
    ranking = rank(model, [(torch.zeros(2, 3, 32, 32), torch.zeros(2).long())], "weight_l1")
    # The stem and 3 blocks of 16; then 3 blocks of 32, and 3 of 64, of two convolutions each.
    assert len(ranking) == 16 + 3 * 2 * (16 + 32 + 64)
    # On each stage's sum the widest stage's 64 channels, and the first filters of 9 blocks.
    assert ranking["group"].nunique() == 64 + 3 * (16 + 32 + 64)


def test_a_shortcut_that_widens_carries_every_second_pixel_and_adds_zeros():
    block = CIFAR_MODELS["resnet20"](10).layer2[0]
    x = torch.randn(2, 16, 4, 4)
    wide = block.shortcut(x)
    assert torch.equal(wide[:, 8:24], x[:, :, ::2, ::2])
    assert not wide[:, :8].any() and not wide[:, 24:].any()


def test_a_pretrained_network_has_the_weights_on_disk_and_a_fresh_classifier(tmp_path, monkeypatch):
    torch.manual_seed(0)
    stored = squeezenet(1000).state_dict()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(stored, folder / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    model = squeezenet(7, pretrained=True)
    for name, tensor in model.features.state_dict().items():
        assert torch.equal(tensor, stored[f"features.{name}"])
    assert model.classifier[1].weight.shape == (7, 512, 1, 1)
    assert not model.classifier[1].bias.any()
