"""The book's networks."""

import torch
from torch import nn

from prunekit.models import TinySqueezeNet, freeze_features, replace_head, squeezenet


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
