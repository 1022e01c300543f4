"""The wheel is the whole library: it works alone, in a folder with nothing of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that holds what the wheel installs, and nothing else."""
    source, wheels, site = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "site"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    unbuilt = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "prunekit", source / "prunekit", ignore=unbuilt)
    command = [sys.executable, "-c", BUILD, str(wheels)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def test_wheel_holds_all_files_of_the_package_and_no_others(installed):
    there = {
        path.relative_to(installed).as_posix()
        for path in installed.rglob("*")
        if path.is_file() and ".dist-info" not in path.parts[len(installed.parts)]
    }
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "prunekit").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == here
    assert "prunekit/py.typed" in there


def test_wheel_alone_prunes_stores_and_says_how_it_is_used(installed, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "wheel_tour.py")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    version, folder = done.stdout.splitlines()[0].split(" ", 1)
    assert Path(folder) == installed / "prunekit"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert version == project["version"]
    for program in ("prunekit.study", "prunekit.deploy"):
        assert f"usage: python -m {program}" in done.stdout
