"""A data set in three parts, and how one is split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from prunekit.checks import Check, checked, number, whole
from prunekit.data.images import ImageSet, sha256_of

#: How a set is split, and what each setting may be.
SPLITTING: dict[str, Check] = {
    "val_fraction": partial(number, above=0, below=1),
    "seed": partial(whole, least=-(2**63), below=2**63),
}


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test sets of one classification problem.

    ``notice`` is empty for the data that was asked for. For the stand-in it
    is a sentence that every output drawn from it must show.

    Raises
    ------
    TypeError
        A part is no :class:`ImageSet`.
    ValueError
        A part holds a label for which there is no class.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    val: ImageSet
    test: ImageSet
    source: str
    notice: str = ""

    def __post_init__(self) -> None:
        for part in ("train", "val", "test"):
            images = getattr(self, part)
            if not isinstance(images, ImageSet):
                raise TypeError(f"{part} must be an ImageSet, not {type(images).__name__}")
            if len(images) and images.labels.max() >= len(self.classes):
                raise ValueError(
                    f"{part} holds label {images.labels.max()}, but the {len(self.classes)} "
                    "classes are numbered from 0"
                )

    @property
    def is_stand_in(self) -> bool:
        return bool(self.notice)

    def fingerprint(self) -> str:
        """SHA-256 of all images and labels, to name the data of a recorded result.

        It covers the pixels and the labels of train, val and test in their
        order, and so the split; on every machine alike. What classes are
        called it does not cover: renamed, they give the same results.
        """
        parts = (self.train, self.val, self.test)
        return sha256_of(*(tensor for part in parts for tensor in (part.images, part.labels)))


@checked(**SPLITTING)
def split(images: ImageSet, val_fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Hold out the same share of every class, chosen by ``seed``.

    Of each class at least one image is held out and at least one is left.

    Returns
    -------
    (rest, held_out)

    Raises
    ------
    TypeError
        A setting is of the wrong type.
    ValueError
        A setting is out of range, there is nothing to split, or a single image
        of a class.

    Examples
    --------
    >>> ten = ImageSet(torch.zeros(10, 3, 2, 2, dtype=torch.uint8), torch.arange(10) % 2)
    >>> rest, held_out = split(ten, 0.2, seed=0)
    >>> sorted(held_out.labels.tolist())
    [0, 1]
    """
    if not len(images):
        raise ValueError("there are no images to split")
    generator = torch.Generator().manual_seed(seed)
    labels = images.labels.cpu()
    held_out = []
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1)
        if len(members) == 1:
            raise ValueError(
                f"class {label} has a single image, which cannot be both trained on and held out: "
                "add another or leave the class out"
            )
        count = min(max(1, round(len(members) * val_fraction)), len(members) - 1)
        held_out.append(members[torch.randperm(len(members), generator=generator)[:count]])
    chosen = torch.zeros(len(images), dtype=torch.bool)
    chosen[torch.cat(held_out)] = True
    return images[~chosen], images[chosen]
