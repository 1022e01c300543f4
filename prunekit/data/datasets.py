"""Data sets by name or from a folder: found, decoded, split."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import torch

from prunekit.checks import checked, flag, whole
from prunekit.data.folders import decode_once, images_by_part
from prunekit.data.images import ImageSet
from prunekit.data.named import BUILT_IN, data_folder, digits, fetched, find_folder
from prunekit.data.splits import SPLITTING, Dataset, split


@checked(size=partial(whole, least=1), **SPLITTING, download=flag, stand_in=flag)
def load_dataset(
    name: str | Path = "cifar10",
    *,
    size: int = 32,
    val_fraction: float = 0.1,
    seed: int = 0,
    download: bool = True,
    stand_in: bool = True,
) -> Dataset:
    """Load a data set by name, or any folder of images.

    Parameters
    ----------
    name
        ``"cifar10"``, ``"svhn"`` (the digits of house numbers, Netzer et al.
        2011, which no augmentation should mirror), ``"digits"``, or a folder
        in the layout
        ``train/<class>/*`` and ``test/<class>/*`` (``val/<class>/*`` is used
        if present). A bare name is looked for under :func:`data_folder`; a
        folder ``cifar10`` or ``svhn`` with ``train`` there goes before the data
        set of that name.
    size
        Side in pixels to which images of a folder are decoded: the largest
        square in the middle, resized. Data sets that go by a name are 32;
        a :class:`Loader` hands them out at other sizes.
    val_fraction
        Share of each class's training images held out for validation, at
        least one; at least one is left to train on. CIFAR-10 gives 45,000 and
        5,000.
    seed
        Which images these are.
    download
        Whether torchvision may fetch CIFAR-10 or SVHN when it is not found.
    stand_in
        Whether the digits may take the place of CIFAR-10 or SVHN when it can
        neither be found nor fetched. The result's ``notice`` then says so.

    Notes
    -----
    Classes are the folders in ``train``; those in ``val`` and ``test`` are
    matched by name, and may lack some. Images lie in class folders at any
    depth, as JPEG, PNG, WebP, BMP, GIF, TIFF, PPM, PGM or PBM. Hidden files and
    files that are no pictures are passed over.

    Images come out as a viewer shows them: rotated as the camera noted
    (EXIF), transparent pixels laid over white, the first of several frames.
    Samples of 16 bits keep the high byte; floating point and 32-bit integers
    are refused, since nobody can know what is white.

    Decoded images are kept in ``$XDG_CACHE_HOME/prunekit-decoded``, else
    ``~/.cache/prunekit-decoded``, and decoded again when a file changes.

    Raises
    ------
    FileNotFoundError
        The folder does not exist or has no ``train`` and ``test``; or the data
        set cannot be found or fetched, and must have no stand-in.
    ImportError
        The digits were asked for, or are to take the place of others, and
        scikit-learn is not installed (extra ``digits``).
    NotADirectoryError
        A file stands where a folder should.
    OSError
        A folder cannot be read.
    TypeError
        A setting is of the wrong type.
    ValueError
        A setting is out of range, the classes do not match, images lie in the
        wrong place or are too few, or one cannot be decoded; the message names
        the file or folder.

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> digits.train.images.shape[1:], len(digits.classes)
    (torch.Size([3, 32, 32]), 10)
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"name must be the name of a data set or a path, not {name!r}")
    if str(name) in BUILT_IN:
        if size != 32:
            raise ValueError(f"{name} is 32 pixels wide, not {size}: pass size to its Loader")
        if str(name) == "digits":
            return digits(val_fraction, seed)
        own = data_folder() / str(name)
        if not (own / "train").is_dir():
            return fetched(str(name), val_fraction, seed, download=download, stand_in=stand_in)
        name = own
    return _folder(find_folder(name, BUILT_IN), size, val_fraction, seed)


def load_for(name: str | Path, size: int, **options: Any) -> Dataset:
    """As :func:`load_dataset`, for loaders that hand out images of ``size`` pixels a side.

    A folder is decoded at that side: decoded smaller, its images would be
    enlarged and blurred.
    """
    return load_dataset(name, size=32 if str(name) in BUILT_IN else size, **options)


def _folder(folder: Path, size: int, val_fraction: float, seed: int) -> Dataset:
    found = images_by_part(folder)
    classes = tuple(found["train"])
    number = {name: label for label, name in enumerate(classes)}
    parts: dict[str, ImageSet] = {}
    for part, images in found.items():
        entries = [entry for of_class in images.values() for entry in of_class]
        labels = [number[name] for name, of_class in images.items() for _ in of_class]
        parts[part] = ImageSet(decode_once(entries, folder / part, size), torch.tensor(labels))
    if "val" not in parts:
        parts["train"], parts["val"] = split(parts["train"], val_fraction, seed)
    sets = parts["train"], parts["val"], parts["test"]
    return Dataset(folder.absolute().name, classes, *sets, str(folder))
