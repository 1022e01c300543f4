"""What a model file may name: layers, functions, methods, attributes, constants.

What the tracer has rules for, and beside it functions of tensors that forward passes
use, pure but for random numbers. Nothing here reads a file, runs a string or keeps state.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
import torchvision.ops
from torch import Tensor
from torchvision.models import swin_transformer

from prunekit.channels import moves, rules
from prunekit.channels.drawing import OF_CONSTANTS
from prunekit.channels.kinds import KINDS

_SPACES = {
    "math": math,
    "operator": operator,
    "torch.nn.functional": F,
    "torch": torch,
    "torchvision.ops": torchvision.ops,
    "torchvision.models.swin_transformer": swin_transformer,
}
_OPERATORS = """
    abs add and_ eq floordiv ge getitem gt iadd iand ifloordiv imod imul invert ior ipow isub
    itruediv ixor le lt matmul mod mul ne neg or_ pos pow setitem sub truediv xor
"""
_TORCH = """
    abs absolute acos acosh add addcdiv addcmul asin asinh atan atan2 atanh ceil clamp clamp_max
    clamp_min clip copysign cos cosh deg2rad digamma div divide erf erfc exp exp2 expm1 float_power
    floor floor_divide fmax fmin fmod frac heaviside hypot ldexp lerp lgamma log log10 log1p log2
    logaddexp logit maximum minimum mul multiply nan_to_num neg negative positive pow rad2deg
    reciprocal remainder round rsqrt sgn sigmoid sign sin sinc sinh sqrt square sub subtract tan
    tanh true_divide trunc xlogy

    bitwise_and bitwise_not bitwise_or bitwise_xor eq ge greater greater_equal gt isclose isfinite
    isinf isnan le less less_equal logical_and logical_not logical_or logical_xor lt ne not_equal
    where

    all amax amin aminmax any argmax argmin argsort count_nonzero cummax cummin cumprod cumsum
    kthvalue logcumsumexp logsumexp max mean median min nanmean nansum norm prod quantile sort std
    std_mean sum topk var var_mean

    atleast_1d atleast_2d atleast_3d broadcast_tensors broadcast_to cat channel_shuffle chunk clone
    column_stack concat concatenate detach diag diag_embed diagonal dsplit dstack flatten flip
    fliplr flipud gather hsplit hstack index_add index_select masked_fill meshgrid moveaxis movedim
    narrow permute pixel_shuffle pixel_unshuffle ravel repeat_interleave reshape roll rot90 scatter
    scatter_add select split squeeze stack swapaxes swapdims t take_along_dim tensor_split tile
    transpose tril triu unbind unflatten unsqueeze vsplit vstack

    addbmm addmm addmv baddbmm bilinear bmm cdist cosine_similarity cross dot einsum inner kron
    matmul mm mv outer tensordot

    arange eye full full_like linspace ones ones_like zeros zeros_like numel _assert

    adaptive_avg_pool1d adaptive_max_pool1d alpha_dropout avg_pool1d batch_norm celu conv1d conv2d
    conv3d conv_transpose1d conv_transpose2d conv_transpose3d dropout embedding feature_dropout
    group_norm hardshrink instance_norm layer_norm log_softmax max_pool1d max_pool2d max_pool3d
    prelu relu rms_norm rrelu selu softmax threshold
"""
_FUNCTIONAL = """
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d affine_grid alpha_dropout avg_pool1d avg_pool2d
    avg_pool3d batch_norm bilinear celu celu_ channel_shuffle conv1d conv2d conv3d conv_transpose1d
    conv_transpose2d conv_transpose3d cosine_similarity dropout dropout1d dropout2d dropout3d elu
    elu_ embedding feature_alpha_dropout fold gelu glu grid_sample group_norm hardshrink hardsigmoid
    hardswish hardtanh hardtanh_ instance_norm interpolate layer_norm leaky_relu leaky_relu_ linear
    local_response_norm log_softmax logsigmoid lp_pool1d lp_pool2d lp_pool3d max_pool1d max_pool2d
    max_pool3d mish multi_head_attention_forward normalize one_hot pad pairwise_distance
    pixel_shuffle pixel_unshuffle prelu relu relu6 relu_ rms_norm rrelu rrelu_
    scaled_dot_product_attention selu selu_ sigmoid silu softmax softmin softplus softshrink
    softsign tanh tanhshrink threshold threshold_ unfold upsample
"""
_METHODS = """
    bfloat16 bool contiguous copy_ cpu dim double expand expand_as fill_ float half int
    is_complex is_floating_point long new_full new_ones new_zeros nelement numel repeat reshape_as
    short size type type_as unfold view view_as zero_
"""
# Of tensors, and of what torch.max and its like return.
ATTRIBUTES = rules.OF_TENSORS | {"T", "mT", "data", "real", "imag", "values", "indices"}
CONSTANTS: dict[str, dict[str, Any]] = {
    kind.__name__: {
        str(value).removeprefix("torch."): value
        for value in vars(torch).values()
        if isinstance(value, kind)
    }
    for kind in (torch.dtype, torch.memory_format)
}


def _traceable() -> Iterator[Any]:
    """Whatever stands in a table of the tracer's rules."""
    for name, table in (vars(rules) | vars(moves)).items():
        if name.isupper() and isinstance(table, Iterable):
            yield from table


def _public_names(function: Callable) -> Iterator[str]:
    """Where a function is found: public names stay from one version of torch to the next."""
    own = getattr(function, "__name__", "")
    for space, module in _SPACES.items():
        for name in dict.fromkeys((own, own.rstrip("_"))):
            if getattr(module, name, None) is function:
                yield f"{space}.{name}"


def _functions() -> dict[str, Callable]:
    found: dict[str, Callable] = {"getattr": getattr}
    for function in (*_traceable(), *OF_CONSTANTS):
        if callable(function) and not isinstance(function, type):
            found |= dict.fromkeys(_public_names(function), function)
    listed = {
        "math": "ceil floor sqrt",
        "operator": _OPERATORS,
        "torch.nn.functional": _FUNCTIONAL,
        "torch": _TORCH,
    }
    for space, names in listed.items():
        for name in names.split():
            function = getattr(_SPACES[space], name, None)
            if function is not None:  # not in every version of torch
                found.setdefault(f"{space}.{name}", function)
    return found


def _methods() -> frozenset[str]:
    traced = {name for name in _traceable() if isinstance(name, str)}
    pure = {*_TORCH.split(), *_METHODS.split(), *traced}
    names = {*pure, *(f"{name}_" for name in pure)}
    return frozenset(name for name in names if callable(getattr(Tensor, name, None)))


LAYERS = {known.__name__: known for known in KINDS}
FUNCTIONS = _functions()
FUNCTION_NAMES = {function: name for name, function in reversed(FUNCTIONS.items())}
METHODS = _methods()
