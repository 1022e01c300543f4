"""Heads of torch's own attention go once it has been exchanged for a layer that can lose them."""

import pytest
import torch
from test_channels_sizes import check
from torch import nn
from torchvision.models import VisionTransformer

import prunekit
from prunekit.attention import free_heads

X = torch.randn(2, 3, 8, 8, dtype=torch.double)
MASK = torch.ones(4, 6).tril() < 1
PADDING = torch.zeros(2, 6).index_fill(1, torch.tensor([5]), 1) > 0
LAYERS = {
    "as it comes": {},
    "batches first": {"batch_first": True},
    "without biases": {"bias": False, "batch_first": True},
    "unlike widths": {"kdim": 5, "vdim": 7, "batch_first": True},
}
CALLS = {
    "plain": {"need_weights": False},
    "weights": {},
    "weights of each head": {"average_attn_weights": False},
    "a mask": {"attn_mask": MASK, "need_weights": False},
    "a mask to add": {"attn_mask": torch.rand(4, 6).double()},
    "a causal one": {"attn_mask": MASK, "is_causal": True, "need_weights": False},
    "padding": {"key_padding_mask": PADDING},
    "both": {"attn_mask": MASK, "key_padding_mask": PADDING, "need_weights": False},
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("layer", LAYERS)
def test_with_its_heads_freed_a_layer_of_torch_computes_the_same(layer, call):
    torch.manual_seed(0)
    options = LAYERS[layer]
    attention = nn.MultiheadAttention(12, 3, **options).double().eval()
    for name, parameter in attention.named_parameters():
        if name.endswith("bias"):  # torch begins with zeros
            nn.init.normal_(parameter)
    widths = 12, options.get("kdim", 12), options.get("vdim", 12)
    given = [torch.randn(2, 4 if not i else 6, width).double() for i, width in enumerate(widths)]
    if not attention.batch_first:
        given = [x.transpose(0, 1) for x in given]
    with torch.no_grad():
        output, weights = free_heads(attention)(*given, **CALLS[call])
        expected, expected_weights = attention(*given, **CALLS[call])
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(weights, expected_weights)


class Asking(nn.Module):
    """Attention as it is called by default: with the mean of the heads' weights, read or not."""

    def __init__(self, reads: bool) -> None:
        super().__init__()
        self.patches, self.head, self.reads = nn.Conv2d(3, 12, 4, 4), nn.Linear(12, 5), reads
        self.attention = nn.MultiheadAttention(12, 4, batch_first=True)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        found, weights = self.attention(x, x, x)
        return self.head((weights @ found if self.reads else found).mean(1))


@pytest.mark.parametrize(("reads", "heads"), [(False, 4), (True, 0)])
def test_heads_stay_where_the_mean_of_their_weights_is_read(reads, heads):
    torch.manual_seed(0)
    headed = free_heads(Asking(reads).double().eval())
    layers = [f"attention.{layer}" for layer in ("query", "key", "value")]
    around = {"patches": 12, "attention.out_proj": 12}
    check(headed, X, around | (dict.fromkeys(layers, heads) if heads else {}))


class OfTorch(nn.Module):
    """An encoder and a decoder as torch has them, on patches."""

    def __init__(self) -> None:
        super().__init__()
        layer = {"d_model": 12, "nhead": 4, "dim_feedforward": 20, "batch_first": True}
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**layer), 2)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**layer), 1)
        self.asked, self.head = nn.Parameter(torch.randn(1, 2, 12)), nn.Linear(12, 5)

    def forward(self, x):
        x = self.encoder(self.patches(x).flatten(2).transpose(1, 2))
        return self.head(self.decoder(self.asked.expand(len(x), -1, -1), x))


def test_hidden_units_of_torchs_transformers_go_and_heads_once_they_are_freed():
    torch.manual_seed(0)
    model = OfTorch().double().eval()
    hidden = ("encoder.layers.0.linear1", "encoder.layers.1.linear1", "decoder.layers.0.linear1")
    check(model, X, dict.fromkeys(hidden, 20))
    headed = free_heads(model)
    torch.testing.assert_close(headed(X), model(X))
    attentions = [name for name, part in model.named_modules() if hasattr(part, "num_heads")]
    assert len(attentions) == 4
    layers = [f"{name}.{layer}" for name in attentions for layer in ("query", "key", "value")]
    check(headed, X, dict.fromkeys(hidden, 20) | dict.fromkeys(layers, 4))


