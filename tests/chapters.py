"""A chapter as it is tested, and what it put out as the site is to show it."""

from __future__ import annotations

import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

from prunekit.book.student import SOLUTION, is_tagged, stub

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book/_ext"))
import prunekit_book  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BUILD = "_build/smoke"
ADDED = "added for the test"
STOPPED = "stopped at what is to be built"


def with_stubs(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A chapter in which each solution has its stub before it, and a check that must stop there."""
    cells = []
    for cell, following in pairwise([*notebook.cells, None]):
        if is_tagged(cell, SOLUTION):
            check = textwrap.indent(following.source, "    ")
            guarded = f"try:\n{check}\nexcept NotImplementedError:\n    print({STOPPED!r})"
            cells += [
                nbformat.v4.new_code_cell(source, metadata={"tags": [ADDED]})
                for source in (stub(cell.source), guarded)
            ]
        cells.append(cell)
    return nbformat.from_dict({**notebook, "cells": cells})


def keep_for_the_site(notebook: Path, executed: nbformat.NotebookNode) -> None:
    """Put what a chapter's own cells gave into the cache that the site is built from."""
    chapter = prunekit_book.with_profile(nbformat.read(notebook, as_version=4), "smoke")
    own = [
        cell
        for cell in executed.cells
        if not is_tagged(cell, ADDED) and not is_tagged(cell, "injected-parameters")
    ]
    for cell, ran in zip(chapter.cells, own, strict=True):
        if cell.cell_type == "code":
            cell.outputs = ran.outputs
            cell.execution_count = ran.execution_count
    chapter.metadata = executed.metadata
    folder = prunekit_book.execution_cache(ROOT, ROOT / BUILD / "_build/html", "smoke")
    get_cache(folder).cache_notebook_bundle(
        CacheBundleIn(chapter, str(notebook)), check_validity=False, overwrite=True
    )
