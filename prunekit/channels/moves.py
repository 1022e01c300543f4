"""What operations that move, join and cut tensors do to labels.

Each function takes the book, what the operation gave on tensors without data,
and the operation's own arguments with labels in place of tensors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from prunekit.channels.counts import Count, hold
from prunekit.channels.labels import (
    LabelBook,
    collapse,
    fixed,
    map_tensors,
    rows,
    tensors_in,
    varies,
)


def same_maps(book: LabelBook, value: Any, x: Tensor, spatial: int) -> Any:
    """Labels of maps that changed in size only: the last dimensions, ``spatial`` of them."""
    where: tuple[Any, ...] = (..., *(slice(0, 1),) * spatial)
    first = x[where]
    if any(varies(x, dim) for dim in range(-spatial, 0)):
        book.unite(x, first)

    def enlarged(part: Any) -> Tensor:
        return first.expand(part.shape)

    return map_tensors(value, enlarged)


def pad(
    book: LabelBook, _: Any, x: Tensor, pad: Sequence[int], mode: str = "constant", value: Any = 0
) -> Tensor:
    """New positions of a channel are of that channel; new channels must stay."""
    for place, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        dim = x.dim() - 1 - place
        if before == after == 0:
            continue
        if not varies(x, dim):
            size = x.shape[dim] + before + after
            x = x.narrow(dim, 0, 1).expand(*x.shape[:dim], size, *x.shape[dim + 1 :])
            continue
        if mode != "constant" or before < 0 or after < 0:
            book.freeze(x)
        x = F.pad(x, (*(0, 0) * place, before, after))
    return x


def reduce(book: LabelBook, value: Any, x: Tensor, dim: Any = None, *_: Any, **__: Any) -> Any:
    """A mean over positions keeps channels; a mean over channels mixes them."""
    dims = _dims(x, dim)
    if not set(dims).isdisjoint(book.varying(x)):
        book.freeze(x)
        return map_tensors(value, fixed)
    where = tuple(slice(0, 1) if d in dims else slice(None) for d in range(x.dim()))
    return x[where].reshape(value.shape)


def concatenate(book: LabelBook, value: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joined along one dimension, tensors keep their sizes along the others only together."""
    dim %= value.dim()
    joined = torch.cat(collapse(*tensors, keep=dim), dim)
    if set(book.varying(joined)) - {dim}:
        book.unite(joined, joined.narrow(dim, 0, 1))
        joined = joined.narrow(dim, 0, 1)
    return joined.expand(value.shape)


