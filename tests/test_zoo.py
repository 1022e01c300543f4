"""A few of torchvision's networks, one of each kind; `make zoo` runs them all."""

import importlib

import pytest
import torch
from networks import randomise
from test_surgery import check_the_law
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig

import prunekit

# The kinds that test_surgery does not have.
CONVOLUTIONAL = ["mobilenet_v3_small", "efficientnet_b0", "mnasnet0_5", "regnet_y_400mf"]
# The rest only so large as to have every part: what is left out repeats.
SMALL = {
    "ConvNeXt": lambda: models.ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 1)]),
    "VisionTransformer": lambda: models.VisionTransformer(32, 8, 2, 2, 16, 24),
    "SwinTransformer": lambda: models.SwinTransformer([2, 2], 8, [2, 2], [2, 4], [4, 4]),
    "MaxVit": lambda: models.MaxVit((32, 32), 8, 2, [8, 16], [1, 2], 4, 0.1),
}


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_rebuild_equals_mask_on_convolutional_networks(name):
    torch.manual_seed(0)
    check_the_law(randomise(getattr(models, name)(num_classes=10)).double().eval(), 32)


@pytest.mark.parametrize("kind", SMALL)
def test_rebuild_equals_mask_where_layer_norms_and_attention_are(kind):
    torch.manual_seed(0)
    model = SMALL[kind]().double().eval()
    for parameter in model.parameters():  # some begin at zero, or so small that they hide errors
        nn.init.normal_(parameter, 0, 0.3)
    check_the_law(model, 32)


@pytest.mark.parametrize("kind", ["VisionTransformer", "SwinTransformer"])
def test_hidden_units_of_a_transformer_can_go_and_attention_stays(kind):
    model = SMALL[kind]()
    prunable = prunekit.trace(model, torch.zeros(1, 3, 32, 32)).prunable
    hidden = [name for name, _ in model.named_modules() if name.endswith("mlp.0")]
    assert list(prunable) == hidden


def test_inception_still_trains_with_its_auxiliary_classifier():
    with torch.device("meta"):
        model = models.inception_v3(weights=None, init_weights=False)
    x = torch.zeros(2, 3, 299, 299, device="meta")
    small = prunekit.rebuild(model, x, {"Mixed_6e.branch1x1.conv": [0, 1]})
    assert small.AuxLogits.conv0.conv.in_channels == model.AuxLogits.conv0.conv.in_channels - 2
    assert [output.shape for output in small.train()(x)] == [(2, 1000), (2, 1000)]


@pytest.mark.parametrize("page", ["zoo", "peer", "criteria"])
def test_the_page_shows_what_was_recorded(page, root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(root / "book")
    importlib.import_module(f"{page}_tables").write(tmp_path)
    for made in tmp_path.glob("*.csv"):
        shown = (root / "book" / made.name).read_text()
        assert made.read_text() == shown, f"run book/{page}_tables.py"
