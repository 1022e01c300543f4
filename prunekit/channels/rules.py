"""What operations do to channels; layers are in ``kinds``. What is in neither is refused."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import swin_transformer
from torchvision.ops import stochastic_depth


def _everywhere(names: str) -> Iterator[Any]:
    """Functions of torch, and the methods of the same name, in place as well."""
    for name in names.split():
        yield from (getattr(torch, name), name)
        if hasattr(Tensor, f"{name}_"):
            yield f"{name}_"


# Each value goes to a value of the same channel and position.
ACTIVATION_FUNCTIONS = {
    *(torch.relu, torch.relu_, F.relu, F.relu_, F.relu6, F.leaky_relu, F.elu, F.selu, F.gelu),
    *(F.silu, F.mish, F.hardswish, F.hardsigmoid, F.hardtanh, F.softplus, F.sigmoid, F.tanh),
    *(torch.sigmoid, torch.tanh, "relu", "relu_", "sigmoid", "tanh"),
}
DROPOUT_FUNCTIONS = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d}
ELEMENTWISE_FUNCTIONS = {
    *ACTIVATION_FUNCTIONS,
    *(torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum, torch.pow),
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.neg),
    *(operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow),
    *(operator.imod, operator.ifloordiv, operator.iand, operator.ior, operator.ixor),
    *(operator.lshift, operator.rshift, operator.ilshift, operator.irshift),
    *(operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne),
    *(operator.and_, operator.or_, operator.xor, operator.invert, operator.mod, operator.floordiv),
    *DROPOUT_FUNCTIONS,
    *(F.celu, F.softsign, F.logsigmoid),
    *(F.hardshrink, F.softshrink, F.tanhshrink, F.threshold, stochastic_depth),
    *(torch.rand_like, torch.randn_like, torch.bernoulli),
    *("bernoulli", "bernoulli_", "uniform_", "normal_", "exponential_", "random_"),
    *(torch.clone, torch.zeros_like, torch.ones_like, torch.full_like, torch.empty_like),
    *("clone", "contiguous", "detach", "expand_as", "type", "float", "half"),
    *("double", "bfloat16", "int", "long", "bool", "where", "fill_", "zero_"),
    *(torch.masked_fill, "masked_fill", "masked_fill_", torch.where, torch.nan_to_num),
    *(torch.lerp, torch.addcmul, torch.addcdiv),
    *_everywhere("""
        abs acos acosh add asin asinh atan atan2 atanh ceil clamp clamp_max clamp_min cos cosh div
        eq erf erfc exp exp2 expm1 floor floor_divide fmod frac ge gt isfinite isinf isnan le log
        log10 log1p log2 logical_and logical_not logical_or logical_xor logit lt maximum minimum
        mul multiply ne neg pow reciprocal remainder round rsqrt sigmoid sign sin sinc sinh sqrt
        square sub subtract tan tanh true_divide trunc xlogy
    """),
}

# Each map goes to a map of the same channel, of another size perhaps: the last dimensions, as many
# as given here.
POOL_FUNCTIONS = {
    **dict.fromkeys((F.max_pool1d, F.avg_pool1d, torch.adaptive_avg_pool1d), 1),
    **dict.fromkeys((F.adaptive_avg_pool1d, F.adaptive_max_pool1d), 1),
    **dict.fromkeys((F.max_pool2d, F.avg_pool2d, torch.max_pool2d), 2),
    **dict.fromkeys((F.adaptive_avg_pool2d, F.adaptive_max_pool2d), 2),
    **dict.fromkeys((F.max_pool3d, F.avg_pool3d), 3),
    **dict.fromkeys((F.adaptive_avg_pool3d, F.adaptive_max_pool3d), 3),
}
MAPWISE_FUNCTIONS = {*POOL_FUNCTIONS, F.interpolate}
# Many values along the dimensions named become one.
REDUCTIONS = {
    *(torch.mean, torch.sum, torch.amax, torch.amin, torch.prod, torch.var, torch.std),
    *(torch.logsumexp, torch.any, torch.all, torch.argmax, torch.argmin, torch.median),
    *(torch.var_mean, torch.std_mean),
    *("mean", "sum", "amax", "amin", "prod", "var", "std", "logsumexp", "any", "all"),
    *("argmax", "argmin", "median"),
}
# Labels move as the numbers do. Those that need a rule are in ``moves``.
MOVING_FUNCTIONS = {
    *(torch.permute, torch.transpose, torch.unsqueeze, torch.flip, torch.flatten),
    *(torch.swapaxes, torch.swapdims, torch.movedim),
    *("permute", "transpose", "unsqueeze", "t", "flip", "flatten", "swapaxes", "swapdims"),
    "movedim",
}
# Attention over windows. torchvision marks these as not to be looked into, in its own files only.
WRAPPED = (
    swin_transformer.shifted_window_attention,
    swin_transformer._get_relative_position_bias,
    swin_transformer._patch_merging_pad,
)
# Channels depend on one another in a way that no removal leaves unchanged.
MIXING_FUNCTIONS = {
    *(F.local_response_norm, F.cosine_similarity, F.bilinear, F.embedding, F.one_hot),
    *(torch.cdist, torch.outer, torch.addmm, torch.baddbmm),
    *("outer", "dot", torch.dot),
    *(torch.gather, "gather", torch.einsum, torch.cov, torch.triu, torch.tril, "triu", "tril"),
    *WRAPPED,
}
SIZES = {"size", "dim", "numel", "is_floating_point", torch.is_floating_point}
ATTRIBUTES = {"ndim", "dtype", "device", "requires_grad", "is_cuda", "is_nested"}
# What a tensor is, beside the numbers in it.
OF_TENSORS = {"shape", *ATTRIBUTES}
# Functions of one tensor that give one of the same shape and type.
SHAPE_KEEPING = {
    *(function for function in ACTIVATION_FUNCTIONS if not isinstance(function, str)),
    *(F.batch_norm, F.instance_norm, F.dropout, F.dropout2d, F.celu, F.softsign, F.dropout1d),
}
# The same of two tensors, where both have that shape and type.
SHAPE_KEEPING_PAIRS = {
    *(torch.add, torch.sub, torch.mul, torch.Tensor.add, torch.Tensor.sub, torch.Tensor.mul),
    *(torch.Tensor.add_, torch.Tensor.sub_, torch.Tensor.mul_),
}
