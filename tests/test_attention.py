"""Heads of attention go as wholes: their rows of queries, keys and values, and what reads them."""

import functools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from test_channels_sizes import check
from torch import nn

import prunekit

X = torch.randn(2, 3, 8, 8, dtype=torch.double)
HEADS, WIDTH, HEAD_WIDTH = 4, 10, 3
INNER = HEADS * HEAD_WIDTH
APART = ("blocks.1.q", "blocks.1.k", "blocks.1.v")


class Packed(nn.Module):
    """Queries, keys and values in one layer, as timm writes it, with a mask and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim = HEADS, HEAD_WIDTH, INNER
        self.qkv, self.gate = nn.Linear(WIDTH, 3 * INNER), nn.Linear(WIDTH, INNER)
        self.norm = nn.LayerNorm(HEAD_WIDTH)
        self.scale = nn.Parameter(torch.rand(HEADS, 1, 1) + 0.5)
        self.proj = nn.Linear(INNER, WIDTH)

    def forward(self, x):
        size, tokens, _ = x.shape
        gate = self.gate(x).sigmoid()
        qkv = self.qkv(x).reshape(size, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        earlier = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).tril()
        x = F.scaled_dot_product_attention(self.norm(q) * self.scale, k, v, attn_mask=earlier)
        return self.proj(x.transpose(1, 2).reshape(size, tokens, self.attn_dim) * gate)


class Apart(nn.Module):
    """Three layers, products written out, and widths that are left to torch."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = HEADS
        self.q, self.k = (nn.Linear(WIDTH, INNER, bias=False) for _ in "qk")
        self.v, self.proj = nn.Linear(WIDTH, 2 * HEADS), nn.Linear(2 * HEADS, WIDTH)

    def laid_out(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x):
        q, k, v = (self.laid_out(part(x)) for part in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-2, -1) * HEAD_WIDTH**-0.5).softmax(-1)
        return self.proj(torch.matmul(weights, v).transpose(1, 2).flatten(2))


class Pooled(Packed):
    """One query, made of a parameter, looks at all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.q = nn.Parameter(torch.randn(1, 1, WIDTH)), nn.Linear(WIDTH, INNER)
        self.kv = nn.Linear(WIDTH, 2 * INNER)
        del self.qkv, self.gate, self.scale, self.norm

    def forward(self, x):
        size, tokens, _ = x.shape
        q = self.q(self.query.expand(size, -1, -1))
        q = q.reshape(size, 1, self.num_heads, self.head_dim).transpose(1, 2)
        k, v = self.kv(x).reshape(size, tokens, 2, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)) + x


class Transformer(nn.Module):
    """Patches, blocks of attention with a sum around each, a norm, a classifier."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, WIDTH, 4, 4), nn.ModuleList(blocks)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = x + block(self.norm(x))
        return self.head(self.norm(x).mean(1))


@functools.cache
def transformer() -> tuple[nn.Module, prunekit.ChannelGraph]:
    torch.manual_seed(0)
    model = Transformer(Packed(), Apart(), Pooled()).double().eval()
    return model, prunekit.trace(model, X)


@given(*[st.sets(st.integers(0, HEADS - 1), max_size=HEADS - 1)] * 3)
def test_rebuild_equals_mask_whichever_heads_go(packed, apart, pooled):
    model, graph = transformer()
    remove = {
        "blocks.0.qkv": [head * HEAD_WIDTH for head in packed],
        "blocks.1.v": [2 * head + 1 for head in apart],
        "blocks.2.q": [head * HEAD_WIDTH + 1 for head in pooled],
    }
    small, masked = prunekit.rebuild(model, graph, remove), prunekit.mask(model, graph, remove)
    with torch.inference_mode():
        torch.testing.assert_close(small(X), masked(X))
        assert torch.equal(small(X), model(X)) == (not any(remove.values()))
    kept = [HEADS - len(gone) for gone in (packed, apart, pooled)]
    first, second, third = small.blocks
    assert [first.num_heads, second.heads, third.num_heads] == kept
    assert first.attn_dim == first.proj.in_features == kept[0] * HEAD_WIDTH
    assert first.qkv.weight.shape == (3 * kept[0] * HEAD_WIDTH, WIDTH)
    assert len(first.scale) == kept[0]
    assert [second.q.out_features, second.v.out_features] == [kept[1] * HEAD_WIDTH, kept[1] * 2]


def test_what_is_left_can_be_cut_again():
    model, graph = transformer()
    small = prunekit.rebuild(model, graph, {"blocks.0.qkv": [0], "blocks.2.kv": range(9)})
    assert small.blocks[2].num_heads == 1
    again = prunekit.trace(small, X)
    assert again.heads["blocks.0.num_heads"].size == HEADS - 1
    with pytest.raises(ValueError, match=r"filter 0 of blocks\.2\.kv must stay"):
        prunekit.rebuild(small, again, {"blocks.2.kv": [0]})
    check(small, X, {"blocks.0.qkv": 3, "blocks.0.gate": 3, **dict.fromkeys(APART, HEADS)})


