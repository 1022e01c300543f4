"""Image sets as whole arrays, and what is done to a batch of them at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from prunekit.checks import number, shown, whole

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64, Shaped, UInt8

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageSet:
    """Images and their labels.

    Attributes
    ----------
    images : uint8 tensor of shape (examples, 3, height, width)
    labels : int64 tensor of shape (examples,), classes numbered from 0

    Raises
    ------
    TypeError
        One of them is no tensor.
    ValueError
        They are not of this kind, differ in number or device, or a label is
        negative.
    """

    images: UInt8[Tensor, "examples 3 height width"]
    labels: Int64[Tensor, " examples"]

    def __post_init__(self) -> None:
        _refuse_other_pixels(self.images)
        labels = _tensor("labels", self.labels)
        if labels.dtype != torch.int64 or labels.ndim != 1:
            raise ValueError(
                f"labels must be int64 of shape (examples,), not {_kind(labels)}: one number of a "
                "class for each image, as labels.long() makes of other whole numbers"
            )
        if len(self.images) != len(labels):
            raise ValueError(
                f"{len(self.images)} images cannot have {len(labels)} labels: give one for each"
            )
        if self.images.device != labels.device:
            raise ValueError(
                f"images lie on {self.images.device}, labels on {labels.device}: move them to one"
            )
        if not labels.is_meta and (labels < 0).any():
            raise ValueError(f"label {labels.min()} is negative: classes are numbered from 0")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: slice | Tensor) -> ImageSet:
        if isinstance(indices, int):
            raise TypeError(
                f"{indices} is no slice and no tensor: [{indices} : {indices + 1}] is the set of "
                "one example, .images and .labels hold each by its number"
            )
        return ImageSet(self.images[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> ImageSet:
        """The same on another device: a set that lies on a GPU is augmented there."""
        return ImageSet(self.images.to(device), self.labels.to(device))


def normalise(
    images: UInt8[Tensor, "examples 3 height width"],
    size: int | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Float[Tensor, "examples 3 out_height out_width"]:
    """uint8 (n, 3, h, w) to float32 by each channel's mean and deviation, resized.

    Both are shares of white, and by default those of ImageNet.

    Raises
    ------
    TypeError, ValueError
        The images are not of this kind: floats in [0, 1] would all come out
        as nearly black. Or a mean or deviation is not of three such shares.
    """
    _refuse_other_pixels(images)
    of_mean, of_std = (
        torch.tensor(shares, device=images.device).view(1, 3, 1, 1) * 255
        for shares in checked_shares(mean, std)
    )
    x = (images.float() - of_mean) / of_std
    if size is None or x.shape[-2:] == (whole("size", size, least=1), size):
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=size < max(x.shape[-2:]))


def checked_shares(mean: Any, std: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and the deviation of each channel, as shares of white."""
    for name, value in (("mean", mean), ("std", std)):
        if not isinstance(value, (list, tuple)) or len(value) != 3:
            raise ValueError(f"{name} must be three numbers, one a channel, not {shown(value)}")
    return (
        tuple(number("mean", share, least=0, most=1) for share in mean),
        tuple(number("std", share, above=0, most=1) for share in std),
    )


def random_flip(
    images: Shaped[Tensor, "examples channels height width"],
) -> Shaped[Tensor, "examples channels height width"]:
    """Mirror each image of (n, channels, h, w) left to right with probability one half."""
    _refuse_unless_batch(images)
    return mirror(images, torch.rand(len(images)) < 0.5)


def random_crop(
    images: Shaped[Tensor, "examples channels height width"], padding: int
) -> Shaped[Tensor, "examples channels height width"]:
    """Pad with zeros, then cut a window of the old size, placed at random for each image."""
    _refuse_unless_batch(images)
    padding = whole("padding", padding, least=0)
    rows, columns = (torch.randint(2 * padding + 1, (len(images),)) for _ in range(2))
    return crop(images, rows, columns, padding)


def crop(
    images: Shaped[Tensor, "examples channels height width"],
    rows: Int64[Tensor, " examples"],
    columns: Int64[Tensor, " examples"],
    padding: int,
) -> Shaped[Tensor, "examples channels height width"]:
    """Pad with zeros, then cut a window of the old size that begins at these rows and columns."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (padding,) * 4)
    rows = (rows.view(-1, 1) + torch.arange(height)).to(images.device)
    columns = (columns.view(-1, 1) + torch.arange(width)).to(images.device)
    example = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    cropped = padded.permute(0, 2, 3, 1)[example, rows.unsqueeze(2), columns.unsqueeze(1)]
    return cropped.permute(0, 3, 1, 2)


def mirror(
    images: Shaped[Tensor, "examples channels height width"],
    mirrored: Bool[Tensor, " examples"],
) -> Shaped[Tensor, "examples channels height width"]:
    """Those images that ``mirrored`` says, left to right."""
    return torch.where(mirrored.view(-1, 1, 1, 1).to(images.device), images.flip(-1), images)


def sha256_of(*tensors: Tensor) -> str:
    """Of the values of tensors, wherever they lie, one after the other."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().reshape(-1).numpy().data)
    return digest.hexdigest()


def refuse_unless_images(server: str, images: ImageSet) -> None:
    """What cannot be served as batches: no :class:`ImageSet`, or one of no image."""
    if not isinstance(images, ImageSet):
        raise TypeError(
            f"{server} serves an ImageSet, such as the train of a Dataset, "
            f"not {type(images).__name__}"
        )
    if not len(images):
        raise ValueError("the set of images is empty: there is nothing to serve")


def _refuse_other_pixels(images: Tensor) -> None:
    shape = _tensor("images", images).shape
    if images.dtype == torch.uint8 and len(shape) == 4 and shape[1] == 3 and 0 not in shape[2:]:
        return
    if images.is_floating_point():
        remedy = ": values in [0, 1] become such by (images * 255).round().to(torch.uint8)"
    elif len(shape) == 4 and shape[3] == 3:
        remedy = ": channels come to the front by images.permute(0, 3, 1, 2)"
    elif len(shape) == 4 and shape[1] == 1:
        remedy = ": grey becomes colour by images.expand(-1, 3, -1, -1)"
    else:
        remedy = ""
    raise ValueError(
        f"images must be uint8 of shape (examples, 3, height, width), not {_kind(images)}{remedy}"
    )


def _refuse_unless_batch(images: Tensor) -> None:
    if _tensor("images", images).ndim != 4:
        raise ValueError(
            "images must be of shape (examples, channels, height, width), "
            f"not {tuple(images.shape)}: images[None] makes a batch of one"
        )


def _tensor(name: str, value: Tensor) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a tensor, not {type(value).__name__}: torch.as_tensor makes one"
        )
    return value


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
