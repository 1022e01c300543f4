"""Pictures with boxes, from folders in the layout of PASCAL VOC."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from prunekit.checks import checked, names, whole
from prunekit.data.decoding import read_rgb
from prunekit.data.named import find_folder
from prunekit.detection.matching import COLUMNS, refuse_other_targets


@dataclass(frozen=True)
class BoxSet:
    """Pictures and the boxes of their objects.

    Attributes
    ----------
    images : uint8 tensor of shape (pictures, 3, height, width)
    targets : float32 tensor of shape (pictures, objects, 6)
        With the columns ``x1, y1, x2, y2`` (in shares of the picture),
        ``class`` (numbered from 1) and ``difficult``; rows of -1 fill up
        pictures with fewer objects.

    Raises
    ------
    ValueError
        They are not of this kind, or differ in number.
    """

    images: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        refuse_other_targets(self.targets)
        images = self.images
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(
                "images must be uint8 of shape (pictures, 3, height, width), not "
                f"{images.dtype} of shape {tuple(images.shape)}"
            )
        if len(images) != len(self.targets):
            raise ValueError(f"{len(images)} images cannot have targets of {len(self.targets)}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: slice | Tensor) -> BoxSet:
        return BoxSet(self.images[indices], self.targets[indices])


@checked(
    classes=names,
    size=partial(whole, least=1),
    year=partial(whole, least=2005),
    first_pixel=partial(whole, least=0, most=1),
)
def load_voc(
    name: str | Path = "streets",
    part: str = "train",
    *,
    classes: Sequence[str] = ("person",),
    size: int = 300,
    year: int = 2007,
    first_pixel: int = 1,
) -> BoxSet:
    """One part of a data set in the layout of PASCAL VOC, decoded into memory.

    Parameters
    ----------
    name
        A folder that holds ``VOCdevkit/VOC2007`` with ``JPEGImages``,
        ``Annotations`` and ``ImageSets/Main``, as
        ``torchvision.datasets.VOCDetection`` reads it. A bare name is looked
        for under :func:`prunekit.data.data_folder`.
    part
        A list in ``ImageSets/Main``: ``"train"``, ``"val"``, ``"trainval"``
        or ``"test"``.
    classes
        Those that are wanted, numbered from 1 in this order, any that the
        annotations name. Objects of others are left out, and pictures without
        any object stay.
    size
        Side in pixels to which pictures are squashed, whatever their shape.
    first_pixel
        The number of the first pixel. PASCAL VOC counts from 1, and the last
        pixel belongs to a box; 0 is for annotations in coordinates that
        begin with 0 at the edge, as newer programs write them.

    Notes
    -----
    PASCAL VOC 2007 itself is read from where torchvision unpacks it: after
    ``VOCDetection(folder, year="2007", image_set="trainval", download=True)``
    and the same with ``"test"``, ``load_voc(folder, "trainval")`` gives its
    5,011 pictures, 1.4 GB at 300 pixels.

    Raises
    ------
    FileNotFoundError
        The folder, the list, a picture or its annotation is missing.
    NotADirectoryError
        A file stands where the folder should.
    ValueError
        The list is empty, or a picture or annotation is damaged, or they do not
        belong together; the message names the file.
    """
    devkit = find_folder(name) / "VOCdevkit" / f"VOC{year}"
    listed = devkit / "ImageSets" / "Main" / f"{part}.txt"
    if not listed.is_file():
        raise FileNotFoundError(
            f"there is no list {listed}: a data set of boxes needs VOCdevkit/VOC{year} with "
            "ImageSets/Main, Annotations and JPEGImages"
        )
    numbers = listed.read_text("utf-8").split()
    if not numbers:
        raise ValueError(f"{listed} lists no picture")
    images = np.empty((len(numbers), size, size, 3), dtype=np.uint8)
    objects = []
    for place, number in enumerate(numbers):
        picture = devkit / "JPEGImages" / f"{number}.jpg"
        annotation = devkit / "Annotations" / f"{number}.xml"
        for path in (picture, annotation):
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing, and {listed} lists it")
        image = read_rgb(picture)
        objects.append(_objects(annotation, image.size, classes, first_pixel))
        images[place] = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    targets = torch.full((len(numbers), max(map(len, objects)), len(COLUMNS)), -1.0)
    for rows, found in zip(targets, objects, strict=True):
        rows[: len(found)] = torch.tensor(found).view(-1, len(COLUMNS))
    return BoxSet(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), targets)


def _objects(
    annotation: Path, size: tuple[int, int], classes: Sequence[str], first_pixel: int
) -> list[tuple[float, ...]]:
    """The objects of one picture, as rows of targets."""
    try:
        root = ET.parse(annotation).getroot()
        width, height = (int(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        found = [
            _object(element, (width, height), classes, first_pixel)
            for element in root.iter("object")
        ]
    except (ET.ParseError, ValueError) as error:
        raise ValueError(
            f"{annotation} is damaged, or no annotation of PASCAL VOC ({error}): replace it"
        ) from error
    if (width, height) != size:
        raise ValueError(
            f"{annotation} is of a picture of {width}x{height} pixels, and the "
            f"picture has {size[0]}x{size[1]}: one of the two was exchanged"
        )
    return [row for row in found if row[4]]


def _object(
    element: ET.Element, size: tuple[int, int], classes: Sequence[str], first_pixel: int
) -> tuple[float, ...]:
    name = element.findtext("name")
    keys = ("xmin", "ymin", "xmax", "ymax")
    x1, y1, x2, y2 = (float(element.findtext(f"bndbox/{key}", "")) for key in keys)
    (width, height), x1, y1 = size, x1 - first_pixel, y1 - first_pixel
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ValueError(f"the box of a {name} lies outside the picture or is turned around")
    label = classes.index(name) + 1 if name in classes else 0
    difficult = float(element.findtext("difficult", "0"))
    return x1 / width, y1 / height, x2 / width, y2 / height, label, difficult