def test_a_head_is_ranked_and_selected_as_a_whole():
    model = Transformer(Packed(), Apart()).eval()
    batch = X.float(), torch.zeros(2, dtype=torch.long)
    ranking = prunekit.rank(model, [batch], "taylor")
    heads = ranking[ranking["layer"] == "blocks.0.qkv"].groupby("group")
    assert [len(head) for _, head in heads] == [3 * HEAD_WIDTH] * HEADS
    assert all(head["score"].nunique() == 1 for _, head in heads)
    remove = prunekit.select(ranking, count=3)
    assert prunekit.rebuild(model, X.float(), remove)(X.float()).shape == (2, 5)


class Odd(Packed):
    """As above, but for what a test replaces."""

    def __init__(self, attend) -> None:
        super().__init__()
        self.attend, self.table = attend, nn.Parameter(torch.rand(HEADS, 4, 4))

    def forward(self, x):
        qkv = self.qkv(x).reshape(2, 4, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return self.proj(self.attend(self, q, k, v).transpose(1, 2).flatten(2))


# What is done to queries, keys and values of 4 heads, and in how many groups these can still go.
KINDS = {
    "a temperature each": (lambda m, q, k, v: (q @ k.mT * m.scale).softmax(-1) @ v, HEADS),
    "unlike heads normalised": (lambda m, q, k, v: F.normalize(q, dim=-1) @ k.mT @ v, HEADS),
    "causal": (lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), HEADS),
    "a mask for all": (
        lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v, q.new_zeros(1, 1, 4, 4)),
        HEADS,
    ),
    "a table of a bias for each": (lambda m, q, k, v: (q @ k.mT + m.table) @ v, 0),
    "a number of heads in a value": (lambda m, q, k, v: q @ k.mT @ v / m.num_heads, 0),
    "a branch on it": (lambda m, q, k, v: q @ k.mT @ v if m.num_heads > 1 else v, 0),
    "a width in a value": (lambda m, q, k, v: q @ k.mT @ v * m.attn_dim**-0.5, 0),
    "the first two heads": (lambda m, q, k, v: torch.cat([v[:, :2], q[:, 2:]], 1), 0),
    "heads that see each other": (lambda m, q, k, v: (q @ k.mT).softmax(1) @ v, 0),
    "channels that see each other": (lambda m, q, k, v: v @ (q.mT @ k).softmax(-1), HEADS),
    "heads summed over": (
        lambda m, q, k, v: (
            (q.transpose(1, 2).flatten(2) @ k.transpose(1, 2).flatten(2).mT)[:, None] @ v
        ),
        0,
    ),
    "grouped queries": (
        lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        0,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_heads_go_where_nothing_ties_them(kind):
    torch.manual_seed(0)
    attend, groups = KINDS[kind]
    model = Transformer(Odd(attend), Apart())
    free = {"blocks.0.qkv": groups} if groups else {}
    check(model, X, free | dict.fromkeys(APART, HEADS))


class Whole(nn.Module):
    """A layer of torch, which can hold no other number of heads at this width."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.num_heads = nn.MultiheadAttention(WIDTH, 2, batch_first=True), 2

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def test_heads_of_torchs_own_layer_stay():
    check(Transformer(Whole(), Packed()), X, {"blocks.1.qkv": HEADS, "blocks.1.gate": HEADS})


def test_a_width_that_the_code_takes_from_what_it_reads_holds_the_heads():
    class Same(Packed):
        def forward(self, x):
            size, tokens, width = x.shape
            shape = size, tokens, 3, self.num_heads, width // self.num_heads
            q, k, v = self.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4)
            x = F.scaled_dot_product_attention(q, k, v)
            return self.proj(x.transpose(1, 2).reshape(size, tokens, width))

    model = Transformer(Same())
    model.blocks[0].qkv, model.blocks[0].num_heads = nn.Linear(WIDTH, 3 * WIDTH), 2
    model.blocks[0].proj = nn.Linear(WIDTH, WIDTH)
    check(model, X, {})


def test_a_file_says_how_many_heads_are_left(tmp_path):
    model, graph = transformer()
    small = prunekit.rebuild(model, graph, {"blocks.0.qkv": [0], "blocks.1.q": [0, 3]})
    prunekit.save(small, tmp_path / "small.safetensors", example_inputs=X)
    again = Transformer(Packed(), Apart(), Pooled()).double()
    prunekit.load(tmp_path / "small.safetensors", into=again)
    assert [again.blocks[0].num_heads, again.blocks[1].heads] == [3, 2]
    for loaded in (again, prunekit.load(tmp_path / "small.safetensors")):
        torch.testing.assert_close(loaded(X), small(X), rtol=0, atol=0)


def test_a_network_that_is_itself_the_attention_loses_heads(tmp_path):
    model, x = Packed().double().eval(), torch.randn(2, 5, WIDTH, dtype=torch.double)
    graph = prunekit.trace(model, x)
    assert len(graph.heads["num_heads"]) == HEADS
    small = prunekit.rebuild(model, graph, {"qkv": [0]})
    assert (small.num_heads, small.attn_dim) == (HEADS - 1, INNER - HEAD_WIDTH)
    torch.testing.assert_close(small(x), prunekit.mask(model, graph, {"qkv": [0]})(x))
    prunekit.save(small, tmp_path / "small.safetensors")
    again = prunekit.load(tmp_path / "small.safetensors", into=Packed().double())
    torch.testing.assert_close(again(x), small(x))
