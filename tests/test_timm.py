"""A sample of timm's networks, where timm is installed; `make zoo` runs more."""

import pytest
import torch
from networks import randomise
from test_surgery import check_the_law, relative_difference

import prunekit

timm = pytest.importorskip("timm", reason="pip install prunekit[timm]")

# Small ones, with what the others are made of: norms with an activation, squeeze and excitation,
# attention over maps, sizes that are asked, caches, methods chosen when a network is made.
NETWORKS = {
    "test_resnet": 64,
    "test_efficientnet": 64,
    "test_byobnet": 64,
    "test_convnext": 64,
    "mobilenetv3_small_050": 64,
    "mobilevit_xxs": 64,
    "fasternet_t0": 64,
    "efficientvit_b0": 64,
    "test_vit": 160,
    "test_nfnet": 64,
}


def made(name):
    torch.manual_seed(0)
    model = randomise(timm.create_model(name, num_classes=10)).double().eval()
    for part, parameter in model.named_parameters():
        if not part.endswith("bias") and parameter.abs().max() < 1e-3:  # it would hide errors
            torch.nn.init.normal_(parameter, 0, 0.3)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_rebuild_equals_mask(name):
    check_the_law(made(name), NETWORKS[name])


def test_heads_of_attention_go_as_wholes():
    model, x = made("test_vit3"), torch.randn(1, 3, 160, 160, dtype=torch.double)
    graph = prunekit.trace(model, x)
    heads = {name: groups for name, groups in graph.heads.items() if name.endswith("num_heads")}
    assert len(heads) == len(model.blocks) + 1  # and where tokens are pooled
    name, groups = next(iter(heads.items()))
    qkv = name.replace("num_heads", "qkv")
    assert len(graph.members(groups[0])[qkv]) == 3 * model.blocks[0].attn.head_dim
    small, masked = (do(model, graph, {qkv: [0]}) for do in (prunekit.rebuild, prunekit.mask))
    assert small.blocks[0].attn.num_heads == model.blocks[0].attn.num_heads - 1
    with torch.inference_mode():
        assert relative_difference(small(x), masked(x)) < 1e-9
        assert relative_difference(small(x), model(x)) > 1e-6


def test_a_file_holds_a_network_that_branches_on_sizes(tmp_path):
    model, x = made("mobilevit_xxs"), torch.randn(1, 3, 64, 64, dtype=torch.double)
    with pytest.raises(prunekit.TraceError, match="cannot be traced"):
        prunekit.save(model, tmp_path / "model.safetensors")
    prunekit.save(model, tmp_path / "model.safetensors", example_inputs=x)
    with torch.inference_mode():
        loaded = prunekit.load(tmp_path / "model.safetensors")
        assert relative_difference(loaded(x), model(x)) < 1e-12
        with pytest.raises(AssertionError, match="other sizes"):
            loaded(x[..., :48])
