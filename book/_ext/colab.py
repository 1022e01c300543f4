"""Give every chapter the cell it needs on Colab, where only the notebook itself is known."""

from __future__ import annotations

from pathlib import Path

import nbformat
import yaml

from prunekit.storage.files import replacing

ROOT = Path(__file__).resolve().parents[2]
ID = "on-colab"
CELL = """\
# On Colab, fetch the library and the recorded results. Elsewhere there is nothing to do.
import importlib.util
import sys

if importlib.util.find_spec("prunekit") is None:
    !git clone --quiet --depth 1 {url} book
    %pip install --quiet "./book[digits,plots]" jupyterquiz
    sys.path.insert(0, "book")"""


def source(root: Path = ROOT) -> str:
    """Return the cell's code, with the repository's address from _config.yml."""
    url = yaml.safe_load((root / "_config.yml").read_text())["repository"]["url"]
    return CELL.format(url=url)


def write(path: Path) -> None:
    """Put the cell before the notebook's first code cell, in place of an older one."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.id != ID]
    cell = nbformat.v4.new_code_cell(source(), id=ID, metadata={"tags": ["remove-cell"]})
    first = next(i for i, c in enumerate(notebook.cells) if c.cell_type == "code")
    notebook.cells.insert(first, cell)
    with replacing(path) as temporary:
        nbformat.write(notebook, temporary)


if __name__ == "__main__":
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        write(notebook)
