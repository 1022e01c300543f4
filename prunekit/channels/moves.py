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

from prunekit.channels import mixing
from prunekit.channels.counts import Count, Unread, hold, number, shape
from prunekit.channels.labels import (
    LabelBook,
    collapse,
    fixed,
    map_tensors,
    rows,
    tensors_in,
    varies,
)
from prunekit.channels.mixing import dimensions


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


def unfold(book: LabelBook, value: Tensor, x: Tensor, dim: int, size: int, step: int) -> Tensor:
    """Windows along a dimension, which become a dimension of their own."""
    return _cut(book, x, x.unfold(dim, size, step), (dim,))


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
    if isinstance(size, (tuple, list)) and any(isinstance(one, Count) for one in size):
        return _split_by_counts(book, x.split([number(one) for one in size], dim), size, dim)
    size = hold(size)
    whole = isinstance(size, int) and size >= x.shape[dim]
    return _cut(book, x, x.split(size, dim), () if whole else (dim,))


def _split_by_counts(book: LabelBook, parts: Any, sizes: Sequence[int], dim: int) -> Any:
    for part, size in zip(parts, sizes, strict=True):
        if not isinstance(size, Count):
            book.freeze(part)
        elif varies(part, dim) or part.shape[dim] == 1:
            size.measures(rows(part, dim))
        else:
            size.hold()
    return parts


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


def assign(book: LabelBook, _: Any, x: Tensor, where: Any, given: Any) -> None:
    """What is written over a part of a tensor is of the channels there."""
    part = index(book, None, x, where)
    book.combine([part, *tensors_in(given)], part.shape)


def _cut(book: LabelBook, x: Tensor, result: Any, dims: Sequence[int]) -> Any:
    """Cut at places written in the code: channels that are told apart must all stay."""
    if any(varies(x, dim) for dim in dims):
        book.freeze(x)
    return result


def squeeze(book: LabelBook, _: Any, x: Tensor, dim: Any = None) -> Tensor:
    """A dimension of size 1 is dropped: where channels lie, two must stay."""
    for d in dimensions(x, dim):
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
    counted = {d: length for d in varying if isinstance(length := named[d], (Count, Unread))}
    hold([length for d, length in enumerate(named) if d not in varying])
    shrinking = counted or [d for d in varying if named[d] == -1]
    if varying and not shrinking:
        book.freeze(x)
    first = result
    for d in set(varying) - set(shrinking):
        book.unite(result, result.narrow(d, 0, 1))
        first = first.narrow(d, 0, 1)
    rows_go_whole = all(isinstance(one, Unread) or one.is_a_size for one in counted.values())
    for d, length in counted.items():
        length.measures(rows(first, d))
    # Where a count is of whole rows, such as heads, one channel of a row stands for all of it.
    return first.expand(value.shape) if counted and rows_go_whole else result


def reshape_as(book: LabelBook, value: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """The sizes of another tensor, counts where channels lie."""
    return reshape(book, value, x, *shape(other, book))


def unflatten(book: LabelBook, value: Tensor, x: Tensor, dim: int, sizes: Any) -> Tensor:
    dim %= x.dim()
    return reshape(book, value, x, *[-1] * dim, *sizes, *[-1] * (x.dim() - dim - 1))


def repeat(book: LabelBook, value: Tensor, x: Tensor, *sizes: Any, **named: Any) -> Tensor:
    """A dimension is followed by copies of itself, of the same channels."""
    times = _sizes(sizes or tuple(named.values()))
    times = (*[1] * (value.dim() - len(times)), *times)  # tile may name the last dimensions only
    x = x[(None,) * (value.dim() - x.dim())]
    varying = [varies(x, dim) for dim in range(x.dim())]
    first = x[tuple(slice(None) if there else slice(0, 1) for there in varying)]
    copies = (n if there else 1 for n, there in zip(times, varying, strict=True))
    return first.repeat(*copies).expand(value.shape)


def same(_: LabelBook, __: Any, x: Tensor, *___: Any, **____: Any) -> Tensor:
    """The same numbers of another type, perhaps as another tensor has it."""
    return x


def made(_: LabelBook, value: Any, *__: Any, **___: Any) -> Any:
    """A new tensor of sizes that stay."""
    return map_tensors(value, fixed)


def _sizes(sizes: Sequence[Any]) -> Sequence[int]:
    """The sizes an operation names: one by one, or all in one argument."""
    return sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


# These take counts as sizes; for the others they are numbers.
SIZED: dict[Any, Callable] = {
    **{"view": reshape, "reshape": reshape, torch.reshape: reshape, "expand": expand},
    **{"unflatten": unflatten, torch.unflatten: unflatten, torch.broadcast_to: expand},
    **dict.fromkeys((torch.split, "split"), split),
    **dict.fromkeys(("reshape_as", "view_as"), reshape_as),
}
MOVES: dict[Any, Callable] = {
    **dict.fromkeys((torch.cat, torch.concat), concatenate),
    **dict.fromkeys((torch.chunk, "chunk"), chunk),
    **dict.fromkeys((torch.narrow, "narrow"), narrow),
    **dict.fromkeys((torch.unbind, "unbind"), unbind),
    **dict.fromkeys((torch.squeeze, "squeeze"), squeeze),
    **dict.fromkeys((torch.max, torch.min, "max", "min"), mixing.extreme),
    **dict.fromkeys(
        (F.softmax, F.log_softmax, F.softmin, torch.softmax, torch.log_softmax), mixing.along
    ),
    **dict.fromkeys(("softmax", "log_softmax", torch.cumsum, "cumsum"), mixing.along),
    **dict.fromkeys((torch.sort, "sort", torch.argsort, "argsort"), mixing.sort),
    **dict.fromkeys((torch.roll, "roll"), mixing.roll),
    **dict.fromkeys((torch.norm, "norm"), mixing.norm),
    **dict.fromkeys((torch.repeat_interleave, "repeat_interleave"), mixing.repeat_each),
    **dict.fromkeys(
        (torch.matmul, torch.bmm, torch.mm, operator.matmul, "matmul", "bmm", "mm"), mixing.product
    ),
    F.scaled_dot_product_attention: mixing.attend,
    **dict.fromkeys((torch.tile, "tile", "repeat"), repeat),
    **dict.fromkeys((torch.index_select, "index_select"), mixing.pick),
    **dict.fromkeys(("to", "type_as"), same),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty"), made),
    **{
        F.glu: mixing.gate,
        torch.stack: stack,
        operator.getitem: index,
        operator.setitem: assign,
        F.pad: pad,
        F.normalize: mixing.normalize,
    },
    **{F.pixel_shuffle: mixing.shuffle_pixels, F.pixel_unshuffle: mixing.unshuffle_pixels},
    **{
        "unfold": unfold,
        F.unfold: mixing.unfold_maps,
        F.fold: mixing.fold_maps,
        F.grid_sample: mixing.sample_maps,
    },
}
