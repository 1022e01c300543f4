"""Which channels belong together, by hand and against torch-pruning."""

import itertools

import numpy as np
import pytest
import torch
import torch_pruning
from torch import nn
from torchvision import models

import prunekit
from prunekit.models import TinySqueezeNet, squeezenet

IMAGE = torch.zeros(1, 3, 64, 64)
ZOO = {
    "squeezenet1_1": {},
    "vgg11": {"num_classes": 10},
    "vgg11_bn": {"num_classes": 10},
    "resnet18": {},
    "resnet50": {},
    "mobilenet_v2": {},
    "densenet121": {},
    "googlenet": {"init_weights": False, "aux_logits": False},
}


def test_squeezenet_has_2944_prunable_filters_of_its_own():
    graph = prunekit.trace(squeezenet(), IMAGE)
    prunable = graph.prunable
    assert sum(layer.filters for layer in prunable.values()) == 2944
    groups = np.concatenate([layer.groups for layer in prunable.values()])
    assert len(np.unique(groups)) == 2944
    assert "classifier.1" in graph.layers
    assert "classifier.1" not in prunable


def test_expand_layers_feed_the_next_squeeze_in_the_order_of_concatenation():
    graph = prunekit.trace(squeezenet(), IMAGE)
    first = graph.layers["features.3.expand1x1"].groups
    second = graph.layers["features.3.expand3x3"].groups
    assert graph.layers["features.4.squeeze"].inputs.tolist() == [*first, *second]


def test_flattened_maps_give_each_channel_as_many_linear_columns_as_it_has_pixels():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 9, 2))
    graph = prunekit.trace(model, torch.zeros(1, 3, 8, 8))
    assert graph.layers["3"].inputs.tolist() == np.repeat(graph.layers["0"].groups, 9).tolist()


def test_a_depthwise_convolution_goes_with_the_filter_it_reads():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 2, 1)
    )
    graph = prunekit.trace(model, torch.zeros(1, 3, 8, 8))
    assert graph.members(int(graph.layers["0"].groups[2])) == {"0": [2], "1": [2]}


def test_a_module_used_twice_ties_what_it_reads():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3, padding=1)
            self.shared = nn.Conv2d(4, 4, 3, padding=1)
            self.head = nn.Conv2d(4, 2, 1)

        def forward(self, x):
            return self.head(torch.relu(self.shared(torch.relu(self.shared(self.stem(x))))))

    graph = prunekit.trace(Twice(), torch.zeros(1, 3, 8, 8))
    assert graph.members(int(graph.layers["stem"].groups[1])) == {"stem": [1], "shared": [1]}


def test_the_size_a_view_names_in_code_cannot_shrink():
    class HardCoded(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.head = nn.Linear(4 * 64, 2)

        def forward(self, x):
            return self.head(self.conv(x).view(-1, 256))

    assert prunekit.trace(HardCoded(), torch.zeros(1, 3, 8, 8)).prunable == {}


def test_tracing_changes_nothing_on_the_model():
    model = TinySqueezeNet().train()
    calls = []
    model.features[0].register_forward_hook(lambda *_: calls.append(1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prunekit.trace(model, IMAGE)
    assert model.training
    assert all(module.training for module in model.modules())
    assert calls == []
    assert len(model.features[0]._forward_hooks) == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_control_flow_on_data_is_refused_with_module_and_line():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    model = nn.Sequential(nn.Conv2d(3, 4, 1), Branching(), nn.Conv2d(4, 2, 1))
    with pytest.raises(
        prunekit.TraceError, match=r"module '1' cannot be traced at .*test_channels"
    ):
        prunekit.trace(model, IMAGE)


def test_an_unknown_layer_is_refused_by_name():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.FractionalMaxPool2d(2, 3)))
    with pytest.raises(prunekit.TraceError, match=r"1\.0.*prunekit\.channels\.leaf"):
        prunekit.trace(model, torch.zeros(1, 3, 7, 7))


def test_an_unknown_operation_is_refused_by_name():
    class Inverse(nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x)

    model = nn.Sequential(nn.Conv2d(3, 4, 1), Inverse(), nn.Conv2d(4, 2, 1))
    with pytest.raises(prunekit.TraceError, match=r"module '1' calls linalg_inv"):
        prunekit.trace(model, IMAGE)


def test_a_network_in_half_precision_asks_for_inputs_of_its_type():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)).half()
    with pytest.raises(prunekit.TraceError, match=r"float16 and the inputs torch\.float32: bring"):
        prunekit.trace(network, torch.zeros(1, 3, 8, 8))
    assert list(prunekit.trace(network, torch.zeros(1, 3, 8, 8).half()).prunable) == ["0"]


