"""Data sets by name or from a folder: found, decoded, split."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from safetensors import safe_open
from torchvision.datasets import CIFAR10, ImageFolder

from prunekit.data.loader import ImageSet
from prunekit.files import write_tensors

DIGITS_NOTICE = (
    "CIFAR-10 was not found: using scikit-learn's handwritten digits, resized to 32x32, instead. "
    "Set PRUNEKIT_DATA to a folder that holds CIFAR-10 to use it."
)


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test sets of one classification problem.

    ``notice`` is empty for the data that was asked for. For the stand-in it
    is a sentence that every output drawn from it must show.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    val: ImageSet
    test: ImageSet
    source: str
    notice: str = ""

    @property
    def is_stand_in(self) -> bool:
        return bool(self.notice)

    def fingerprint(self) -> str:
        """SHA-256 of all images and labels, to name the data of a recorded result."""
        digest = hashlib.sha256()
        for part in (self.train, self.val, self.test):
            digest.update(part.images.contiguous().numpy().tobytes())
            digest.update(part.labels.numpy().tobytes())
        return digest.hexdigest()


def data_folder() -> Path:
    """Where data sets are looked for: ``$PRUNEKIT_DATA``, else ``~/.cache/prunekit``."""
    return Path(os.environ.get("PRUNEKIT_DATA") or Path.home() / ".cache" / "prunekit").expanduser()


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
        ``"cifar10"``, ``"digits"``, or a folder in the layout
        ``train/<class>/*`` and ``test/<class>/*`` (``val/<class>/*`` is used
        if present). A bare name is looked for under :func:`data_folder`.
    size
        Side in pixels to which images of a folder are decoded (shorter side
        resized, centre cropped). CIFAR-10 and the digits are 32.
    val_fraction
        Share of each class's training images held out for validation.
        CIFAR-10 gives 45,000 and 5,000.
    download
        Whether torchvision may fetch CIFAR-10 when it is not found.
    stand_in
        Whether the digits may take the place of CIFAR-10 when it can neither
        be found nor fetched. The result's ``notice`` then says so.

    Raises
    ------
    FileNotFoundError
        The folder does not exist or has no ``train`` and ``test``.
    ValueError
        An image cannot be decoded; the message names the file.

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> digits.train.images.shape[1:], len(digits.classes)
    (torch.Size([3, 32, 32]), 10)
    """
    if str(name) == "digits":
        return _digits(val_fraction, seed)
    if str(name) == "cifar10":
        return _cifar10(val_fraction, seed, download=download, stand_in=stand_in)
    path = Path(name).expanduser()
    folder = path if path.is_dir() else data_folder() / name
    return _folder(folder, size, val_fraction, seed)


