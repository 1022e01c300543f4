"""Data sets that go by a name: those that torchvision fetches, and scikit-learn's digits."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torchvision.datasets import CIFAR10, SVHN

from prunekit.data.images import ImageSet
from prunekit.data.splits import Dataset, split
from prunekit.extras import need

TEN_DIGITS = tuple(str(digit) for digit in range(10))


class Fetched(NamedTuple):
    """A data set of torchvision.

    Attributes
    ----------
    title : str
        What people call it.
    folder : str
        Where it lies in the data folder.
    files : tuple of str
        Without which it is not there yet.
    read : callable
        Called with the data folder and whether to download; gives the images
        to train on, those to test on, and the classes.
    """

    title: str
    folder: str
    files: tuple[str, ...]
    read: Callable[[Path, bool], tuple[ImageSet, ImageSet, tuple[str, ...]]]

    def is_in(self, root: Path) -> bool:
        place = root / self.folder
        return place.is_dir() and all((place / file).is_file() for file in self.files)


def _read_cifar10(root: Path, download: bool) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    parts = [CIFAR10(root, train=train, download=download) for train in (True, False)]
    train, test = (
        ImageSet(
            torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(),
            torch.tensor(part.targets),
        )
        for part in parts
    )
    return train, test, tuple(parts[0].classes)


def _read_svhn(root: Path, download: bool) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    train, test = (
        ImageSet(torch.from_numpy(part.data).contiguous(), torch.from_numpy(part.labels))
        for part in (SVHN(root / "svhn", which, download=download) for which in ("train", "test"))
    )
    return train, test, TEN_DIGITS


FETCHED = {
    "cifar10": Fetched("CIFAR-10", "cifar-10-batches-py", (), _read_cifar10),
    "svhn": Fetched("SVHN", "svhn", ("train_32x32.mat", "test_32x32.mat"), _read_svhn),
}
BUILT_IN = (*FETCHED, "digits")


def data_folder() -> Path:
    """Where data sets are looked for: ``$PRUNEKIT_DATA``, else ``~/.cache/prunekit``."""
    return Path(os.environ.get("PRUNEKIT_DATA") or Path.home() / ".cache" / "prunekit").expanduser()


def find_folder(name: str | Path, others: Sequence[str] = ()) -> Path:
    """The folder of that path or, for a bare name, of that name under the data folder.

    Parameters
    ----------
    others
        Names of data sets that would have done as well, for the error.
    """
    path = Path(name).expanduser()
    places = [path, data_folder() / path] if str(path) == path.name else [path]
    for place in places if str(name) else ():
        if place.is_dir():
            return place
    for place in places:
        if place.is_file():
            raise NotADirectoryError(f"{place} is a file: give a folder, unpacked")
    none_of = f"it is none of {', '.join(others)}, and " if others else ""
    raise FileNotFoundError(
        f"there is no data set {str(name)!r}: {none_of}there is no folder "
        f"{' or '.join(map(str, places))}. PRUNEKIT_DATA says where names are looked for"
    )


def fetched(
    name: str, val_fraction: float, seed: int, *, download: bool, stand_in: bool
) -> Dataset:
    """One of ``FETCHED`` from the data folder, downloaded if need be, or its stand-in."""
    wanted, root = FETCHED[name], data_folder()
    missing = f"{wanted.title} is not under {root}"
    remedy = f"PRUNEKIT_DATA to a folder that holds {wanted.title}"
    if not wanted.is_in(root) and download:
        try:
            wanted.read(root, True)
        except (OSError, RuntimeError) as error:
            if not stand_in:
                raise FileNotFoundError(
                    f"{missing} and could not be downloaded ({error}). Set {remedy}."
                ) from error
    if wanted.is_in(root):
        place = root / wanted.folder
        try:
            whole, test, classes = wanted.read(root, False)
        except RuntimeError as error:
            raise ValueError(
                f"{place} is damaged or incomplete: delete it, and {wanted.title} is downloaded "
                "anew"
            ) from error
        return Dataset(name, classes, *split(whole, val_fraction, seed), test, str(place))
    if not stand_in:
        raise FileNotFoundError(f"{missing}. Set {remedy}.")
    notice = (
        f"{wanted.title} was not found: using scikit-learn's handwritten digits, resized to 32x32, "
        f"instead. Set {remedy} to use it."
    )
    try:
        return digits(val_fraction, seed, notice)
    except ImportError as error:
        raise ImportError(
            f"{missing}, and the digits that would take its place cannot be loaded: {error}, or "
            f"set {remedy}"
        ) from error


def digits(val_fraction: float, seed: int, notice: str = "") -> Dataset:
    """scikit-learn's handwritten digits, in colour and four times as large."""
    raw = need("sklearn.datasets", "digits").load_digits()
    grey = torch.from_numpy(raw.images).float().unsqueeze(1) / 16
    large = F.interpolate(grey, size=(32, 32), mode="bilinear").clamp(0, 1)
    everything = ImageSet(
        (large * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous(),
        torch.from_numpy(raw.target).long(),
    )
    rest, test = split(everything, 0.2, seed=0)
    train, val = split(rest, val_fraction, seed)
    return Dataset("digits", TEN_DIGITS, train, val, test, "scikit-learn load_digits", notice)
