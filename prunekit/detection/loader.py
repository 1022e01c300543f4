"""Batches of pictures with boxes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from prunekit.checks import flag, whole
from prunekit.data.images import sha256_of
from prunekit.detection.augmentation import augmented
from prunekit.detection.data import BoxSet


class BoxLoader:
    """Batches ``(x, targets)`` of a :class:`BoxSet`, normalised as a whole.

    ``x`` is float32 of shape (batch, 3, height, width). Shuffling and
    augmentation draw from torch's global generator of the CPU, as those of
    :class:`prunekit.data.Loader` do.

    Parameters
    ----------
    augment
        Distort colours, zoom out, crop and mirror, as is usual for SSD (Liu et
        al. 2016).
    mean, std
        Of each channel, for samples from 0 to 1. By default values come to
        lie between -1 and 1, as :func:`prunekit.detection.pedestrian_detector`
        needs; a backbone of torchvision needs ``prunekit.data.IMAGENET_MEAN``
        and ``IMAGENET_STD``.

    Examples
    --------
    >>> grey = BoxSet(torch.full((5, 3, 8, 8), 255, dtype=torch.uint8), torch.zeros(5, 0, 6))
    >>> loader = BoxLoader(grey, batch_size=4)
    >>> x, targets = next(iter(loader))
    >>> len(loader), x.shape, x.max().item(), targets.shape
    (2, torch.Size([4, 3, 8, 8]), 1.0, torch.Size([4, 0, 6]))
    """

    def __init__(
        self,
        pictures: BoxSet,
        batch_size: int = 32,
        *,
        shuffle: bool = False,
        augment: bool = False,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        if not isinstance(pictures, BoxSet):
            raise TypeError(f"a BoxLoader serves a BoxSet, not {type(pictures).__name__}")
        if not len(pictures):
            raise ValueError("the set of pictures is empty: there is nothing to serve")
        self.pictures = pictures
        self.batch_size = whole("batch_size", batch_size, least=1)
        self.shuffle = flag("shuffle", shuffle)
        self.augment = flag("augment", augment)
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) * 255 for v in (mean, std))

    def __len__(self) -> int:
        return -(-len(self.pictures) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.pictures)
        order = torch.randperm(count) if self.shuffle else torch.arange(count)
        for indices in order.split(self.batch_size):
            images, targets = self.pictures.images[indices], self.pictures.targets[indices]
            if self.augment:
                images, targets = augmented(images, targets)
            yield (images - self.mean) / self.std, targets

    def fingerprint(self) -> str:
        """SHA-256 of all that decides which batches come, as that of ``prunekit.data.Loader``."""
        settings = {
            "shape": self.pictures.images.shape,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "augment": self.augment,
        }
        pixels = sha256_of(self.pictures.images, self.pictures.targets, self.mean, self.std)
        return hashlib.sha256(f"{json.dumps(settings)} {pixels}".encode()).hexdigest()
