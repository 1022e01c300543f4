"""A loader whose augmentation is drawn once, so that a teacher need answer only once."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator

import torch
from torch import Tensor

from prunekit.checks import flag, shown, whole
from prunekit.data.images import (
    ImageSet,
    crop,
    mirror,
    normalise,
    refuse_unless_images,
    sha256_of,
)


class Views:
    """Batches of images in a fixed number of augmented views, drawn from a seed.

    A view is a place of the crop and a side for each image. Iterating yields
    ``(x, y)``, in a random order and each image in one of its views, drawn
    from torch's global generator of the CPU; or ``(x, y, answers)`` once
    :meth:`answered` has been given what teachers say. Other things are as
    with :class:`Loader`.

    Parameters
    ----------
    views
        How many of them each image has.
    seed
        Two of one seed, number and set show the same views, at any ``size``:
        a teacher may see them at its own.

    Raises
    ------
    TypeError
        ``images`` is no :class:`ImageSet`, or a setting of the wrong type.
    ValueError
        The set is empty, or a setting is out of range.

    Examples
    --------
    >>> from prunekit.data import load_dataset
    >>> views = Views(load_dataset("digits").val, 8, views=2, flip=False)
    >>> [x.shape for x, _ in views][0]
    torch.Size([8, 3, 32, 32])
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int = 128,
        *,
        views: int = 6,
        seed: int = 0,
        size: int | None = None,
        flip: bool = True,
    ) -> None:
        refuse_unless_images("Views", images)
        flip = flag("flip", flip)
        self.images = images
        self.batch_size = whole("batch_size", batch_size, least=1)
        self.views = whole("views", views, least=1)
        self.size = None if size is None else whole("size", size, least=1)
        self.padding = images.images.shape[-1] // 8
        generator = torch.Generator().manual_seed(whole("seed", seed, least=-(2**63), below=2**63))
        drawn = (self.views, len(images))
        self.rows, self.columns = (
            torch.randint(2 * self.padding + 1, drawn, generator=generator) for _ in range(2)
        )
        self.mirrored = (torch.rand(drawn, generator=generator) < 0.5) & flip
        self.answers: Tensor | None = None

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        labels = self.images.labels
        order = torch.randperm(len(labels))
        chosen = torch.randint(self.views, (len(labels),))
        for indices in order.split(self.batch_size):
            view = chosen[indices]
            batch = self.view(view, indices), labels[indices.to(labels.device)]
            if self.answers is None:
                yield batch
            else:
                yield *batch, self.answers[view, indices]

    def view(self, view: Tensor | int, indices: Tensor) -> Tensor:
        """Images of shape (examples, 3, size, size), each in its view or all in one."""
        images = self.images.images
        x = images[indices.to(images.device)]
        x = crop(x, self.rows[view, indices], self.columns[view, indices], self.padding)
        return normalise(mirror(x, self.mirrored[view, indices]), self.size)

    def answered(self, answers: Tensor) -> Views:
        """The same views, each image with what teachers say of it.

        Parameters
        ----------
        answers
            Of shape (views, images, classes), as
            :func:`prunekit.training.answers` gives them.

        Raises
        ------
        TypeError
            They are no tensor of floating-point numbers.
        ValueError
            They are of another shape.
        """
        if not isinstance(answers, Tensor) or not answers.is_floating_point():
            raise TypeError(
                "answers must be a tensor of scores, as prunekit.training.answers gives it, not "
                f"{shown(answers)}"
            )
        expected = (self.views, len(self.images))
        if answers.dim() != 3 or answers.shape[:2] != expected:
            raise ValueError(
                f"answers must be of shape ({self.views} views, {len(self.images)} images, "
                f"classes), not {tuple(answers.shape)}"
            )
        taught = copy.copy(self)
        taught.answers = answers
        return taught

    def fingerprint(self) -> str:
        """SHA-256 of all that decides which batches come, as :meth:`Loader.fingerprint`."""
        settings = {
            "shape": self.images.images.shape,
            "batch_size": self.batch_size,
            "size": self.size,
            "padding": self.padding,
        }
        numbers = [self.images.images, self.images.labels, self.rows, self.columns, self.mirrored]
        numbers += [] if self.answers is None else [self.answers.float()]
        return hashlib.sha256(f"{json.dumps(settings)} {sha256_of(*numbers)}".encode()).hexdigest()
