"""From an image file of any kind to three 8-bit channels of one size."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".gif",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".tif",
    ".tiff",
)
# Pillow looks at the content, not at the suffix, and would hand PostScript to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262
BLACK_IS_ZERO = 1
_FULL_SCALE = {"L;2": 3, "L;4": 15}


def decode(path: str, size: int) -> np.ndarray:
    """The centre of an image, as a person sees it, as uint8 (size, size, 3).

    The largest square in the middle is resized to ``size`` (bilinear, over
    all pixels that fall together). The camera's orientation (EXIF) is
    applied. Of 16-bit samples the high byte is kept, in pixels and in a
    transparent colour. Transparent pixels are laid over white. Of several
    frames or pages the first is taken.

    Raises
    ------
    ValueError
        The file is damaged, or holds samples whose range nobody can know
        (floating point, 32-bit integers). The message names it.
    """
    image = read_rgb(path)
    if image.size != (size, size):
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        square = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=square)
    return np.asarray(image)


def read_rgb(path: str | os.PathLike) -> Image.Image:
    """The whole image, of its own size; what :func:`decode` says of orientation and samples holds.

    Raises
    ------
    ValueError
        As :func:`decode`.
    """
    try:
        with Image.open(path, formats=FORMATS) as stored:
            if isinstance(stored, PngImageFile) and "transparency" in stored.info:
                _scale_transparent_colour(stored)
            return _to_rgb(ImageOps.exif_transpose(stored), stored)
    except Exception as error:  # Damaged, a file makes decoders raise whatever they happen to.
        raise ValueError(
            f"{path} cannot be decoded as an image ({error}): remove or replace it"
        ) from error


def _to_rgb(image: Image.Image, stored: Image.Image) -> Image.Image:
    if stored.mode[0] in "IF":
        _refuse_unknown_range(stored)
        samples = np.asarray(image)
        grey = (samples >> 8).astype(np.uint8)
        if "transparency" in stored.info:
            grey[samples == stored.info["transparency"]] = 255
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _scale_transparent_colour(stored: PngImageFile) -> None:
    """Give it 8 bits, as Pillow gives the pixels it is compared with; it comes as in the file."""
    colour, ((_, _, _, raw_mode),) = stored.info["transparency"], stored.tile
    if raw_mode == "RGB;16B":
        stored.info["transparency"] = tuple(sample >> 8 for sample in colour)
    elif raw_mode in _FULL_SCALE:
        stored.info["transparency"] = colour * 255 // _FULL_SCALE[raw_mode]


def _refuse_unknown_range(stored: Image.Image) -> None:
    """Let pass what is known to reach from 0, black, to 65535, white."""
    if isinstance(stored, TiffImageFile):
        tags = stored.tag_v2
        form = tags.get(BITS_PER_SAMPLE), tags.get(PHOTOMETRIC)
        known = stored.mode.startswith("I;16") and form == ((16,), BLACK_IS_ZERO)
    else:
        known = stored.mode != "F"
    if not known:
        raise ValueError(
            f"its samples of mode {stored.mode} have no agreed range: save it with 8 or 16 bits"
        )
