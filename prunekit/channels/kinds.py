"""The kinds of layer that the library knows: one table, which all who treat layers read.

A layer of a kind that is not here the tracer refuses by name, and no model file can hold it. A
further kind is one more entry in ``TABLE``.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Any

from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from prunekit.channels import mixing, moves
from prunekit.channels.layers import (
    IN,
    OUT,
    Kind,
    keep,
    look_up,
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


def rule(layer: type[nn.Module], like: type[nn.Module], **says: Any) -> type[nn.Module]:
    """Say what a class of layers of your own does to channels, by a layer that does the same.

    Parameters
    ----------
    layer
        Tracing no longer looks into modules of this class. A model file cannot hold
        them, as it runs no code of yours.
    like
        A class of torch.nn whose channels go the same way, and whose rule asks nothing of the
        layer that yours does not have: ``nn.ReLU`` where each number stays in
        its place, ``nn.AvgPool2d`` where maps change in size, ``nn.BatchNorm2d`` where each
        channel has numbers of its own, ``nn.Conv2d`` or ``nn.Linear`` where filters are made,
        ``nn.Softmax2d`` where all channels depend on all others, and none can go.
    **says
        What differs, by the attributes of :class:`prunekit.channels.layers.Kind`. ``cut`` names
        the tensors that have channels along their first dimension, or the first two, and
        ``sizes`` the attributes that count them: each says ``"inputs"`` or ``"outputs"``.

    Raises
    ------
    TypeError
        ``layer`` is no class of modules, or ``says`` names no attribute of a kind.
    ValueError
        There is no rule for ``like``, or a side is neither of the two, or tensors, sizes or
        filters are named where the rule of ``like`` takes no channels out of its layer.

    Examples
    --------
    A number to add to each channel, of which a removal takes its share:

    >>> import torch
    >>> from prunekit import rebuild
    >>> class Shift(nn.Module):
    ...     def __init__(self, width):
    ...         super().__init__()
    ...         self.width, self.offset = width, nn.Parameter(torch.zeros(width))
    ...
    ...     def forward(self, x):
    ...         assert x.shape[1] == self.width
    ...         return x + self.offset.view(-1, 1, 1)
    >>> _ = rule(Shift, nn.BatchNorm2d, cut={"offset": ["outputs"]}, sizes={"width": "outputs"})
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), Shift(8), nn.Conv2d(8, 4, 1))
    >>> small = rebuild(model, torch.zeros(1, 3, 8, 8), {"0": [1, 5]})
    >>> small[1].width, small[1].offset.shape
    (6, torch.Size([6]))
    """
    known = next((KINDS[one] for one in getattr(like, "__mro__", ()) if one in KINDS), _UNKNOWN)
    if not (isinstance(layer, type) and issubclass(layer, nn.Module)):
        raise TypeError(f"rule takes a class of modules, not {layer!r}")
    if known.carry is None:
        raise ValueError(f"there is no rule for {like!r}: name a layer of torch.nn that has one")
    unused = [name for name in ("cut", "sizes", "filters") if says.get(name) and not known.cut]
    if unused:
        raise ValueError(
            f"the rule of {like.__name__} takes no channels out of a layer, and would pass over "
            f"{unused[0]}: name one that does, such as nn.BatchNorm2d or nn.Conv2d"
        )
    kind = replace(known, classes=(layer,), **says)
    sides = [*(side for sides in kind.cut.values() for side in sides), *kind.sizes.values()]
    if odd := [side for side in sides if not callable(side) and side not in (IN, OUT)]:
        raise ValueError(f"cut and sizes say 'inputs' or 'outputs', not {odd[0]!r}")
    KINDS[layer] = kind
    return layer


def stated_sizes(module: nn.Module) -> list[str]:
    """The attributes in which a module states how many channels or heads of attention it has."""
    kind = kind_of(module)
    if kind.classes:
        return [size for size in kind.sizes if size in vars(module)]
    return [size for size in HEAD_SIZES if type(vars(module).get(size)) is int]


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
EMBEDDING = Kind((nn.Embedding,), look_up, sizes={"embedding_dim": OUT})
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
# Each of its projections must be as wide as what it reads: without a head it would not run.
ATTENTION = Kind(
    (nn.MultiheadAttention,),
    mix,
    arguments={
        "bias": lambda attention: attention.in_proj_bias is not None,
        "add_bias_kv": lambda attention: attention.bias_k is not None,
    },
)
# Where modules of other classes state how many heads of attention they have, and how wide these
# are together: which channels that are, the forward pass shows when it lays out a tensor by them.
HEAD_SIZES = (
    *("num_heads", "n_heads", "n_head", "nhead", "heads", "num_attention_heads"),
    *("attn_dim", "inner_dim", "all_head_size"),
)
# Gates lie one behind another in its tensors: all channels at its border stay.
GRU = Kind(
    (nn.GRU,),
    mix,
    arguments={
        name: attrgetter(name)
        for name in (
            *("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"),
            "bidirectional",
        )
    },
)
LSTM = replace(
    GRU, classes=(nn.LSTM,), arguments={**GRU.arguments, "proj_size": attrgetter("proj_size")}
)
RNN = replace(
    GRU, classes=(nn.RNN,), arguments={**GRU.arguments, "nonlinearity": attrgetter("nonlinearity")}
)
# What an evaluation passes through as if it were not there.
INERT = Kind(
    _named("Identity Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout"), keep
)
TABLE = (
    *(CONVOLUTION, TRANSPOSED, LINEAR, PRELU, ACTIVATION, ATTENTION, GRU, LSTM, RNN),
    *(BATCH_NORM, FROZEN_BATCH_NORM, INSTANCE_NORM, GROUP_NORM, LAYER_NORM, EMBEDDING),
    INERT,
    Kind(_named("LocalResponseNorm CrossMapLRN2d Softmax2d"), mix),
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
    Kind((nn.GLU,), lambda call: call.move(mixing.gate, call.layer.dim)),
    Kind((nn.Unfold,), lambda call: call.move(mixing.unfold_maps)),
    Kind((nn.Fold,), lambda call: call.move(mixing.fold_maps)),
    Kind(
        (nn.Softmax, nn.LogSoftmax, nn.Softmin),
        lambda call: call.move(mixing.along, call.layer.dim),
    ),
    Kind(
        (nn.Unflatten,),
        lambda call: call.move(moves.unflatten, call.layer.dim, call.layer.unflattened_size),
    ),
    Kind(
        (nn.PixelShuffle,), lambda call: call.move(mixing.shuffle_pixels, call.layer.upscale_factor)
    ),
    Kind(
        (nn.PixelUnshuffle,),
        lambda call: call.move(mixing.unshuffle_pixels, call.layer.downscale_factor),
    ),
    # What they do to channels has no rule yet: only a model file can hold them.
    Kind(_named("Bilinear ChannelShuffle CosineSimilarity")),
)
KINDS = {known: kind for kind in TABLE for known in kind.classes}
_UNKNOWN = Kind()
