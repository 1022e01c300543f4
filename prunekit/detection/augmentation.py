"""SSD's augmentation of pictures together with their boxes, by torchvision's transforms."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, Image

from prunekit.detection.matching import COLUMNS


def augmented(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Each picture distorted in colour, zoomed out, cropped and mirrored, at random.

    Colours, zoom out up to four times onto grey, crops that leave some object
    with a drawn share of overlap, and mirroring are those of Liu et al.
    (2016, section 2.2). Objects whose centre is cropped away are left out.
    Draws from torch's global generator of the CPU.

    Parameters
    ----------
    images
        uint8 of shape (pictures, 3, height, width).
    targets
        As for :func:`prunekit.detection.match`.

    Returns
    -------
    Both, of the same shapes.
    """
    height, width = size = images.shape[-2], images.shape[-1]
    transform = _ssd(size)
    pixels = targets.new_tensor([width, height, width, height])
    changed_images, changed = torch.empty_like(images), torch.full_like(targets, -1)
    for place, (image, rows) in enumerate(zip(images, targets, strict=True)):
        rows = rows[rows[:, 4] > 0]
        boxes = BoundingBoxes(rows[:, :4] * pixels, format=BoundingBoxFormat.XYXY, canvas_size=size)
        sample = {"image": Image(image), "boxes": boxes, "labels": rows[:, 4:]}
        sample = transform(sample)
        changed_images[place] = sample["image"]
        changed[place, : len(sample["boxes"]), :4] = sample["boxes"].as_subclass(Tensor) / pixels
        changed[place, : len(sample["boxes"]), 4 : len(COLUMNS)] = sample["labels"]
    return changed_images, changed


def _ssd(size: tuple[int, int]) -> v2.Transform:
    return v2.Compose(
        [
            v2.RandomPhotometricDistort(),
            v2.RandomZoomOut(fill=128),
            v2.RandomIoUCrop(),
            v2.RandomHorizontalFlip(),
            v2.Resize(size, antialias=True),
            v2.SanitizeBoundingBoxes(labels_getter=lambda sample: sample["labels"]),
        ]
    )
