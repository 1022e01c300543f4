"""What operations that compute do to labels: over positions, along a dimension, pixel by pixel.

Each function takes the book, what the operation gave on tensors without data,
and the operation's own arguments with labels in place of tensors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from prunekit.channels.labels import LabelBook, fixed, map_tensors, tensors_in, varies


def same_maps(book: LabelBook, value: Any, x: Tensor, spatial: int) -> Any:
    """Labels of maps that changed in size only: the last dimensions, ``spatial`` of them."""
    where: tuple[Any, ...] = (..., *(slice(0, 1),) * spatial)
    first = x[where]
    if any(varies(x, dim) for dim in range(-spatial, 0)):
        book.unite(x, first)

    def enlarged(part: Any) -> Tensor:
        return first.expand(part.shape)

    return map_tensors(value, enlarged)


def sample_maps(book: LabelBook, value: Tensor, x: Tensor, grid: Tensor, *_: Any, **__: Any) -> Any:
    """Maps read at other places; where, is for no removal to change."""
    book.freeze(grid)
    return same_maps(book, value, x, x.dim() - 2)


def reduce(book: LabelBook, value: Any, x: Tensor, dim: Any = None, *_: Any, **__: Any) -> Any:
    """A mean over positions keeps channels; a mean over channels mixes them."""
    dims = dimensions(x, None if isinstance(dim, bool) else dim)  # std(x, False) has all
    if not set(dims).isdisjoint(book.varying(x)):
        book.freeze(x)
        return map_tensors(value, fixed)
    where = tuple(slice(0, 1) if d in dims else slice(None) for d in range(x.dim()))
    return map_tensors(value, lambda part: x[where].reshape(part.shape))


def norm(book: LabelBook, value: Any, x: Tensor, _: Any = 2, dim: Any = None, **__: Any) -> Any:
    return reduce(book, value, x, dim)


def extreme(book: LabelBook, value: Any, x: Tensor, *args: Any, **named: Any) -> Any:
    """The largest of two tensors at each place, or of one along a dimension."""
    if tensors_in((args, named)):
        return book.combine([x, *tensors_in((args, named))], value.shape)
    return reduce(book, value, x, *args, **named)


def along(book: LabelBook, value: Any, x: Tensor, *args: Any, dim: Any = None, **_: Any) -> Any:
    """Each place depends on all along a dimension, as in a softmax: channels there all stay."""
    dims = dimensions(x, args[0] if args and dim is None else dim)
    if set(dims).isdisjoint(book.varying(x)):
        return map_tensors(value, x.expand_as)
    book.freeze(x)
    return map_tensors(value, fixed)


def product(book: LabelBook, value: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Matrices of one head or picture each: rows of the first, columns of the second.

    What is summed over stays: a channel whose filter is zero need not be zero itself.
    """
    first, second = ({dim - x.dim() for dim in book.varying(x)} for x in (a, b))
    summed = -1 in first or -2 in second
    if min(a.dim(), b.dim()) < 2 or summed or (-2 in first and -1 in second):
        book.freeze(a, b)
        return fixed(value)
    return book.combine([a.narrow(-1, 0, 1), b.narrow(-2, 0, 1)], value.shape)


def attend(
    book: LabelBook,
    value: Tensor,
    query: Tensor,
    key: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    *_: Any,
    enable_gqa: bool = False,
    **__: Any,
) -> Tensor:
    """Heads apart from one another; within one, all depends on all but which channels are read."""
    if enable_gqa:  # a head of keys serves several of queries
        book.freeze(query, key, v, *tensors_in(attn_mask))
        return fixed(value)
    heads = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    scores = torch.empty(*heads, query.shape[-2], key.shape[-2], device="meta")
    weights = product(book, scores, query, key.transpose(-2, -1))
    weights = book.combine([weights, *tensors_in(attn_mask)], scores.shape)
    return product(book, value, along(book, scores, weights, dim=-1), v)


def normalize(book: LabelBook, value: Any, x: Tensor, p: float = 2, dim: int = 1, **_: Any) -> Any:
    return along(book, value, x, dim)


def roll(book: LabelBook, value: Any, x: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    return along(book, value, x, dims)


def sort(book: LabelBook, value: Any, x: Tensor, dim: int = -1, *_: Any, **__: Any) -> Any:
    return along(book, value, x, dim)


def pick(book: LabelBook, value: Tensor, x: Tensor, dim: int, where: Tensor, **_: Any) -> Tensor:
    """What numbers in a tensor choose is not looked at, as in an index."""
    book.freeze(where)
    if varies(x, dim):
        book.freeze(x)
        return fixed(value)
    return x.narrow(dim, 0, 1).expand(value.shape)


def repeat_each(book: LabelBook, value: Tensor, x: Tensor, times: Any, dim: Any = None) -> Tensor:
    """Each position is followed by copies of itself."""
    if isinstance(times, Tensor) or dim is None:
        book.freeze(x, *tensors_in(times))
        return fixed(value)
    if not varies(x, dim):
        return x.narrow(dim, 0, 1).expand(value.shape)
    return x.repeat_interleave(times, dim)


def gate(book: LabelBook, value: Tensor, x: Tensor, dim: int = -1) -> Tensor:
    """One half gates the other, so that the same position goes from both."""
    first, second = x.chunk(2, dim)
    book.unite(first, second)
    return first.expand(value.shape)


def shuffle_pixels(book: LabelBook, value: Tensor, x: Tensor, upscale_factor: int) -> Tensor:
    """Each ``upscale_factor ** 2`` channels become one of finer maps, and go together."""
    channels = book.per_channel(x, -3).view(-1, upscale_factor**2)
    book.unite(channels, channels[:, :1])
    return channels[:, :1, None].expand(value.shape)


def unshuffle_pixels(book: LabelBook, value: Tensor, x: Tensor, downscale_factor: int) -> Tensor:
    """Each channel becomes ``downscale_factor ** 2`` of coarser maps."""
    channels = book.per_channel(x, -3).repeat_interleave(downscale_factor**2)
    return channels[:, None, None].expand(value.shape)


def unfold_maps(book: LabelBook, value: Tensor, x: Tensor, *_: Any, **__: Any) -> Tensor:
    """Each channel becomes as many as a window has pixels."""
    channels = book.per_channel(x, -3)
    channels = channels.repeat_interleave(value.shape[-2] // len(channels))
    return channels[:, None].expand(value.shape)


def fold_maps(book: LabelBook, value: Tensor, x: Tensor, *_: Any, **__: Any) -> Tensor:
    """As many channels as a window has pixels become one."""
    channels = book.per_channel(x, -2).view(value.shape[-3], -1)
    book.unite(channels, channels[:, :1])
    return channels[:, :1, None].expand(value.shape)


def dimensions(x: Tensor, dim: Any) -> list[int]:
    """The dimensions that an argument names, counted from the first."""
    dims = range(x.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    return [d % max(x.dim(), 1) for d in dims]
