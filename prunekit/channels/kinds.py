"""The kinds of layer that the library knows: one table, which all who treat layers read.

A layer of a kind that is not here the tracer refuses by name, and no model file can hold it. A
further kind is one more entry in ``TABLE``.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from prunekit.channels import mixing, moves
from prunekit.channels.layers import (
    IN,
    OUT,
    Kind,
    keep,
    make_filters,
    mix,
    normalise_groups,
    normalise_last,
    resize,
    scale,
)


def kind_of(layer: nn.Module) -> Kind:
    """The kind of a layer; one without any classes if it is not in the table.

    Examples
    --------
    >>> kind_of(nn.ConvTranspose2d(3, 8, 5)).cut
    {'weight': ('inputs', 'outputs'), 'bias': ('outputs',)}
    """
    return next((KINDS[known] for known in type(layer).__mro__ if known in KINDS), _UNKNOWN)


def restate_sizes(layer: nn.Module, inputs: int, outputs: int) -> None:
    """Make the attributes in which a layer states its sizes agree with its cut tensors."""
    counts = {IN: inputs, OUT: outputs}
    stated = kind_of(layer).sizes.items()
    vars(layer).update(
        {k: size(layer, inputs, outputs) if callable(size) else counts[size] for k, size in stated}
    )


def by_filter(layer: nn.Module, maps: Tensor) -> Tensor:
    """A layer's output, or what is shaped like it, as (examples, filters, positions).

    Examples
    --------
    >>> import torch
    >>> by_filter(nn.Linear(5, 3), torch.zeros(4, 7, 3)).shape
    torch.Size([4, 3, 7])
    """
    maps = maps.movedim(kind_of(layer).channels, 1)
    return maps.flatten(2) if maps.dim() > 2 else maps.unsqueeze(2)


def _named(names: str) -> tuple[type[nn.Module], ...]:
    return tuple(getattr(nn, name) for name in names.split())


CONVOLUTION = Kind(
    _named("Conv1d Conv2d Conv3d"),
    make_filters,
    filters="out_channels",
    cut={"weight": (OUT, IN), "bias": (OUT,)},
    sizes={
        **{"in_channels": IN, "out_channels": OUT},
        "groups": lambda conv, inputs, _: inputs // conv.weight.shape[1],
    },
    macs=lambda conv, _, output: conv.weight.shape[1:].numel() * output.numel(),
)
TRANSPOSED = replace(
    CONVOLUTION,
    classes=_named("ConvTranspose1d ConvTranspose2d ConvTranspose3d"),
    cut={"weight": (IN, OUT), "bias": (OUT,)},
    sizes={
        **CONVOLUTION.sizes,
        "groups": lambda conv, _, outputs: outputs // conv.weight.shape[1],
    },
    macs=lambda conv, x, _: conv.weight.shape[1:].numel() * x.numel(),
)
LINEAR = replace(
    CONVOLUTION,
    classes=(nn.Linear,),
    filters="out_features",
    sizes={"in_features": IN, "out_features": OUT},
    channels=-1,
)
BATCH_NORM = Kind(
    _named("BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm"),
    scale,
    cut=dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (OUT,)),
    sizes={"num_features": OUT},
    refines=True,
)
FROZEN_BATCH_NORM = replace(
    BATCH_NORM,
    classes=(FrozenBatchNorm2d,),
    # Of a single image it makes a batch.
    carry=lambda call: scale(call, -3).expand(call.value.shape),
    sizes={},
    arguments={"num_features": lambda norm: len(norm.weight)},
)
INSTANCE_NORM = replace(
    BATCH_NORM,
    classes=_named("InstanceNorm1d InstanceNorm2d InstanceNorm3d"),
    # It takes a single image as well.
    carry=lambda call: scale(call, -call.layer._get_no_batch_dim()),
)
GROUP_NORM = Kind(
    (nn.GroupNorm,),
    normalise_groups,
    cut={"weight": (OUT,), "bias": (OUT,)},
    sizes={
        "num_groups": lambda norm, _, channels: norm.num_groups * channels // norm.num_channels,
        "num_channels": OUT,
    },
)
LAYER_NORM = Kind((nn.LayerNorm, nn.RMSNorm), normalise_last)
PRELU = Kind(
    (nn.PReLU,),
    lambda call: scale(call) if call.layer.num_parameters > 1 else call.x,
    cut={"weight": (OUT,)},
    sizes={"num_parameters": OUT},
    refines=True,
)
ACTIVATION = Kind(
    _named("""
        ReLU ReLU6 LeakyReLU ELU CELU SELU GELU SiLU Mish Hardswish Hardsigmoid Hardtanh Sigmoid
        Tanh Softplus Softsign Hardshrink Softshrink Tanhshrink LogSigmoid Threshold RReLU
    """),
    keep,
    refines=True,
)
ATTENTION = Kind(
    (nn.MultiheadAttention,),
    mix,
    arguments={
        "bias": lambda attention: attention.in_proj_bias is not None,
        "add_bias_kv": lambda attention: attention.bias_k is not None,
    },
)
TABLE = (
    *(CONVOLUTION, TRANSPOSED, LINEAR, PRELU, ACTIVATION, ATTENTION),
    *(BATCH_NORM, FROZEN_BATCH_NORM, INSTANCE_NORM, GROUP_NORM, LAYER_NORM),
    Kind(
        _named("Identity Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout"),
        keep,
    ),
    Kind(_named("LocalResponseNorm CrossMapLRN2d Softmax Softmin LogSoftmax Softmax2d"), mix),
    Kind(_named("MaxPool1d AvgPool1d LPPool1d AdaptiveAvgPool1d AdaptiveMaxPool1d"), resize(1)),
    Kind(_named("MaxPool2d AvgPool2d LPPool2d AdaptiveAvgPool2d AdaptiveMaxPool2d"), resize(2)),
    Kind(_named("MaxPool3d AvgPool3d LPPool3d AdaptiveAvgPool3d AdaptiveMaxPool3d"), resize(3)),
    Kind(_named("Upsample UpsamplingNearest2d UpsamplingBilinear2d"), resize()),
    Kind(
        _named("ZeroPad1d ZeroPad2d ZeroPad3d ConstantPad1d ConstantPad2d ConstantPad3d"),
        lambda call: call.move(moves.pad, call.layer.padding),
    ),
    Kind(
        _named("""
            ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d
            ReplicationPad3d CircularPad1d CircularPad2d CircularPad3d
        """),
        lambda call: call.move(moves.pad, call.layer.padding, "copies"),
    ),
    Kind((nn.Flatten,), lambda call: call.layer(call.x)),
    Kind(
        (nn.PixelShuffle,), lambda call: call.move(mixing.shuffle_pixels, call.layer.upscale_factor)
    ),
    Kind(
        (nn.PixelUnshuffle,),
        lambda call: call.move(mixing.unshuffle_pixels, call.layer.downscale_factor),
    ),
    # What they do to channels has no rule yet: only a model file can hold them.
    Kind(_named("Bilinear Embedding Unflatten Fold Unfold ChannelShuffle GLU CosineSimilarity")),
)
KINDS = {known: kind for kind in TABLE for known in kind.classes}
_UNKNOWN = Kind()
