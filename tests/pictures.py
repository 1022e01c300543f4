"""Small folders of pictures for the tests of ``prunekit.data``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

NOBODY = 65534


def solid(path: Path, shade: int, size: tuple[int, int] = (48, 40)) -> Path:
    """A grey picture, and the folders on the way to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade,) * 3).save(path)
    return path


def pets(folder: Path, counts: Mapping[str, Mapping[str, int]] | None = None) -> Path:
    """Part, class and count; picture ``i`` of the class at position ``k`` has shade 100 k + i."""
    counts = counts or {"train": {"cat": 10, "dog": 10}, "test": {"cat": 4, "dog": 4}}
    for part, classes in counts.items():
        for position, (name, count) in enumerate(classes.items()):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                solid(folder / part / name / f"{index}.png", 100 * position + index)
    return folder


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Rights of files hold for everyone but root, as whom containers run tests."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
