"""Image sets as whole arrays, and loaders that normalise and augment a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageSet:
    """Images and their labels.

    Attributes
    ----------
    images : uint8 tensor of shape (examples, 3, height, width)
    labels : int64 tensor of shape (examples,)
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: slice | Tensor) -> ImageSet:
        return ImageSet(self.images[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> ImageSet:
        """The same on another device: a set that lies on a GPU is augmented there."""
        return ImageSet(self.images.to(device), self.labels.to(device))


class Loader:
    """Batches of one image set, normalised, resized and augmented as a whole.

    Iterating yields ``(x, y)``: float32 images of shape (batch, 3, size,
    size) and int64 labels, on the device of the set. Shuffling and
    augmentation draw from torch's global generator of the CPU, so
    ``torch.manual_seed`` before an epoch fixes it on any device.

    Parameters
    ----------
    size
        Side in pixels of the images handed out; None keeps their own.
    augment
        Random horizontal flip, and a random crop after padding by an eighth.
        Flipping turns digits into nonsense: pass ``flip=False`` there.

    Examples
    --------
    >>> from prunekit.data import load_dataset
    >>> digits = load_dataset("digits")
    >>> x, y = next(iter(Loader(digits.test, batch_size=8, size=64)))
    >>> x.shape, x.dtype, y.shape
    (torch.Size([8, 3, 64, 64]), torch.float32, torch.Size([8]))
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int = 128,
        *,
        size: int | None = None,
        shuffle: bool = False,
        augment: bool = False,
        flip: bool = True,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.images = images
        self.batch_size = batch_size
        self.size = size
        self.shuffle = shuffle
        self.augment = augment
        self.flip = flip

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.images)
        order = torch.randperm(count) if self.shuffle else torch.arange(count)
        for indices in order.to(self.images.images.device).split(self.batch_size):
            batch = self.images[indices]
            x = batch.images
            if self.augment:
                x = random_crop(x, padding=x.shape[-1] // 8)
                if self.flip:
                    x = random_flip(x)
            yield normalise(x, self.size), batch.labels


def normalise(images: Tensor, size: int | None = None) -> Tensor:
    """uint8 (n, 3, h, w) to float32 with ImageNet's channel mean and deviation, resized."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1) * 255
    x = (images.float() - mean) / std
    if size is not None and tuple(x.shape[-2:]) != (size, size):
        x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=size < x.shape[-1])
    return x


def random_flip(images: Tensor) -> Tensor:
    """Mirror each image left to right with probability one half."""
    mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
    return torch.where(mirrored.to(images.device), images.flip(-1), images)


def random_crop(images: Tensor, padding: int) -> Tensor:
    """Pad with zeros, then cut a window of the old size, placed at random for each image."""
    count, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    rows = torch.randint(2 * padding + 1, (count, 1)) + torch.arange(height)
    columns = torch.randint(2 * padding + 1, (count, 1)) + torch.arange(width)
    rows, columns = rows.to(images.device), columns.to(images.device)
    example = torch.arange(count, device=images.device).view(-1, 1, 1)
    cropped = padded.permute(0, 2, 3, 1)[example, rows.unsqueeze(2), columns.unsqueeze(1)]
    return cropped.permute(0, 3, 1, 2)