def test_attention_keeps_queries_keys_and_values():
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.key = nn.Linear(4, 8), nn.Linear(4, 8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(self.query(x), self.key(x), self.key(x))[0]

    assert prunekit.trace(Cross(), torch.zeros(1, 5, 4)).prunable == {}


def layers(*widths):
    return nn.Sequential(*(nn.Conv2d(i, o, 3) for i, o in itertools.pairwise(widths)))


@pytest.mark.parametrize(
    ("one", "other"),
    [((3, 8, 4), (3, 8, 4, 2)), ((3, 8, 4, 2), (3, 8, 4)), ((3, 8, 4), (3, 8, 5))],
)
def test_a_graph_of_another_network_is_refused(one, other):
    graph = prunekit.trace(layers(*one), IMAGE)
    graph.refuse_another(layers(*one))
    for operation in (prunekit.rebuild, prunekit.mask):
        with pytest.raises(ValueError, match="the graph is of another network than the model"):
            operation(layers(*other), graph, {"0": [1]})


def test_what_a_leaf_holds_does_not_make_it_another_network():
    model = nn.Sequential(layers(3, 8, 4), nn.Sequential(nn.Conv2d(4, 4, 1)))
    model[1].__class__ = type("Closed", (nn.Sequential,), {})
    graph = prunekit.trace(model, IMAGE, leaves=(type(model[1]),))
    assert prunekit.rebuild(model, graph, {"0.0": [1]})[0][0].out_channels == 7
    with pytest.raises(ValueError, match="another network"):
        graph.refuse_another(nn.Sequential(*model, nn.Conv2d(4, 4, 1)))


@pytest.mark.parametrize("name", ZOO)
def test_agrees_with_torch_pruning_on_what_is_coupled(name):
    """For a filter of every layer, both remove the same filters elsewhere.

    ShuffleNetV2 is left out: torch-pruning does not trace its channel shuffle
    (Torch-Pruning issue 45). The first law is tested on it in test_surgery.
    """
    torch.manual_seed(0)
    model = getattr(models, name)(weights=None, **ZOO[name]).eval()
    graph = prunekit.trace(model, IMAGE)
    peer = torch_pruning.DependencyGraph().build_dependency(model, IMAGE)
    names = {module: layer for layer, module in model.named_modules()}
    kinds = (nn.Conv2d, nn.Linear)
    compared = 0
    for layer, channels in graph.prunable.items():
        module = model.get_submodule(layer)
        depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
        prune = (
            torch_pruning.prune_depthwise_conv_out_channels
            if depthwise
            else torch_pruning.prune_conv_out_channels
            if isinstance(module, nn.Conv2d)
            else torch_pruning.prune_linear_out_channels
        )
        index = channels.filters // 3
        group = peer.get_pruning_group(module, prune, idxs=[index])
        theirs: dict[str, set[int]] = {}
        for dependency, indices in group:
            target = dependency.target.module
            if isinstance(target, kinds) and peer.is_out_channel_pruning_fn(dependency.handler):
                theirs.setdefault(names[target], set()).update(indices)
        ours = graph.members(int(channels.groups[index]))
        assert {key: set(value) for key, value in ours.items()} == theirs, layer
        compared += 1
    assert compared > 5