def test_a_vision_transformer_loses_heads(tmp_path):
    sizes = {"num_layers": 2, "num_heads": 4, "hidden_dim": 16, "mlp_dim": 20}
    model = VisionTransformer(32, 8, **sizes, num_classes=5).eval()
    nn.init.normal_(model.heads.head.weight)  # torchvision begins with zeros
    headed, x = free_heads(model), torch.randn(2, 3, 32, 32)
    first = "encoder.layers.encoder_layer_0.self_attention"
    remove = {f"{first}.query": [0], f"{first}.value": [15]}  # the first head and the last
    small, masked = prunekit.rebuild(headed, x, remove), prunekit.mask(headed, x, remove)
    torch.testing.assert_close(small(x), masked(x), atol=1e-5, rtol=1e-4)
    assert (small(x) - model(x)).abs().max() > 1e-3
    attention = small.get_submodule(first)
    assert attention.num_heads == 2 and attention.out_proj.in_features == 8
    prunekit.save(small, tmp_path / "small.safetensors", example_inputs=x)
    again = prunekit.load(tmp_path / "small.safetensors", into=free_heads(model))
    torch.testing.assert_close(again(x), small(x))


def test_one_layer_in_two_places_stays_one_and_learns_where_it_did():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    attention.in_proj_weight.requires_grad_(False)
    headed = free_heads(nn.ModuleList([attention, attention]))
    assert headed[0] is headed[1] and headed.training
    assert not headed[0].query.weight.requires_grad and headed[0].out_proj.weight.requires_grad


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.Linear(3, 3)), "Sequential has no nn.MultiheadAttention"),
        (nn.Sequential(nn.MultiheadAttention(4, 2, add_bias_kv=True)), "0 adds a key and a value"),
        (nn.MultiheadAttention(4, 2, add_zero_attn=True), "the model adds a key and a value"),
    ],
)
def test_what_has_no_heads_to_free_is_refused(model, said):
    with pytest.raises(ValueError, match=said):
        free_heads(model)


@pytest.mark.parametrize(
    ("shape", "options", "said"),
    [
        ((4, 8), {}, "must have 3 dimensions, a batch, not 2"),
        ((2, 4, 8), {"attn_mask": torch.zeros(4, 4, 4)}, "the same for all heads"),
        ((2, 4, 8), {"is_causal": True}, "there is none"),
    ],
)
def test_what_a_layer_with_freed_heads_cannot_be_given_is_refused(shape, options, said):
    x = torch.randn(shape)
    with pytest.raises(ValueError, match=said):
        free_heads(nn.MultiheadAttention(8, 2, batch_first=True))(x, x, x, **options)


class Padded(nn.Module):
    """An encoder as torch makes it by default, for sequences of which some are padded."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 4, 20, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x, padding):
        return self.encoder(x, src_key_padding_mask=padding)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_encoder_takes_padded_sequences_once_its_heads_are_freed():
    model, x = Padded().eval(), torch.randn(3, 6, 12)
    padding = torch.arange(6) >= torch.tensor([[6], [4], [3]])
    with pytest.raises(prunekit.TraceError, match=r"'encoder'\).use_nested_tensor = False"):
        prunekit.trace(model, (x, padding))
    headed = free_heads(model)
    with torch.inference_mode():
        torch.testing.assert_close(headed(x, padding)[~padding], model(x, padding)[~padding])
    torch.testing.assert_close(headed(x, padding), model(x, padding))
    query = "encoder.layers.1.self_attn.query"
    remove = {query: [0], "encoder.layers.0.linear1": [3, 5]}
    graph = prunekit.trace(headed, (x, padding))
    small, masked = (act(headed, graph, remove) for act in (prunekit.rebuild, prunekit.mask))
    assert small.get_submodule(query).out_features == 9
    torch.testing.assert_close(small(x, padding), masked(x, padding))
    model.encoder.use_nested_tensor = False
    assert "encoder.layers.0.linear1" in prunekit.trace(model, (x, padding)).prunable
