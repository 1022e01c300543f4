"""Attention of torch's own layer, in a form that can lose heads."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunekit.checks import checked, module


@checked(model=module)
def free_heads(model: nn.Module) -> nn.Module:
    """A copy, of the same function, in which the heads of nn.MultiheadAttention can go.

    That layer keeps queries, keys and values in one tensor, as wide as what it reads:
    without a head it would not run, so :func:`prunekit.trace` holds all of its heads.
    A :class:`HeadedAttention` takes its place, in which each head is a dependency group:
    its rows of the three projections, and the columns of ``out_proj`` that read it.
    An nn.TransformerEncoder that packs padded sequences into nested tensors, which needs torch's
    own layer, no longer does so: where a sequence is padded it gives what it does in training,
    and no zeros.

    Parameters
    ----------
    model
        Left untouched. Hooks on the layers that are replaced do not come along.

    Raises
    ------
    TypeError
        ``model`` is no module.
    ValueError
        It has no nn.MultiheadAttention, or one with ``add_bias_kv`` or ``add_zero_attn``,
        which add a key and a value to all heads at once.

    Examples
    --------
    >>> import prunekit
    >>> from torchvision.models import VisionTransformer
    >>> sizes = {"num_layers": 1, "num_heads": 4, "hidden_dim": 32, "mlp_dim": 64}
    >>> model, x = VisionTransformer(32, 16, **sizes).eval(), torch.randn(2, 3, 32, 32)
    >>> headed = free_heads(model)
    >>> bool(torch.allclose(headed(x), model(x), atol=1e-5))
    True
    >>> query = "encoder.layers.encoder_layer_0.self_attention.query"
    >>> small = prunekit.rebuild(headed, x, {query: [0]})  # with it goes all of its head
    >>> small.get_submodule(query)
    Linear(in_features=32, out_features=24, bias=True)
    """
    headed = copy.deepcopy(model)
    found = {
        name: part
        for name, part in headed.named_modules(remove_duplicate=False)
        if type(part) is nn.MultiheadAttention
    }
    if not found:
        raise ValueError(f"{type(model).__name__} has no nn.MultiheadAttention")
    for name, part in found.items():
        if part.bias_k is not None or part.add_zero_attn:
            raise ValueError(
                f"{name or 'the model'} adds a key and a value of its own to all heads "
                "(add_bias_kv, add_zero_attn): heads of such a layer cannot be freed"
            )
    twins = {id(part): HeadedAttention(part) for part in found.values()}
    if "" in found:
        return twins[id(headed)]
    for name, part in found.items():
        headed.set_submodule(name, twins[id(part)])
    for encoder in headed.modules():
        if isinstance(encoder, nn.TransformerEncoder):
            encoder.use_nested_tensor = False
    return headed


class HeadedAttention(nn.Module):
    """What an nn.MultiheadAttention computes, its projections in linear layers of their own.

    ``query``, ``key``, ``value`` and ``out_proj`` are these layers, and ``num_heads`` falls
    with the heads that go. Where the forward pass reads the mean of their weights, the second
    output, that mean ties the heads, and they stay.
    """

    in_proj_bias = None  # sends torch's transformer layers past their fused kernel

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads, self.batch_first = attention.num_heads, attention.batch_first
        self.dropout = attention.dropout
        weights = (
            attention.in_proj_weight.chunk(3)
            if attention.in_proj_weight is not None
            else (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
        )
        packed = attention.in_proj_bias
        biases = (None,) * 3 if packed is None else packed.chunk(3)
        self.query, self.key, self.value = map(_linear, weights, biases)
        self.out_proj = _linear(attention.out_proj.weight, attention.out_proj.bias)
        self.train(attention.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As nn.MultiheadAttention, for batches, with a mask that is the same for all heads.

        Raises
        ------
        ValueError
            The inputs are no batches, ``attn_mask`` has a part for each head, or
            ``is_causal`` is said of no mask.
        """
        if query.dim() != 3:
            raise ValueError(f"the query must have 3 dimensions, a batch, not {query.dim()}")
        if attn_mask is not None and attn_mask.dim() != 2:
            raise ValueError("attn_mask must have 2 dimensions: the same for all heads")
        if is_causal and attn_mask is None:
            raise ValueError("is_causal says what attn_mask is, and there is none")
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = map(self._by_head, (self.query(query), self.key(key), self.value(value)))
        mask = None if attn_mask is None else _added(attn_mask, q)
        if key_padding_mask is not None:
            padding = _added(key_padding_mask, q)[:, None, None, :]
            mask = padding if mask is None else mask + padding
        dropout, weights = self.dropout if self.training else 0.0, None
        if need_weights:
            products = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
            weights = (products if mask is None else products + mask).softmax(-1)
            weights = F.dropout(weights, dropout)
            found = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            found = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        output = self.out_proj(found.transpose(1, 2).flatten(2))
        return (output if self.batch_first else output.transpose(0, 1)), weights

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer of these values, which learns where they do."""
    outputs, inputs = weight.shape
    with torch.device("meta"):
        layer = nn.Linear(inputs, outputs, bias is not None)
    layer.weight = _parameter(weight)
    if bias is not None:
        layer.bias = _parameter(bias)
    return layer


def _parameter(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(), requires_grad=values.requires_grad)


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as what is added to the products: minus infinity where nothing may be looked at."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf)
