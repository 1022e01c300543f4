"""Archives from elsewhere, read without belief: nothing is written that is not asked for by name.

A tar's own headers are words of whoever wrote it. Here they are only compared
with what the manifest says, and never decide where a file goes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from prunekit.deploy import manifest as manifests
from prunekit.deploy.rules import short

ROOT = "bundle"
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
MEMBERS = 1000
#: All headers of an archive together: ours need 2 KiB for a member with a long name.
HEADER_BYTES = 4 << 20
CHUNK = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """An archive's file, to be read in passes.

    Raises
    ------
    ValueError
        Whatever is wrong with the file, if it is read in the block.
    """
    try:
        with path.open("rb") as file:
            yield file
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(str(error)) from error
    except RecursionError:  # the tar reader calls itself for a header before a header
        raise ValueError("it has too many headers in a row") from None


def survey(file: BinaryIO) -> tuple[dict[str, int], bytes]:
    """The size of every file in an archive, by its name within the bundle, and the manifest."""
    found, content = {}, None
    for name, size, chunks in _members(file):
        found[name] = size
        if name == MANIFEST:
            if size > manifests.MANIFEST_BYTES:
                raise ValueError(f"{name} has {size:,} bytes")
            content = b"".join(chunks)
    if content is None:
        raise ValueError(f"it has no {ROOT}/{MANIFEST}")
    return found, content


def compare(found: dict[str, int], manifest: dict, content: bytes) -> None:
    """Refuse an archive whose files are not those that the manifest lists, and the two fixed."""
    wanted = manifests.sizes(manifest) | {
        MANIFEST: len(content),
        SUMS: len(manifests.digests(manifest, content)),
    }
    strange, missing = found.keys() - wanted, wanted.keys() - found
    if strange:
        raise ValueError(f"it holds {min(strange)}, which its manifest does not list")
    if missing:
        raise ValueError(f"it has no {min(missing)}")
    changed = [n for n, size in wanted.items() if size is not None and found[n] != size]
    _refuse_changed(changed)


def extract(file: BinaryIO, manifest: dict, content: bytes, folder: Path) -> None:
    """Write the files of a surveyed archive, and compare each with its SHA-256."""
    sums = manifests.digests(manifest, content)
    wanted = manifest["files"] | {
        MANIFEST: hashlib.sha256(content).hexdigest(),
        SUMS: hashlib.sha256(sums).hexdigest(),
    }
    changed = []
    for name, _, chunks in _members(file):
        if name not in wanted:
            raise ValueError(f"it holds {name}, which its manifest does not list")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("xb") as copy:
            for chunk in chunks:
                digest.update(chunk)
                copy.write(chunk)
        if name.startswith("bin/"):
            target.chmod(0o755)
        if digest.hexdigest() != wanted.pop(name):
            changed.append(name)
    _refuse_changed([*changed, *wanted])


def pack(folder: Path, path: Path) -> None:
    """Write a bundle's folder as an archive."""
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, ROOT)


def _refuse_changed(names: list[str]) -> None:
    if names:
        raise ValueError(f"{', '.join(names)} changed since the bundle was written")


def _members(file: BinaryIO) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """The files in an archive one after another: plain, each once, no more than a bundle may hold.

    Each comes with its size and its content in pieces.
    """
    file.seek(0)
    names, folders, total, count = set(), set(), 0, 0
    with gzip.open(file) as unzipped, tarfile.open(fileobj=_Headers(unzipped), mode="r:") as stored:
        for member in stored:
            count, total = count + 1, total + member.size
            if count > MEMBERS:
                raise ValueError(f"it holds more than {MEMBERS} files and folders")
            top, _, name = member.name.partition("/")
            if member.isdir() and top == ROOT and member.size == 0:
                folders.add(name)
                continue
            plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.sparse is None
            if not plain or top != ROOT or not name or ".." in name.split("/"):
                raise ValueError(f"it holds {short(member.name)}")
            if name in names:
                raise ValueError(f"it holds {short(name)} twice")
            if not 0 <= member.size <= manifests.FILE_BYTES or total > manifests.TOTAL_BYTES:
                raise ValueError(f"{short(name)} has {member.size:,} bytes: that is too much")
            names.add(name)
            yield name, member.size, _chunks(unzipped, member.size)
    strange = folders - {str(parent) for n in names for parent in PurePosixPath(n).parents} - {""}
    if strange:
        raise ValueError(f"it holds the folder {short(min(strange))}, which is no file's")


def _chunks(file: gzip.GzipFile, size: int) -> Iterator[bytes]:
    while size:
        chunk = file.read(min(size, CHUNK))
        if not chunk:
            raise EOFError("it ends in the middle of a file")
        size -= len(chunk)
        yield chunk


class _Headers(io.RawIOBase):
    """The file as the tar reader sees it, for headers alone: once through, and not too much."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self.file, self.left = file, HEADER_BYTES

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or place < self.file.tell():
            raise tarfile.ReadError("a header points backwards")
        return self.file.seek(place)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.left:
            raise tarfile.ReadError(f"its headers have more than {HEADER_BYTES:,} bytes")
        self.left -= size
        return self.file.read(size)