def split(images: ImageSet, val_fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Hold out the same share of every class, chosen by ``seed``.

    Returns
    -------
    (rest, held_out)

    Examples
    --------
    >>> ten = ImageSet(torch.zeros(10, 3, 2, 2, dtype=torch.uint8), torch.arange(10) % 2)
    >>> rest, held_out = split(ten, 0.2, seed=0)
    >>> sorted(held_out.labels.tolist())
    [0, 1]
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must lie between 0 and 1, not {val_fraction}")
    generator = torch.Generator().manual_seed(seed)
    held_out = []
    for label in images.labels.unique():
        members = (images.labels == label).nonzero().squeeze(1)
        count = max(1, round(len(members) * val_fraction))
        held_out.append(members[torch.randperm(len(members), generator=generator)[:count]])
    chosen = torch.zeros(len(images), dtype=torch.bool)
    chosen[torch.cat(held_out)] = True
    return images[~chosen], images[chosen]


def _cifar10(val_fraction: float, seed: int, *, download: bool, stand_in: bool) -> Dataset:
    root = data_folder()
    if (root / "cifar10" / "train").is_dir():
        return _folder(root / "cifar10", 32, val_fraction, seed)
    official = root / CIFAR10.base_folder
    if not official.is_dir() and download:
        try:
            CIFAR10(root, download=True)
        except (OSError, RuntimeError) as error:
            if not stand_in:
                raise FileNotFoundError(
                    f"CIFAR-10 is not under {root} and could not be downloaded ({error}). "
                    "Set PRUNEKIT_DATA to a folder that holds it."
                ) from error
    if official.is_dir():
        parts = [CIFAR10(root, train=train) for train in (True, False)]
        sets = [
            ImageSet(
                torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(),
                torch.tensor(part.targets),
            )
            for part in parts
        ]
        train, val = split(sets[0], val_fraction, seed)
        return Dataset("cifar10", tuple(parts[0].classes), train, val, sets[1], str(official))
    if not stand_in:
        raise FileNotFoundError(
            f"CIFAR-10 is not under {root}. Set PRUNEKIT_DATA to a folder that holds it."
        )
    return _digits(val_fraction, seed, notice=DIGITS_NOTICE)


def _digits(val_fraction: float, seed: int, notice: str = "") -> Dataset:
    from sklearn.datasets import load_digits

    raw = load_digits()
    grey = torch.from_numpy(raw.images).float().unsqueeze(1) / 16
    large = F.interpolate(grey, size=(32, 32), mode="bilinear").clamp(0, 1)
    everything = ImageSet(
        (large * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous(),
        torch.from_numpy(raw.target).long(),
    )
    rest, test = split(everything, 0.2, seed=0)
    train, val = split(rest, val_fraction, seed)
    classes = tuple(str(digit) for digit in range(10))
    return Dataset("digits", classes, train, val, test, "scikit-learn load_digits", notice)


def _folder(folder: Path, size: int, val_fraction: float, seed: int) -> Dataset:
    for part in ("train", "test"):
        if not (folder / part).is_dir():
            raise FileNotFoundError(
                f"{folder / part} is missing: a folder of images needs train/<class>/* "
                "and test/<class>/*"
            )
    train, classes = _decode_once(folder / "train", size)
    test, test_classes = _decode_once(folder / "test", size)
    if test_classes != classes:
        odd = sorted(set(classes) ^ set(test_classes))
        raise ValueError(f"{folder}: train and test differ in classes: {', '.join(odd)}")
    if (folder / "val").is_dir():
        val, _ = _decode_once(folder / "val", size)
    else:
        train, val = split(train, val_fraction, seed)
    return Dataset(folder.name, classes, train, val, test, str(folder))


def _decode_once(folder: Path, size: int) -> tuple[ImageSet, tuple[str, ...]]:
    """Decode a folder of class folders, or read what an earlier run decoded."""
    listing = ImageFolder(folder, allow_empty=True)
    key = _listing_key(folder, listing.imgs, size)
    cache = _cache_folder() / f"{folder.parent.name}-{folder.name}-{size}-{key[:16]}.safetensors"
    if not cache.is_file():
        images = np.empty((len(listing.imgs), size, size, 3), dtype=np.uint8)
        for row, (path, _) in enumerate(listing.imgs):
            images[row] = _decode(path, size)
        tensors = {
            "images": torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
            "labels": torch.tensor(listing.targets),
        }
        write_tensors(tensors, cache, {"classes": json.dumps(listing.classes)})
    with safe_open(cache, framework="pt") as stored:
        decoded = ImageSet(stored.get_tensor("images"), stored.get_tensor("labels"))
        return decoded, tuple(json.loads(stored.metadata()["classes"]))


def _decode(path: str, size: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            image = image.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} cannot be decoded as an image: remove or replace it") from error
    if image.size != (size, size):
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


def _listing_key(folder: Path, images: list[tuple[str, int]], size: int) -> str:
    """Changes whenever a file is added, removed, renamed or rewritten."""
    digest = hashlib.sha256(f"{folder.resolve()}:{size}".encode())
    for path, label in images:
        stat = Path(path).stat()
        digest.update(f"{path}:{label}:{stat.st_size}:{stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def _cache_folder() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prunekit-decoded"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
