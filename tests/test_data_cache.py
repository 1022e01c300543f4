"""Decoded images on disk: used while they are those of the files, renewed otherwise."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch
from pictures import NOBODY, ordinary_user, pets, solid
from safetensors import safe_open
from safetensors.torch import save_file

from prunekit.data import folders, load_dataset


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prunekit-decoded"


@pytest.fixture
def folder(tmp_path, cache) -> Path:
    return pets(tmp_path / "pets", {"train": {"cat": 3, "dog": 3}, "test": {"cat": 2, "dog": 2}})


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the files that were decoded."""
    names, decode = [], folders.decode

    def noting(path, size):
        names.append(Path(path).name)
        return decode(path, size)

    monkeypatch.setattr(folders, "decode", noting)
    return names


def rewritten(change):
    """A spoiled cache that still is a well-formed file of tensors."""

    def spoil(path: Path, other: bytes) -> None:
        with safe_open(path, framework="pt") as stored:
            metadata, images = stored.metadata(), stored.get_tensor("images").clone()
        path.unlink()
        save_file({"images": change(images)}, path, metadata=metadata)

    return spoil


def flip_a_bit(path: Path, other: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)


SPOILS = {
    "empty": lambda path, other: path.write_bytes(b""),
    "cut": lambda path, other: os.truncate(path, path.stat().st_size - 100),
    "cut in the header": lambda path, other: os.truncate(path, 20),
    "garbage": lambda path, other: path.write_bytes(b"\xff" * 5000),
    "a bit": flip_a_bit,
    "other images": lambda path, other: path.write_bytes(other),
    "another shape": rewritten(lambda images: images[:, :, :4].contiguous()),
    "fewer images": rewritten(lambda images: images[1:].contiguous()),
    "floats": rewritten(lambda images: images.float()),
    "another layout": rewritten(lambda images: images.permute(0, 2, 3, 1).contiguous()),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_damaged_cache_is_noticed_and_written_anew(folder, cache, decoded, spoil):
    undamaged = load_dataset(folder, size=8)
    first, second = sorted(cache.iterdir())
    contents = first.read_bytes(), second.read_bytes()
    spoil(first, contents[1])
    spoil(second, contents[0])
    decoded.clear()
    for _ in range(2):
        assert load_dataset(folder, size=8).fingerprint() == undamaged.fingerprint()
        assert len(decoded) == 10
    assert sorted(cache.iterdir()) == [first, second]


def swap(folder: Path) -> None:
    """Two names, while size and time of each stay as they were."""
    one, two = folder / "train/cat/0.png", folder / "train/dog/0.png"
    one.rename(folder / "aside.png")
    two.rename(one)
    (folder / "aside.png").rename(two)


CHANGES = {
    "added": lambda folder: solid(folder / "train/cat/9.png", 9),
    "removed": lambda folder: (folder / "train/cat/0.png").unlink(),
    "renamed": lambda folder: (folder / "train/cat/0.png").rename(folder / "train/cat/a.png"),
    "moved": lambda folder: (folder / "train/cat/0.png").rename(folder / "train/dog/9.png"),
    "rewritten": lambda folder: solid(folder / "train/cat/0.png", 77),
    "swapped": swap,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_files_are_noticed_and_leave_no_second_cache(
    folder, cache, decoded, change, tmp_path, monkeypatch
):
    for path in folder.rglob("*.png"):
        os.utime(path, (0, 0))
    load_dataset(folder, size=8)
    before = sorted(cache.iterdir())
    decoded.clear()
    change(folder)
    loaded = load_dataset(folder, size=8)
    assert len(decoded) in (5, 6, 7)
    assert sorted(cache.iterdir()) == before
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert load_dataset(folder, size=8).fingerprint() == loaded.fingerprint()


def test_another_size_is_decoded_and_kept_beside(folder, cache, decoded):
    for size in (8, 12, 8, 12):
        assert load_dataset(folder, size=size).train.images.shape[2:] == (size, size)
    assert len(decoded) == 20
    assert len(list(cache.iterdir())) == 4


def test_a_folder_has_one_cache_by_whatever_path_it_is_reached(
    folder, decoded, tmp_path, monkeypatch
):
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    for path in (folder, "pets", "link", "./pets/../link"):
        load_dataset(path, size=8)
    assert len(decoded) == 10


def test_what_is_read_from_the_cache_can_be_changed_in_place(folder, cache):
    images = [load_dataset(folder, size=8).test.images for _ in range(2)]
    images[1].zero_()
    assert torch.equal(load_dataset(folder, size=8).test.images, images[0])


def test_a_file_in_place_of_the_cache_is_no_error(folder, tmp_path):
    (tmp_path / "cache").write_bytes(b"in the way")
    with pytest.warns(UserWarning, match=r"cannot be kept in .*XDG_CACHE_HOME"):
        assert len(load_dataset(folder, size=8).test) == 4


def test_a_cache_that_may_not_be_written_or_read_is_no_error(monkeypatch):
    with tempfile.TemporaryDirectory() as top:
        folder, cache = pets(Path(top) / "pets"), Path(top) / "cache" / "prunekit-decoded"
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
        load_dataset(folder, size=8)
        first, _ = sorted(cache.iterdir())
        first.chmod(0)
        for path in (top, cache.parent, cache, *cache.iterdir()):
            os.chown(path, NOBODY, -1)
        cache.chmod(0o555)
        with ordinary_user(), pytest.warns(UserWarning, match="cannot be kept") as warned:
            assert len(load_dataset(folder, size=8).test) == 8
        assert len(warned) == 1
        cache.chmod(0o755)


def test_loads_that_write_at_once_all_get_the_images(folder, cache, decoded, monkeypatch):
    together, write = Barrier(4), folders.write_tensors

    def write_together(*arguments):
        together.wait(60)
        write(*arguments)

    with monkeypatch.context() as patched, ThreadPoolExecutor(4) as pool:
        patched.setattr(folders, "write_tensors", write_together)
        loaded = list(pool.map(lambda _: load_dataset(folder, size=8).fingerprint(), range(4)))
    assert len(decoded) == 40
    assert set(loaded) == {load_dataset(folder, size=8).fingerprint()}
    assert len(decoded) == 40
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"] * 2
