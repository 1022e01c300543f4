"""The kinds of layer that the library knows: one table, which all who treat layers read.

A layer of a kind that is not here the tracer refuses by name, and no model file can hold it. A
further kind is one more entry in ``TABLE``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor, fx, nn

from prunekit.channels import moves
from prunekit.channels.labels import LabelBook, fixed

Side = Literal["inputs", "outputs"]
IN: Side = "inputs"
OUT: Side = "outputs"


class Call(NamedTuple):
    """A layer called with channel labels in place of tensors."""

    book: LabelBook
    name: str
    layer: Any
    inputs: list[Tensor]
    value: Any  # what the layer gave, in tensors without data

    @property
    def x(self) -> Tensor:
        return self.inputs[0]


@dataclass(frozen=True)
class Kind:
    """What the library knows about one kind of layer.

    Attributes
    ----------
    classes
        The classes of such layers. What is true of them holds for subclasses.
    carry
        The labels that come out of a :class:`Call`. None if the tracer must refuse it.
    filters
        The attribute that counts its filters; empty if it makes no channels of its own.
    cut
        For each tensor, which channels lie along its first dimensions. Those along the
        second are counted within a group of the layer.
    sizes
        For each attribute that states a size, the channels that it counts, or a function of the
        layer as it was but with its new tensors, its inputs and its outputs.
    macs
        Multiply-accumulates of one call, of the layer, its input and its output.
    arguments
        Arguments of its constructor that no attribute of the same name holds, by name.
    refines
        Whether its output is still the activation map of the layer before it.
    channels
        The dimension of its output along which channels lie.
    """

    classes: tuple[type[nn.Module], ...] = ()
    carry: Callable[[Call], Any] | None = None
    filters: str = ""
    cut: Mapping[str, Sequence[Side]] = field(default_factory=dict)
    sizes: Mapping[str, Side | Callable[[Any, int, int], int]] = field(default_factory=dict)
    macs: Callable[[Any, Tensor, Tensor], int] = lambda *_: 0
    arguments: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    refines: bool = False
    channels: int = 1


def kind_of(layer: nn.Module | type[nn.Module]) -> Kind:
    """The kind of a layer; one without any classes if it is not in the table.

    Examples
    --------
    >>> kind_of(nn.ConvTranspose2d(3, 8, 5)).cut
    {'weight': ('inputs', 'outputs'), 'bias': ('outputs',)}
    """
    ancestors = (layer if isinstance(layer, type) else type(layer)).__mro__
    return next((KINDS[known] for known in ancestors if known in KINDS), _UNKNOWN)


def restate_sizes(layer: Any, inputs: int, outputs: int) -> None:
    """Make the attributes in which a layer states its sizes agree with its cut tensors."""
    counts: dict[Side, int] = {IN: inputs, OUT: outputs}
    stated = kind_of(layer).sizes.items()
    sizes = {
        k: size(layer, inputs, outputs) if callable(size) else counts[size] for k, size in stated
    }
    vars(layer).update(sizes)


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


def _keep(call: Call) -> Tensor:
    return call.x


def _mix(call: Call) -> Any:
    """Channels depend on one another in a way that no removal leaves unchanged."""
    call.book.freeze(*call.inputs)
    return fx.node.map_aggregate(call.value, fixed)


def _execute(call: Call) -> Tensor:
    return call.layer(call.x)


def _resize(spatial: int | None = None) -> Callable[[Call], Any]:
    """Each map goes to one of another size: the last dimensions, by default all but two."""

    def carry(call: Call) -> Any:
        last = call.x.dim() - 2 if spatial is None else spatial
        return moves.same_maps(call.book, call.value, call.x, last)

    return carry


def _pad(mode: str) -> Callable[[Call], Tensor]:
    return lambda call: moves.pad(call.book, call.value, call.x, call.layer.padding, mode)


def _filter(call: Call) -> Tensor:
    """Fresh labels for the filters. A linear layer has channels last, as if without a kernel."""
    book, name, layer, (x, *_), value = call
    channel = x.dim() - 1 - len(getattr(layer, "kernel_size", ()))
    groups = getattr(layer, "groups", 1)
    outputs = book.make(name, getattr(layer, kind_of(layer).filters))
    inputs = book.read(name, book.per_channel(x, channel))
    whole = groups > 1 and _unite_groups(book, inputs.view(groups, -1), outputs.view(groups, -1))
    _carry_tensors(call, inputs, outputs, groups, whole)
    view = [-1 if d == channel else 1 for d in range(x.dim())]
    return outputs.view(view).expand(value.shape)


def _unite_groups(book: LabelBook, inputs: Tensor, outputs: Tensor) -> bool:
    """Remove whole groups (True), or the same position in every group, whichever is finer.

    A depthwise convolution is the first kind with one channel a group.
    """
    groups, width = inputs.shape
    whole = width <= groups
    for labels in (inputs, outputs):
        book.unite(labels, inputs[:, :1] if whole else labels[:1])
    return whole


def _carry_tensors(
    call: Call, inputs: Tensor, outputs: Tensor, groups: int = 1, whole: bool = False
) -> None:
    labels = {IN: inputs, OUT: outputs}
    for tensor, sides in kind_of(call.layer).cut.items():
        if getattr(call.layer, tensor) is None:
            continue
        dims = {0: labels[sides[0]]}
        for dim, side in enumerate(sides[1:], start=1):
            if not whole:
                dims[dim] = labels[side][: len(labels[side]) // groups]
        call.book.carry(f"{call.name}.{tensor}", dims)


def _scale(call: Call, channel: int = 1) -> Tensor:
    """One number a channel in each tensor."""
    labels = call.book.read(call.name, call.book.per_channel(call.x, channel))
    _carry_tensors(call, labels, labels)
    return call.x


def _normalise_groups(call: Call) -> Tensor:
    """Statistics are shared within a group, so only whole groups can go."""
    by_group = call.book.per_channel(call.x).view(call.layer.num_groups, -1)
    call.book.unite(by_group, by_group[:, :1])
    return _scale(call)


def _normalise_last(call: Call) -> Tensor:
    """Statistics over positions leave channels apart; over channels they mix them."""
    dims = {call.x.dim() - 1 - dim for dim in range(len(call.layer.normalized_shape))}
    return call.x if dims.isdisjoint(call.book.varying(call.x)) else _mix(call)


CONVOLUTION = Kind(
    classes=(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    carry=_filter,
    filters="out_channels",
    cut={"weight": (OUT, IN), "bias": (OUT,)},
    sizes={
        "in_channels": IN,
        "out_channels": OUT,
        "groups": lambda conv, inputs, _: inputs // conv.weight.shape[1],
    },
    macs=lambda conv, _, output: conv.weight.shape[1:].numel() * output.numel(),
)
TRANSPOSED = Kind(
    classes=(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    carry=_filter,
    filters="out_channels",
    cut={"weight": (IN, OUT), "bias": (OUT,)},
    sizes={
        "in_channels": IN,
        "out_channels": OUT,
        "groups": lambda conv, _, outputs: outputs // conv.weight.shape[1],
    },
    macs=lambda conv, x, _: conv.weight.shape[1:].numel() * x.numel(),
)
LINEAR = Kind(
    classes=(nn.Linear,),
    carry=_filter,
    filters="out_features",
    cut={"weight": (OUT, IN), "bias": (OUT,)},
    sizes={"in_features": IN, "out_features": OUT},
    macs=lambda linear, _, output: linear.weight.shape[1:].numel() * output.numel(),
    channels=-1,
)
BATCH_NORM = Kind(
    classes=(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    carry=_scale,
    cut=dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (OUT,)),
    sizes={"num_features": OUT},
    refines=True,
)
INSTANCE_NORM = Kind(
    classes=(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    carry=lambda call: _scale(call, -call.layer._get_no_batch_dim()),  # it takes a single image
    cut=BATCH_NORM.cut,
    sizes=BATCH_NORM.sizes,
    refines=True,
)
GROUP_NORM = Kind(
    classes=(nn.GroupNorm,),
    carry=_normalise_groups,
    cut={"weight": (OUT,), "bias": (OUT,)},
    sizes={
        "num_channels": OUT,
        "num_groups": lambda norm, _, channels: norm.num_groups * channels // norm.num_channels,
    },
)
LAYER_NORM = Kind(classes=(nn.LayerNorm,), carry=_normalise_last)
PRELU = Kind(
    classes=(nn.PReLU,),
    carry=lambda call: _scale(call) if call.layer.num_parameters > 1 else call.x,
    cut={"weight": (OUT,)},
    sizes={"num_parameters": OUT},
    refines=True,
)
ACTIVATION = Kind(
    classes=(
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
        *(nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softsign),
    ),
    carry=_keep,
    refines=True,
)
ATTENTION = Kind(
    classes=(nn.MultiheadAttention,),
    carry=_mix,
    arguments={
        "bias": lambda attention: attention.in_proj_bias is not None,
        "add_bias_kv": lambda attention: attention.bias_k is not None,
    },
)

TABLE = (
    *(CONVOLUTION, TRANSPOSED, LINEAR),
    *(BATCH_NORM, INSTANCE_NORM, GROUP_NORM, LAYER_NORM, PRELU, ACTIVATION, ATTENTION),
    Kind(
        (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout), _keep
    ),
    Kind((nn.LocalResponseNorm, nn.Softmax, nn.LogSoftmax, nn.Softmax2d), _mix),
    Kind(
        (
            *(nn.MaxPool1d, nn.AvgPool1d, nn.LPPool1d),
            *(nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
        ),
        _resize(1),
    ),
    Kind(
        (
            *(nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d),
            *(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
        ),
        _resize(2),
    ),
    Kind((nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d), _resize(3)),
    Kind((nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d), _resize()),
    Kind(
        (
            *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
            *(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
        ),
        _pad("constant"),
    ),
    Kind(
        (
            *(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
            *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
            *(nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d),
        ),
        _pad("copies"),
    ),
    Kind((nn.Flatten,), _execute),
    Kind(
        (nn.PixelShuffle,),
        lambda call: moves.shuffle_pixels(call.book, call.value, call.x, call.layer.upscale_factor),
    ),
    Kind(
        (nn.PixelUnshuffle,),
        lambda call: moves.unshuffle_pixels(
            call.book, call.value, call.x, call.layer.downscale_factor
        ),
    ),
    # What they do to channels has no rule yet: only a model file can hold them.
    Kind(
        (
            *(nn.RMSNorm, nn.CrossMapLRN2d, nn.Bilinear, nn.Embedding, nn.Unflatten, nn.Fold),
            *(nn.Unfold, nn.ChannelShuffle, nn.FeatureAlphaDropout, nn.GLU, nn.Hardshrink),
            *(nn.LogSigmoid, nn.RReLU, nn.Softmin, nn.Softshrink, nn.Tanhshrink, nn.Threshold),
            *(nn.LPPool3d, nn.CosineSimilarity),
        ),
    ),
)
KINDS = {known: kind for kind in TABLE for known in kind.classes}
_UNKNOWN = Kind()
