"""What the library says of a kind of layer, and what layers do to channel labels.

The functions for ``carry`` take a call of a layer and give the labels that come out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from prunekit.channels import mixing
from prunekit.channels.labels import LabelBook, fixed, map_tensors

Side = Literal["inputs", "outputs"]
IN: Side = "inputs"
OUT: Side = "outputs"


@dataclass(frozen=True)
class Kind:
    """What the library knows about one kind of layer.

    Attributes
    ----------
    classes
        The classes of such layers. What is true of them holds for subclasses.
    carry
        The labels that come out of a :class:`Call`; None if there is no rule yet.
    filters
        The attribute that counts its filters; empty if it makes no channels of its own.
    cut
        For each tensor that has channels along its first dimension: which ones, and
        which along the second, where those of one of the layer's groups are counted.
    sizes
        For each attribute that states a size: the channels that it counts, or a function of
        the layer (as it was, but with its new tensors), its inputs and its outputs.
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
    macs: Callable[[Any, Any, Any], int] = lambda *_: 0
    arguments: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    refines: bool = False
    channels: int = 1


class Call(NamedTuple):
    """A layer called with channel labels in place of tensors."""

    book: LabelBook
    name: str
    layer: Any
    kind: Kind
    inputs: list[Tensor]
    value: Any  # what the layer gave, in tensors without data

    @property
    def x(self) -> Tensor:
        return self.inputs[0]

    def move(self, function: Callable, *args: Any) -> Any:
        """What a function in ``moves`` gives."""
        return function(self.book, self.value, self.x, *args)

    def note(self, inputs: Tensor, outputs: Tensor, groups: int = 1, whole: bool = False) -> None:
        """Note which channels the layer reads, and which slices of its tensors carry channels."""
        self.book.read(self.name, inputs)
        labels = {IN: inputs, OUT: outputs}
        for tensor, (first, *second) in self.kind.cut.items():
            if getattr(self.layer, tensor) is not None:
                dims = {0: labels[first]}
                if second and not whole:
                    dims[1] = labels[second[0]][: len(labels[second[0]]) // groups]
                self.book.carry(f"{self.name}.{tensor}", dims)


def keep(call: Call) -> Tensor:
    return call.x


def mix(call: Call) -> Any:
    """Channels depend on one another in a way that no removal leaves unchanged."""
    call.book.freeze(*call.inputs)
    return map_tensors(call.value, fixed)


def resize(spatial: int | None = None) -> Callable[[Call], Any]:
    """Each map goes to one of another size: the last dimensions, by default all but two."""
    return lambda call: call.move(mixing.same_maps, spatial or call.x.dim() - 2)


def make_filters(call: Call) -> Tensor:
    """Fresh labels for the filters. A kernel says where channels lie without a batch, too."""
    book, layer, x = call.book, call.layer, call.x
    kernel = getattr(layer, "kernel_size", None)
    channel = call.kind.channels % x.dim() if kernel is None else x.dim() - 1 - len(kernel)
    inputs = book.per_channel(x, channel)
    outputs = book.make(call.name, getattr(layer, call.kind.filters))
    groups = getattr(layer, "groups", 1)
    whole = groups > 1 and _unite_groups(book, inputs.view(groups, -1), outputs.view(groups, -1))
    call.note(inputs, outputs, groups, whole)
    view = [-1 if d == channel else 1 for d in range(x.dim())]
    return outputs.view(view).expand(call.value.shape)


def _unite_groups(book: LabelBook, inputs: Tensor, outputs: Tensor) -> bool:
    """Remove whole groups (True), or the same position in every group, whichever is finer.

    A depthwise convolution is the first kind with one channel a group.
    """
    whole = inputs.shape[1] <= len(inputs)
    for labels in (inputs, outputs):
        book.unite(labels, inputs[:, :1] if whole else labels[:1])
    return whole


def scale(call: Call, channel: int = 1) -> Tensor:
    """One number a channel in each tensor."""
    labels = call.book.per_channel(call.x, channel)
    call.note(labels, labels)
    return call.x


def look_up(call: Call) -> Tensor:
    """A row of a table for each index: its columns are the channels, and go with what they meet."""
    book, name = call.book, call.name
    book.freeze(*call.inputs)
    if name not in book.inputs:
        book.inputs[name] = book.issue(call.layer.embedding_dim)
        book.carry(f"{name}.weight", {1: book.inputs[name]})
    return book.inputs[name].expand(call.value.shape)


def normalise_groups(call: Call) -> Tensor:
    """Statistics are shared within a group, so only whole groups can go."""
    by_group = call.book.per_channel(call.x).view(call.layer.num_groups, -1)
    call.book.unite(by_group, by_group[:, :1])
    return scale(call)


def normalise_last(call: Call) -> Tensor:
    """Statistics over positions leave channels apart; over channels they mix them."""
    dims = {call.x.dim() - 1 - dim for dim in range(len(call.layer.normalized_shape))}
    return call.x if dims.isdisjoint(call.book.varying(call.x)) else mix(call)