def stack(book: LabelBook, value: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape keep it only together."""
    for other in tensors[1:]:
        book.unite(tensors[0], other)
    return tensors[0].unsqueeze(dim).expand(value.shape)


def chunk(book: LabelBook, _: Any, x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Equal parts stay equal only if the same position goes from each."""
    parts = x.chunk(chunks, dim)
    if varies(x, dim):
        if len({part.shape[dim] for part in parts}) == 1 and len(parts) == chunks:
            for part in parts[1:]:
                book.unite(parts[0], part)
        else:
            book.freeze(x)
    return parts


def split(book: LabelBook, _: Any, x: Tensor, *sizes: Any, dim: int = 0, **named: Any) -> Any:
    size, dim = (*sizes, *named.values(), dim)[:2]
    whole = isinstance(size, int) and size >= x.shape[dim]
    return _cut(book, x, x.split(size, dim), () if whole else (dim,))


def narrow(book: LabelBook, _: Any, x: Tensor, dim: int, start: int, length: int) -> Tensor:
    return _cut(book, x, x.narrow(dim, start, length), (dim,))


def unbind(book: LabelBook, _: Any, x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    return _cut(book, x, x.unbind(dim), (dim,))


def index(book: LabelBook, _: Any, x: Any, where: Any) -> Any:
    """As the other cuts. What numbers in a tensor choose is not looked at."""
    if not isinstance(x, Tensor):
        return x[where]
    where = where if isinstance(where, tuple) else (where,)
    book.freeze(*tensors_in(where))
    # Where channels do not lie along a dimension, all its positions are like the first.
    where = tuple(torch.zeros_like(w) if isinstance(w, Tensor) else w for w in where)
    used = sum(w is not None and w is not Ellipsis for w in where)
    dim, dims = 0, []
    for w in where:
        if w is Ellipsis:
            dim += x.dim() - used
        elif w is not None:
            if not isinstance(w, slice) or range(x.shape[dim])[w] != range(x.shape[dim]):
                dims.append(dim)
            dim += 1
    return _cut(book, x, x[where], dims)


def _cut(book: LabelBook, x: Tensor, result: Any, dims: Sequence[int]) -> Any:
    """Cut at places written in the code: channels that are told apart must all stay."""
    if any(varies(x, dim) for dim in dims):
        book.freeze(x)
    return result


def squeeze(book: LabelBook, _: Any, x: Tensor, dim: Any = None) -> Tensor:
    """A dimension of size 1 is dropped: where channels lie, two must stay."""
    for d in _dims(x, dim):
        if varies(x, d):
            book.freeze(x.narrow(d, 0, 2))
    return x.squeeze() if dim is None else x.squeeze(dim)


def expand(book: LabelBook, value: Tensor, x: Tensor, *sizes: Any, size: Any = ()) -> Tensor:
    """A dimension as long as a count holds the channels that are counted."""
    x = x[(None,) * (value.dim() - x.dim())]
    for dim, length in enumerate(_sizes(sizes or size)):
        if isinstance(length, Count) and length.is_a_size and length.labels.shape[1] == 1:
            along = length.labels.view(-1, *(1,) * (value.dim() - 1 - dim))
            x = book.combine([x, along], torch.broadcast_shapes(x.shape, along.shape))
        elif hold(length) != -1 and varies(x, dim):
            book.freeze(x)
    return x.expand(value.shape)


def reshape(
    book: LabelBook, value: Tensor, x: Tensor, *sizes: Any, size: Any = (), shape: Any = ()
) -> Tensor:
    """Plain sizes cannot shrink. Counts can, and what -1 stands for if there are none."""
    result = x.reshape(value.shape)
    named = _sizes(sizes or size or shape)
    varying = [d for d in range(result.dim()) if varies(result, d)]
    # What merely repeats itself is held once: what comes next is quick.
    where = (slice(None) if d in varying else slice(0, 1) for d in range(result.dim()))
    result = result[tuple(where)].expand(value.shape)
    counted = {d: length for d in varying if isinstance(length := named[d], Count)}
    hold([length for d, length in enumerate(named) if d not in varying])
    shrinking = counted or [d for d in varying if named[d] == -1]
    if varying and not shrinking:
        book.freeze(x)
    for d in set(varying) - set(shrinking):
        book.unite(result, result.narrow(d, 0, 1))
    for d, length in counted.items():
        length.measures(rows(result, d))
    return result


def shuffle_pixels(book: LabelBook, value: Tensor, x: Tensor, upscale_factor: int) -> Tensor:
    """Each ``upscale_factor ** 2`` channels become one of finer maps, and go together."""
    channels = book.per_channel(x, -3).view(-1, upscale_factor**2)
    book.unite(channels, channels[:, :1])
    return channels[:, :1, None].expand(value.shape)


def unshuffle_pixels(book: LabelBook, value: Tensor, x: Tensor, downscale_factor: int) -> Tensor:
    """Each channel becomes ``downscale_factor ** 2`` of coarser maps."""
    channels = book.per_channel(x, -3).repeat_interleave(downscale_factor**2)
    return channels[:, None, None].expand(value.shape)


def _dims(x: Tensor, dim: Any) -> list[int]:
    dims = range(x.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    return [d % max(x.dim(), 1) for d in dims]


def _sizes(sizes: Sequence[Any]) -> Sequence[int]:
    """The sizes an operation names: one by one, or all in one argument."""
    return sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


# These take counts as sizes; for the others they are numbers.
SIZED = {"view": reshape, "reshape": reshape, torch.reshape: reshape, "expand": expand}
MOVES: dict[Any, Callable] = {
    **dict.fromkeys((torch.cat, torch.concat), concatenate),
    **dict.fromkeys((torch.chunk, "chunk"), chunk),
    **dict.fromkeys((torch.split, "split"), split),
    **dict.fromkeys((torch.narrow, "narrow"), narrow),
    **dict.fromkeys((torch.unbind, "unbind"), unbind),
    **dict.fromkeys((torch.squeeze, "squeeze"), squeeze),
    **{torch.stack: stack, operator.getitem: index, F.pad: pad},
    **{F.pixel_shuffle: shuffle_pixels, F.pixel_unshuffle: unshuffle_pixels},
}
