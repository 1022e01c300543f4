"""Scripts the pages need, fetched once so that the site loads nothing from elsewhere.

Sphinx points at a content delivery network by default. The packages below come from the npm
registry instead, are checked against the digests pinned here, and lie in the environment the book
is built with. No Node.js is needed.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

REGISTRY = "https://registry.npmjs.org"
FOLDER = Path(sys.prefix) / "share" / "prunekit-book"


@dataclass(frozen=True)
class Package:
    """One npm package: what to take from it (``files``, below ``root``) and where to put it."""

    name: str
    version: str
    sha512: str
    root: str
    files: tuple[str, ...]
    folder: str


PACKAGES = (
    Package(
        "mathjax",
        "3.2.2",
        "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
        "package/es5/",
        # SVG output needs no fonts, so equations are right even from file://. The rest serves
        # MathJax's own accessibility menu (speech in English, Nemeth braille).
        (
            "tex-svg.js",
            "a11y/*.js",
            "sre/mathmaps/base.json",
            "sre/mathmaps/en.json",
            "sre/mathmaps/nemeth.json",
        ),
        "mathjax",
    ),
    Package(
        "reveal.js",
        "5.2.1",
        "r7//6mIM5p34hFiDMvYfXgyjXqGRta+/psd9YtytsgRlrpRzFv4RbH76TXd2qD+7ZPZEbpBDhdRhJaFgfQ7zNQ==",
        "package/",
        (
            "dist/reset.css",
            "dist/reveal.css",
            "dist/reveal.js",
            "plugin/markdown/markdown.js",
            "plugin/math/math.js",
            "plugin/notes/notes.js",
        ),
        "reveal.js",
    ),
)


def ensure(folder: Path = FOLDER) -> Path:
    """Return a folder that holds every package, fetching those that are not there yet."""
    for package in PACKAGES:
        target = _place(package, folder)
        if not target.is_dir():
            print(f"Fetching {package.name} {package.version}", flush=True)
            _unpack(package, _download(package), target)
    return folder


def copy(site_static: Path, folder: Path = FOLDER) -> None:
    """Copy what was fetched into the site's folder of static files."""
    for package in PACKAGES:
        shutil.copytree(_place(package, folder), site_static / package.folder, dirs_exist_ok=True)


def _place(package: Package, folder: Path) -> Path:
    return folder / f"{package.name.rsplit('/')[-1]}-{package.version}"


def _download(package: Package) -> bytes:
    """Return the package's archive, or raise RuntimeError: out of reach, or not the pinned one."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY)
    stem = package.name.rsplit("/")[-1]
    url = f"{registry.rstrip('/')}/{package.name}/-/{stem}-{package.version}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            archive = response.read()
    except (urllib.error.URLError, TimeoutError) as error:
        # Behind a private registry only npm may know the address and the password.
        archive = _npm_pack(package, error)
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if digest != package.sha512:
        raise RuntimeError(f"{package.name} {package.version}: the archive is not the pinned one")
    return archive


def _npm_pack(package: Package, reason: Exception) -> bytes:
    what = f"{package.name}@{package.version}"
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError(
            f"cannot fetch {what} ({reason}); set NPM_CONFIG_REGISTRY to a registry within reach"
        ) from reason
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([npm, "pack", what, "--silent"], cwd=folder, check=True, timeout=120)
        return next(Path(folder).glob("*.tgz")).read_bytes()


def _unpack(package: Package, archive: bytes, target: Path) -> None:
    """Write the wanted files beside ``target`` and rename: a killed run leaves no half folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=target.parent) as scratch,
        tarfile.open(fileobj=io.BytesIO(archive)) as tar,
    ):
        made = Path(scratch) / "files"
        for member in tar.getmembers():
            name = member.name.removeprefix(package.root)
            if member.isfile() and any(_matches(name, pattern) for pattern in package.files):
                path = made / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tar.extractfile(member).read())
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another build was faster
                raise


def _matches(name: str, pattern: str) -> bool:
    """Match a path in the archive; a star does not cross folders."""
    return fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")


if __name__ == "__main__":
    print(ensure())
