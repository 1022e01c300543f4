"""Loaders that normalise and augment a batch at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from prunekit.checks import flag, whole
from prunekit.data.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageSet,
    checked_shares,
    normalise,
    random_crop,
    random_flip,
    refuse_unless_images,
    sha256_of,
)


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
    mean, std
        Of each channel, as shares of white: what the network was trained with.

    Raises
    ------
    TypeError
        ``images`` is no :class:`ImageSet`, or a setting of the wrong type.
    ValueError
        The set is empty, or a setting is out of range.

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
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        refuse_unless_images("a Loader", images)
        self.images = images
        self.batch_size = whole("batch_size", batch_size, least=1)
        self.size = None if size is None else whole("size", size, least=1)
        self.shuffle = flag("shuffle", shuffle)
        self.augment = flag("augment", augment)
        self.flip = flag("flip", flip)
        self.mean, self.std = checked_shares(mean, std)

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.images.images, self.images.labels
        order = torch.randperm(len(labels)) if self.shuffle else torch.arange(len(labels))
        for indices in order.to(labels.device).split(self.batch_size):
            x = images[indices]
            if self.augment:
                x = random_crop(x, padding=x.shape[-1] // 8)
                if self.flip:
                    x = random_flip(x)
            yield normalise(x, self.size, self.mean, self.std), labels[indices]

    def fingerprint(self) -> str:
        """SHA-256 of all that decides which batches come.

        It covers the images and labels in their order, and the settings. Two
        loaders of one fingerprint serve the same batches after the same
        ``torch.manual_seed``; the device makes no difference.
        """
        settings = {
            "shape": self.images.images.shape,
            "batch_size": self.batch_size,
            "size": self.size,
            "shuffle": self.shuffle,
            "augment": self.augment,
            "flip": self.augment and self.flip,
        }
        if (self.mean, self.std) != (IMAGENET_MEAN, IMAGENET_STD):  # which went without saying
            settings |= {"mean": self.mean, "std": self.std}
        pixels = sha256_of(self.images.images, self.images.labels)
        return hashlib.sha256(f"{json.dumps(settings)} {pixels}".encode()).hexdigest()
