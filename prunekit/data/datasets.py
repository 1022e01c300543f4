"""Data sets by name or from a folder: found, decoded, split."""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path

import torch
import torch.nn.functional as F
from torchvision.datasets import CIFAR10

from prunekit.data.folders import decode_once, images_by_part
from prunekit.data.images import ImageSet, refuse_unless_bool, sha256_of, whole
from prunekit.extras import need

BUILT_IN = ("cifar10", "digits")
DIGITS_NOTICE = (
    "CIFAR-10 was not found: using scikit-learn's handwritten digits, resized to 32x32, instead. "
    "Set PRUNEKIT_DATA to a folder that holds CIFAR-10 to use it."
)


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
        Side in pixels to which images of a folder are decoded: the largest
        square in the middle, resized. CIFAR-10 and the digits are 32; a
        :class:`Loader` hands them out at other sizes.
    val_fraction
        Share of each class's training images held out for validation, at
        least one; at least one is left to train on. CIFAR-10 gives 45,000 and
        5,000.
    download
        Whether torchvision may fetch CIFAR-10 when it is not found.
    stand_in
        Whether the digits may take the place of CIFAR-10 when it can neither
        be found nor fetched. The result's ``notice`` then says so.

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
        The folder does not exist or has no ``train`` and ``test``.
    ImportError
        The digits were asked for, or are to take the place of CIFAR-10, and
        scikit-learn is not installed (extra ``digits``).
    NotADirectoryError
        A file stands where a folder should.
    OSError
        A folder cannot be read.
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
    size = whole("size", size)
    _refuse_unless_splits(val_fraction, seed)
    for setting, value in (("download", download), ("stand_in", stand_in)):
        refuse_unless_bool(setting, value)
    if str(name) in BUILT_IN:
        if size != 32:
            raise ValueError(f"{name} is 32 pixels wide, not {size}: pass size to its Loader")
        if str(name) == "digits":
            return _digits(val_fraction, seed)
        return _cifar10(val_fraction, seed, download=download, stand_in=stand_in)
    return _folder(_find(name), size, val_fraction, seed)


def split(images: ImageSet, val_fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Hold out the same share of every class, chosen by ``seed``.

    Of each class at least one image is held out and at least one is left.

    Returns
    -------
    (rest, held_out)

    Raises
    ------
    ValueError
        There is nothing to split, or a single image of a class.

    Examples
    --------
    >>> ten = ImageSet(torch.zeros(10, 3, 2, 2, dtype=torch.uint8), torch.arange(10) % 2)
    >>> rest, held_out = split(ten, 0.2, seed=0)
    >>> sorted(held_out.labels.tolist())
    [0, 1]
    """
    _refuse_unless_splits(val_fraction, seed)
    if not len(images):
        raise ValueError("there are no images to split")
    generator = torch.Generator().manual_seed(int(seed))
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


def _refuse_unless_splits(val_fraction: float, seed: int) -> None:
    if not isinstance(val_fraction, Real) or not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must lie between 0 and 1, not {val_fraction!r}")
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise ValueError(f"seed must be a whole number, not {seed!r}")


def _find(name: str | Path) -> Path:
    """The folder of that path or, for a bare name, of that name under the data folder."""
    path = Path(name).expanduser()
    places = [path, data_folder() / path] if str(path) == path.name else [path]
    for place in places if str(name) else ():
        if place.is_dir():
            return place
    for place in places:
        if place.is_file():
            raise NotADirectoryError(f"{place} is a file: give a folder, unpacked")
    raise FileNotFoundError(
        f"there is no data set {str(name)!r}: it is none of {', '.join(BUILT_IN)}, and there is "
        f"no folder {' or '.join(map(str, places))}. PRUNEKIT_DATA says where names are looked for"
    )


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
        try:
            parts = [CIFAR10(root, train=train) for train in (True, False)]
        except RuntimeError as error:
            raise ValueError(
                f"{official} is damaged or incomplete: delete it, and CIFAR-10 is downloaded anew"
            ) from error
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
    try:
        return _digits(val_fraction, seed, notice=DIGITS_NOTICE)
    except ImportError as error:
        raise ImportError(
            f"CIFAR-10 is not under {root}, and the digits that would take its place cannot be "
            f"loaded: {error}, or set PRUNEKIT_DATA to a folder that holds CIFAR-10"
        ) from error


def _digits(val_fraction: float, seed: int, notice: str = "") -> Dataset:
    raw = need("sklearn.datasets", "digits").load_digits()
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
