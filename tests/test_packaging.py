"""What is installed, pinned and committed agrees with itself."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from datetime import date
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from torch import nn
from torchvision.models import resnet18

import prunekit
from prunekit.storage.fingerprints import describe

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
BOOK = re.sub(r"^https://github.com/([^/]+)/", r"https://\1.github.io/", REPOSITORY) + "/"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]
import colab  # noqa: E402
import environment  # noqa: E402
import frameworks  # noqa: E402


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
    assert {"matplotlib", "ipywidgets", "sklearn", "sphinx"} <= {*blocked}
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import prunekit"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_committed_notebooks_hold_no_outputs():
    assignments = (ROOT / "book/classroom/assignments").glob("*.ipynb")
    stored = map(str, [*NOTEBOOKS, *assignments])
    command = [sys.executable, "-m", "nbstripout", "--keep-id", "--verify", *stored]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"run `nbstripout --keep-id notebooks/*.ipynb`\n{done.stdout}"


def test_releases_that_cannot_all_be_asked_for_leave_the_table_before(tmp_path, monkeypatch):
    answers = {"tensorflow": ("9.9", date(2030, 1, 2))}
    monkeypatch.setattr(frameworks, "TABLE", tmp_path / "frameworks.csv")
    monkeypatch.setattr(frameworks, "newest", answers.__getitem__)
    frameworks.TABLE.write_text("as it was")
    with pytest.raises(KeyError, match="keras"):
        frameworks.main()
    assert frameworks.TABLE.read_text() == "as it was"
    monkeypatch.setattr(frameworks, "PACKAGES", {"TensorFlow": "tensorflow"})
    frameworks.main()
    written = frameworks.TABLE.read_text().splitlines()
    assert written == ["Project,Package,Version,Released", "TensorFlow,tensorflow,9.9,2030-01-02"]


def test_a_chapter_is_renamed_into_place(tmp_path):
    path = tmp_path / NOTEBOOKS[0].name
    path.write_bytes(NOTEBOOKS[0].read_bytes())
    other = tmp_path / "other"
    other.hardlink_to(path)
    colab.write(path)
    assert not path.samefile(other)
    assert nbformat.read(path, as_version=4) == nbformat.read(NOTEBOOKS[0], as_version=4)


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


def test_addresses_are_those_of_the_repository():
    """Where it is named beside _config.yml: a new home needs these changed too."""
    owner, name = REPOSITORY.removeprefix("https://github.com/").split("/")
    named = re.compile(rf"github(?:\.com)?/{owner}/{name}\b|{owner}\.github\.io/{name}\b")
    places = {
        path.relative_to(ROOT).as_posix()
        for path in committed_files()
        if path.suffix not in {".ipynb", ".png", ".safetensors"}
        and named.search(path.read_text(errors="replace"))
    }
    assert places == {
        ".github/ISSUE_TEMPLATE/config.yml",
        "CITATION.cff",
        "README.md",
        "_config.yml",
        "pyproject.toml",
    }


def test_project_urls_lead_to_the_repository_and_the_book():
    urls = PROJECT["urls"]
    assert set(urls) >= {"Documentation", "Source", "Issues", "Changelog"}
    for title, url in urls.items():
        expected = BOOK if title == "Documentation" else REPOSITORY
        assert url.startswith(expected), f"{title} = {url}"
    assert BOOK in (ROOT / "README.md").read_text("utf-8")


def test_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert (citation["repository-code"], citation["url"]) == (REPOSITORY, BOOK)
    assert [author["name"] for author in citation["authors"]] == [
        author["name"] for author in PROJECT["authors"]
    ]


def test_version_is_that_of_pyproject_and_unknown_where_nothing_is_installed(monkeypatch):
    assert prunekit.__version__ == PROJECT["version"]

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    with monkeypatch.context() as patch:
        patch.setattr(metadata, "version", absent)
        assert importlib.reload(prunekit).__version__ == "0+unknown"
    assert importlib.reload(prunekit).__version__ == PROJECT["version"]


def test_pre_commit_runs_what_the_tests_run_at_the_same_versions():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    pinned = {
        requirement.name: str(requirement.specifier).removeprefix("==")
        for requirement in map(Requirement, PROJECT["optional-dependencies"]["test"])
    }
    found = {}
    for repository in hooks:
        tool = repository["repo"].rpartition("/")[2].removesuffix("-pre-commit")
        found[tool] = repository["rev"].removeprefix("v")
    assert found == {tool: pinned[tool] for tool in ("ruff", "nbstripout", "codespell")}


def test_spelling():
    names = [str(path.relative_to(ROOT)) for path in committed_files()]
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *names], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_packages_count_as_installed_wherever_they_lie(tmp_path):
    """As with PYTHONPATH, or pip's --target beside a project's own code."""
    (tmp_path / "libs").symlink_to(sysconfig.get_paths()["purelib"])
    (tmp_path / "own.py").write_text("def double(x):\n    return 2 * x\n")
    program = (
        "import json, torch, own\n"
        "from torchvision.models import resnet18\n"
        "from prunekit.storage.fingerprints import describe\n"
        "assert 'libs' in torch.__file__\n"
        "print(json.dumps([describe(m, 'm') for m in (resnet18, torch.nn.ReLU(), own.double)]))"
    )
    path = os.pathsep.join(map(str, (tmp_path / "libs", tmp_path, ROOT)))
    found = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    function, relu, own = json.loads(found.stdout)
    assert function == describe(resnet18, "m")  # a name, and not a digest of code
    assert relu == describe(nn.ReLU(), "m")
    assert isinstance(function, str) and isinstance(own, dict)
