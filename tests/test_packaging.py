"""What is installed, pinned and committed agrees with itself."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import colab  # noqa: E402
import environment  # noqa: E402


def committed_files() -> list[Path]:
    """Every file git tracks (or all but built ones, where the checkout has no git)."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        built = {".venv", "_build", ".git"}
        return [
            p for p in ROOT.rglob("*") if p.is_file() and not built & {*p.relative_to(ROOT).parts}
        ]
    return [ROOT / name for name in listing if name and (ROOT / name).is_file()]


def test_environment_yml_agrees_with_pyproject():
    assert (ROOT / "environment.yml").read_text() == environment.environment(), (
        "run `make environment`"
    )


def test_environment_yml_lists_every_requirement():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    extras = [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
    for requirement in PROJECT["dependencies"] + extras:
        assert requirement in listed or requirement.startswith("prunekit[")


def test_constraints_pin_every_direct_requirement():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins: dict[str, list[Requirement]] = {}
    for line in lines:
        pins.setdefault(canonicalize_name(Requirement(line).name), []).append(Requirement(line))
    for requirement in map(Requirement, environment.requirements(PROJECT)):
        for pin in pins[canonicalize_name(requirement.name)]:
            (version,) = (s.version for s in pin.specifier)
            assert "+" not in version, f"{pin} shuts out other builds of the same version"
            assert requirement.specifier.contains(version), f"{pin} breaks {requirement}"


def test_library_imports_nothing_from_the_extras():
    needed = {canonicalize_name(Requirement(r).name) for r in PROJECT["dependencies"]}
    extra = {canonicalize_name(Requirement(r).name) for r in environment.requirements(PROJECT)}
    blocked = sorted(
        module
        for module, owners in metadata.packages_distributions().items()
        if {canonicalize_name(owner) for owner in owners} & (extra - needed)
    )
    assert "matplotlib" in blocked and "ipywidgets" in blocked and "sphinx" in blocked
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import prunekit"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_committed_notebooks_hold_no_outputs():
    command = [sys.executable, "-m", "nbstripout", "--keep-id", "--verify", *map(str, NOTEBOOKS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"run `nbstripout --keep-id notebooks/*.ipynb`\n{done.stdout}"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_chapter_opens_on_colab(notebook):
    code = [c for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code"]
    assert code[0].source == colab.source(), "run `make colab`"
    assert code[1].source == 'PROFILE = "quick"'
    assert "parameters" in code[1].metadata.tags


def test_no_path_of_a_machine_is_committed():
    mine = {str(ROOT), str(Path.home())} - {"/", "/root"}
    pattern = re.compile(
        "|".join([*map(re.escape, sorted(mine)), r"/(?:home|Users)/[a-z]\w*/", r"/root/\w"])
    )
    found = []
    for path in committed_files():
        if path == Path(__file__) or path.suffix in {".png", ".safetensors", ".webp"}:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert not found, "\n".join(found)


def test_ruff_finds_nothing():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_repository_name_stands_in_one_place():
    url = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    name = url.removeprefix("https://github.com/")
    pattern = re.compile(rf"github\.com/{re.escape(name)}\b|github/{re.escape(name)}\b")
    places = {
        path.relative_to(ROOT).as_posix()
        for path in committed_files()
        if path.suffix not in {".ipynb", ".png", ".safetensors"}
        and pattern.search(path.read_text(errors="replace"))
    }
    assert places == {"_config.yml"}
