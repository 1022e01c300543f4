"""The API pages say of every argument what it takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("sphinx", reason="pip install prunekit[book]")
ROOT = Path(__file__).resolve().parents[1]
EXTENSIONS = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.bibtex"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> str:
    """The pages by themselves, as text, with the book's settings for docstrings."""
    source, built = (tmp_path_factory.mktemp(name) for name in ("source", "built"))
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["sphinx"]["config"]
    about = ("autodoc_", "napoleon_", "maximum_signature")
    lines = [f"{name} = {value!r}\n" for name, value in config.items() if name.startswith(about)]
    lines += [f"extensions = {EXTENSIONS}\n", "bibtex_bibfiles = []\n"]
    lines += [f"import sys\nsys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"]
    lines += ["import prunekit_book\n", "def setup(app):\n"]
    connected = '"autodoc-process-docstring", prunekit_book.plain_returns, priority=400'
    lines += [f"    app.connect({connected})\n"]
    (source / "conf.py").write_text("".join(lines))
    pages = sorted((ROOT / "book").glob("api*.md"))
    for page in pages:
        shutil.copy(page, source)
    names = "\n".join(page.stem for page in pages)
    (source / "index.md").write_text(f"# Reference\n\n```{{toctree}}\n{names}\n```\n")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "text", source, built]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return "\n".join((built / f"{page.stem}.txt").read_text("utf-8") for page in pages)


def test_what_is_returned_stands_in_whole_sentences(reference):
    said = re.sub(r"\s+", " ", reference)
    assert 'Return value ]- DataFrame with the columns "layer" (in order of execution)' in said
    assert "Coupled filters share a group, and as their score the mean of theirs, or what" in said
    assert "``" not in said


def test_arguments_and_results_have_types(reference):
    """Also behind the decorator that checks them."""
    (signature,) = re.findall(r"^prunekit\.rank\(.*?^\).*?$", reference, re.MULTILINE | re.DOTALL)
    assert "   model: Module,\n   loader: Iterable[tuple[Any, ...]],\n" in signature
    assert "   batches: int | None = None,\n" in signature
    assert signature.endswith(") -> DataFrame")


def test_defaults_stand_as_they_are_written(reference):
    assert "= summed_cross_entropy,\n" in reference
    assert "<function" not in reference and " object at 0x" not in reference
