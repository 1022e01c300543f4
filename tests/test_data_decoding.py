"""What becomes of an image file: orientation, depth, colour, transparency, damage."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import solid
from PIL import EpsImagePlugin, Image

from prunekit.data.decoding import decode

STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
DEEP = np.array([[0, 255, 256, 4095], [32768, 40000, 65280, 65535]] * 2, dtype=np.uint16)
HIGH_BYTES = np.stack([DEEP >> 8] * 3, axis=-1)


def upright() -> Image.Image:
    """A corner of each colour."""
    picture = Image.new("RGB", (16, 16), "black")
    for colour, corner in (("red", (0, 0)), ("lime", (8, 0)), ("blue", (0, 8))):
        picture.paste(colour, (*corner, corner[0] + 8, corner[1] + 8))
    return picture


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_a_picture_stands_as_the_camera_was_held(tmp_path, suffix, orientation):
    turn = STORED_AS[orientation]
    stored = upright() if turn is None else upright().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    lossless = {"lossless": True} if suffix == "webp" else {}
    stored.save(path, exif=exif, **lossless)
    differences = np.abs(decode(str(path), 16).astype(int) - np.asarray(upright()))
    assert differences.mean() < 16


def png(
    samples: np.ndarray, colour_type: int, depth: int = 16, transparent: tuple[int, ...] = ()
) -> bytes:
    """A PNG of a depth and with a transparent colour as Pillow does not write them."""
    height, width = samples.shape[:2]
    bits = np.unpackbits(samples.astype(">u2").reshape(height, -1, 1).view(np.uint8), axis=-1)
    rows = np.packbits(bits[..., 16 - depth :].reshape(height, -1), axis=1)
    clear = {b"tRNS": struct.pack(f">{len(transparent)}H", *transparent)} if transparent else {}
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0),
        **clear,
        b"IDAT": zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)),
        b"IEND": b"",
    }
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_16_bits_become_the_high_byte_in_grey_as_in_colour(tmp_path):
    (tmp_path / "grey.png").write_bytes(png(DEEP, 0))
    (tmp_path / "colour.png").write_bytes(png(np.stack([DEEP] * 3, axis=-1), 2))
    (tmp_path / "deep.pgm").write_bytes(b"P5 4 4 65535\n" + DEEP.astype(">u2").tobytes())
    Image.fromarray(DEEP).save(tmp_path / "little.tif")
    Image.fromarray(DEEP.astype(">u2")).save(tmp_path / "big.tiff")
    Image.fromarray(DEEP).save(tmp_path / "packed.tif", compression="tiff_lzw")
    for path in tmp_path.iterdir():
        assert np.array_equal(decode(str(path), 4), HIGH_BYTES), path.name


def floats(path: Path) -> None:
    Image.fromarray(DEEP.astype(np.float32) / 65535).save(path)


def long_integers(path: Path) -> None:
    Image.fromarray(DEEP.astype(np.int32)).save(path)


def white_is_zero(path: Path) -> None:
    Image.fromarray(DEEP).save(path, tiffinfo={262: 0})


def floats_named_ppm(path: Path) -> None:
    path.with_suffix(".ppm").write_bytes(b"Pf\n4 4\n-1.0\n" + DEEP.astype("<f4").tobytes())


@pytest.mark.parametrize("write", [floats, long_integers, white_is_zero, floats_named_ppm])
def test_samples_whose_range_nobody_knows_are_refused_by_name(tmp_path, write):
    write(tmp_path / "odd.tif")
    (path,) = tmp_path.iterdir()
    with pytest.raises(ValueError, match=rf"{path.name} cannot .* no agreed range: save it with 8"):
        decode(str(path), 4)


HALF_RED = (255, 0, 0, 128)


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("1", 1, "png", (255, 255, 255)),
        ("L", 90, "png", (90, 90, 90)),
        ("L", 90, "pgm", (90, 90, 90)),
        ("1", 0, "pbm", (0, 0, 0)),
        ("RGB", (10, 20, 30), "bmp", (10, 20, 30)),
        ("CMYK", (0, 255, 255, 0), "jpg", (254, 0, 0)),
        ("CMYK", (0, 0, 0, 255), "tif", (0, 0, 0)),
        ("YCbCr", (128, 128, 128), "jpg", (128, 128, 128)),
        ("LA", (0, 255), "png", (0, 0, 0)),
        ("LA", (0, 0), "png", (255, 255, 255)),
        ("RGBA", HALF_RED, "png", (255, 127, 127)),
        ("RGBA", HALF_RED, "tif", (255, 127, 127)),
        ("RGBA", (9, 9, 9, 0), "webp", (255, 255, 255)),
    ],
)
def test_every_kind_of_colour_comes_out_as_a_viewer_shows_it(
    tmp_path, mode, colour, suffix, expected
):
    path = tmp_path / f"one.{suffix}"
    lossless = {"lossless": True} if suffix == "webp" else {}
    Image.new(mode, (8, 8), colour).save(path, **lossless)
    assert np.abs(decode(str(path), 8).astype(int) - expected).max() <= 1


def test_a_transparent_palette_entry_or_colour_is_white(tmp_path):
    palette = Image.new("P", (4, 2), 1)
    palette.putpalette([0, 0, 0, 0, 0, 200])
    palette.paste(0, (0, 0, 2, 2))
    keyed = palette.convert("RGB")
    palette.save(tmp_path / "palette.png", transparency=0)
    palette.save(tmp_path / "palette.gif", transparency=0)
    keyed.save(tmp_path / "keyed.png", transparency=(0, 0, 0))
    for path in tmp_path.iterdir():
        assert decode(str(path), 2).tolist() == [[[255] * 3, [0, 0, 200]]] * 2, path.name


@pytest.mark.parametrize(
    ("depth", "clear", "shown"),
    [
        *((16, 0, {0: 255, 25_600: 100}), (16, 300, {300: 255, 301: 1})),
        *((8, 9, {9: 255, 10: 10}), (4, 9, {9: 255, 10: 170}), (2, 1, {1: 255, 2: 170})),
        *((1, 0, {0: 255, 1: 255}), (1, 1, {0: 0, 1: 255})),
    ],
)
def test_a_transparent_grey_of_any_depth_is_white(tmp_path, depth, clear, shown):
    (tmp_path / "keyed.png").write_bytes(png(np.array([list(shown)] * 2), 0, depth, (clear,)))
    assert decode(str(tmp_path / "keyed.png"), 2)[..., 0].tolist() == [list(shown.values())] * 2


def test_a_transparent_colour_of_16_bits_is_white(tmp_path):
    colours = np.array([[(5000, 6000, 7000), (9000, 6000, 7000)]] * 2)
    (tmp_path / "keyed.png").write_bytes(png(colours, 2, 16, (5000, 6000, 7000)))
    assert decode(str(tmp_path / "keyed.png"), 2)[0].tolist() == [[255] * 3, [35, 23, 27]]


def test_of_several_frames_the_first_is_taken(tmp_path):
    frames = [Image.new("L", (4, 4), shade) for shade in (50, 200)]
    for name in ("film.gif", "pages.tif", "film.webp", "film.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert np.abs(decode(str(tmp_path / name), 4).astype(int) - 50).max() < 4, name


@pytest.mark.parametrize("size", [(40, 24), (24, 40), (3, 2), (1, 60_000)])
def test_the_square_in_the_middle_is_kept(tmp_path, size):
    """A strip must not be enlarged as a whole before it is cut: that takes gigabytes."""
    side, (width, height) = min(size), size
    picture = Image.new("RGB", size, "white")
    left, top = (width - side) // 2, (height - side) // 2
    picture.paste("green", (max(left - 1, 0), max(top - 1, 0), left + side + 2, top + side + 2))
    picture.save(tmp_path / "long.png")
    pixels = decode(str(tmp_path / "long.png"), 64)
    assert pixels.shape == (64, 64, 3)
    assert (pixels == (0, 128, 0)).all()


FORMATS = ("jpg", "png", "webp", "bmp", "gif", "ppm", "tif")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_truncated_file_is_named(tmp_path, suffix):
    path = solid(tmp_path / f"half.{suffix}", 90)
    whole = path.read_bytes()
    for length in (0, 4, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"half\.{suffix} cannot be decoded"):
            decode(str(path), 8)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_damaged_file_is_named_or_still_a_picture(tmp_path, suffix):
    generator = random.Random(0)
    path = tmp_path / f"damaged.{suffix}"
    upright().save(path)
    whole = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 6)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            assert decode(str(path), 8).shape == (8, 8, 3)
        except ValueError as error:
            assert str(error).startswith(f"{path} cannot be decoded")


def test_a_picture_too_large_for_pillow_is_named(tmp_path, monkeypatch):
    path = solid(tmp_path / "huge.png", 90)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"huge\.png cannot be decoded .*exceeds limit"):
        decode(str(path), 8)


def test_postscript_that_calls_itself_a_photograph_runs_no_program(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: ran.append(True))
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(ValueError, match=r"photo\.jpg cannot be decoded"):
        decode(str(path), 8)
    assert not ran
