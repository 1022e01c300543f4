"""What operations do to channels; layers are in ``kinds``. What is in neither is refused."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F
from torchvision.models import swin_transformer
from torchvision.ops import stochastic_depth

# Each value goes to a value of the same channel and position.
ACTIVATION_FUNCTIONS = {
    *(torch.relu, torch.relu_, F.relu, F.relu_, F.relu6, F.leaky_relu, F.elu, F.selu, F.gelu),
    *(F.silu, F.mish, F.hardswish, F.hardsigmoid, F.hardtanh, F.softplus, F.sigmoid, F.tanh),
    *(torch.sigmoid, torch.tanh, "relu", "relu_", "sigmoid", "tanh"),
}
ELEMENTWISE_FUNCTIONS = {
    *ACTIVATION_FUNCTIONS,
    *(torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum, torch.pow),
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.neg),
    *(operator.iadd, operator.isub, operator.imul, operator.itruediv),
    *(torch.abs, torch.neg, torch.exp, torch.sqrt, torch.clamp, F.dropout, F.dropout2d),
    *("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "neg", "abs", "exp", "sqrt"),
    *("pow", "clamp", "clamp_", "clone", "contiguous", "detach", "float", "half", "to", "type_as"),
    "expand_as",
    stochastic_depth,
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
REDUCTIONS = {torch.mean, torch.sum, torch.amax, torch.amin, "mean", "sum", "amax", "amin"}
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
    *(F.softmax, F.log_softmax, torch.softmax, F.normalize, "softmax"),
    *(torch.matmul, torch.bmm, operator.matmul, F.scaled_dot_product_attention, torch.einsum),
    *WRAPPED,
}
SIZES = {"size", "dim", "numel"}
ATTRIBUTES = {"ndim", "dtype", "device", "requires_grad", "is_cuda"}
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
