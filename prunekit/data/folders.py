"""Folders of images, one for each class: listed, decoded once, kept in a cache."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from prunekit.data.decoding import SUFFIXES, decode
from prunekit.data.images import sha256_of
from prunekit.storage.files import write_tensors

# Pictures that would silently be missing; files that are no pictures are left alone.
NOT_READ = (".avif", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".psd", ".svg", ".tga")
# What operating systems leave behind, beside hidden files.
LITTER = ("thumbs.db", "desktop.ini", "__macosx", "@eadir")
OTHER_NAMES_OF_VAL = ("valid", "validation")
DECODING = 3  # To be raised with every change of what `decode` makes of a file.


def images_by_part(folder: Path) -> dict[str, dict[str, list[os.DirEntry]]]:
    """The images of train, of val if there is one, and of test, by class.

    Raises
    ------
    FileNotFoundError
        ``train`` or ``test`` is missing.
    ValueError
        There are too few classes or images, or a part has a class that
        ``train`` lacks.
    """
    for part in ("train", "test"):
        if not (folder / part).exists():
            raise FileNotFoundError(
                f"{folder / part} is missing: a folder of images needs train/<class>/* "
                "and test/<class>/*"
            )
    parts = [part for part in ("train", "val", "test") if (folder / part).exists()]
    for other in OTHER_NAMES_OF_VAL:
        if "val" not in parts and (folder / other).is_dir():
            raise ValueError(f"{folder / other} would not be used: rename it to val")
    found = {part: images_by_class(folder / part) for part in parts}
    _refuse_too_few(folder / "train", found["train"], least=1 if "val" in parts else 2)
    for part in parts[1:]:
        strange = found[part].keys() - found["train"].keys()
        if strange:
            raise ValueError(
                f"{folder / part} has classes that train lacks: {', '.join(sorted(strange))}. "
                f"Those of train are {', '.join(found['train'])}"
            )
        if not any(found[part].values()):
            raise ValueError(f"{folder / part} holds no images: put some in {part}/<class>/")
    return found


def _refuse_too_few(train: Path, found: dict[str, list[os.DirEntry]], least: int) -> None:
    if len(found) < 2:
        raise ValueError(
            f"{train} has {f'the single class {min(found)}' if found else 'no classes'}: "
            "give at least two, each a folder train/<class>/*"
        )
    for name, images in found.items():
        if not images:
            raise ValueError(f"{train / name} holds no images: add some or remove the folder")
        if len(images) < least:
            raise ValueError(
                f"{train / name} holds a single image, and one of each class is held out for "
                "validation: add another, or a folder val beside train"
            )


def images_by_class(folder: Path) -> dict[str, list[os.DirEntry]]:
    """The image files below each class folder of a part, in the order of their names.

    Hidden files and folders are passed over, as is what is no picture by its
    suffix. Names of classes are compared as they read: a letter with an accent
    is the same in one code point or two.

    Raises
    ------
    ValueError
        An image lies outside the class folders, is of a kind that is not
        read, or is no file; or a folder links to one above it.
    OSError
        A folder cannot be read, or a file stands in its place.
    """
    found: dict[str, list[os.DirEntry]] = {}
    for entry in _entries(folder):
        if entry.is_dir():
            name = unicodedata.normalize("NFC", entry.name)
            found.setdefault(name, []).extend(
                _images_below(entry.path, (os.path.realpath(folder),))
            )
        elif _is_image(entry):
            raise ValueError(f"{entry.path} lies in no class folder: move it to {folder}/<class>/")
    return dict(sorted(found.items()))


def _images_below(folder: str, above: tuple[str, ...]) -> list[os.DirEntry]:
    here = os.path.realpath(folder)
    if here in above:
        raise ValueError(f"{folder} links to a folder that holds it: remove the link")
    images = []
    for entry in _entries(folder):
        if entry.is_dir():
            images += _images_below(entry.path, (*above, here))
        elif _is_image(entry):
            images.append(entry)
    return images


def _entries(folder: str | Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        seen = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in LITTER]
    return sorted(seen, key=lambda entry: entry.name)


def _is_image(entry: os.DirEntry) -> bool:
    name = entry.name.lower()
    if name.endswith(NOT_READ):
        raise ValueError(f"{entry.path} is of a kind that is not read: save it as PNG or JPEG")
    if name.endswith(SUFFIXES) and not entry.is_file():
        raise ValueError(f"{entry.path} is no file, or a link to none: remove it")
    return name.endswith(SUFFIXES)


def decode_once(entries: list[os.DirEntry], folder: Path, size: int) -> Tensor:
    """Decode files of a folder, or read what an earlier run decoded.

    The cache holds one file for each folder and size. It is used if the files
    are the same by name, size and times and the pixels are as they were
    written; otherwise the images are decoded again and it is replaced. Where
    it cannot be written a warning says so.

    Returns
    -------
    uint8 tensor of shape (len(entries), 3, size, size)
    """
    place = hashlib.sha256(os.fsencode(f"{os.path.realpath(folder)}:{size}")).hexdigest()
    cache = _cache_folder() / f"{place[:32]}.safetensors"
    listing = _digest(entries, folder)
    images = _read(cache, listing, (len(entries), 3, size, size))
    if images is None:
        pixels = np.empty((len(entries), 3, size, size), dtype=np.uint8)
        for row, entry in enumerate(entries):
            pixels[row] = decode(entry.path, size).transpose(2, 0, 1)
        images = torch.from_numpy(pixels)
        metadata = {"listing": listing, "sha256": sha256_of(images)}
        try:
            write_tensors({"images": images}, cache, metadata)
        except (OSError, SafetensorError) as error:
            warnings.warn(
                f"decoded images cannot be kept in {cache.parent} ({error}): they are decoded "
                "again each time. XDG_CACHE_HOME names another place.",
                stacklevel=4,
            )
    return images


def _read(cache: Path, listing: str, shape: tuple[int, ...]) -> Tensor | None:
    """What the cache holds, if it is whole and of these files."""
    try:
        with safe_open(cache, framework="pt") as stored:
            metadata = stored.metadata() or {}
            if metadata.get("listing") != listing:
                return None
            images = stored.get_tensor("images")
    except (OSError, SafetensorError):  # Missing, unreadable or damaged: all are made good alike.
        return None
    whole = images.shape == shape and metadata.get("sha256") == sha256_of(images)
    return images if whole and images.dtype == torch.uint8 else None


def _digest(entries: list[os.DirEntry], folder: Path) -> str:
    """Changes whenever a file is added, removed, renamed or rewritten."""
    digest = hashlib.sha256(f"decoding {DECODING}".encode())
    for entry in entries:
        stat = entry.stat()
        # The time of the last change of a name or of rights also tells of files that were swapped.
        stamp = f"\0{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\0"
        digest.update(os.fsencode(entry.path.removeprefix(str(folder))) + stamp.encode())
    return digest.hexdigest()


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prunekit-decoded"
