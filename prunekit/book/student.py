"""Notebooks for a class, made from the chapters: what a learner is to build is taken out.

    python -m prunekit.book.student notebooks _build/student

An exercise of the grade *build it* is a cell tagged ``solution`` and, behind
it, one tagged ``check``. In a student's notebook the first holds the names,
arguments and docstrings of the solution, and no bodies; the second stays, and
says what is wrong as long as something is. Written solutions are left out,
and so are cells tagged ``hidden``, which only :mod:`prunekit.book.grading` runs.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from prunekit.storage.files import replacing

SOLUTION, CHECK, HIDDEN = "solution", "check", "hidden"
WRITTEN = re.compile(r"^(`{3,})\{solution\}.*?^\1\n?", re.MULTILINE | re.DOTALL)
TO_BUILD = ast.parse("raise NotImplementedError('yours to build')").body


def stub(solution: str) -> str:
    """What a student finds in place of a solution: imports, signatures and docstrings.

    Examples
    --------
    >>> print(stub("def twice(x):\\n    return 2 * x\\n\\nshown = twice(3)"))
    def twice(x):
        raise NotImplementedError('yours to build')
    """
    tree = ast.parse(solution)
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    tree.body = [_emptied(node) for node in tree.body if isinstance(node, kept)]
    return ast.unparse(tree)


def _emptied(node: ast.stmt) -> ast.stmt:
    if isinstance(node, ast.ClassDef):
        node.body = [_emptied(part) for part in node.body]
    elif isinstance(node, ast.FunctionDef):
        node.body = (node.body[:1] if ast.get_docstring(node) else []) + TO_BUILD
    return node


def is_tagged(cell: NotebookNode, tag: str) -> bool:
    """Whether a cell of a notebook has a tag."""
    return tag in cell.metadata.get("tags", ())


def read_notebook(path: Path) -> NotebookNode:
    """A notebook of whatever version from a file.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no notebook, or a damaged one.
    """
    text = path.read_bytes()
    try:
        # Some editors of Windows put a mark of the encoding first, which is no JSON.
        notebook = nbformat.reads(text.decode("utf-8-sig"), as_version=4)
        for cell in notebook.cells:
            (cell.cell_type + cell.source).encode()  # half of a character cannot be run
    except Exception as error:  # nbformat lets out whatever it stumbles on
        said, *_ = f"{type(error).__name__}: {error}".splitlines()
        raise ValueError(f"this is no notebook, or a damaged one ({said})") from error
    return notebook


def for_students(notebook: NotebookNode) -> NotebookNode:
    """A copy of a chapter with stubs in place of its solutions, and no outputs."""
    copy = nbformat.from_dict(notebook)
    copy.cells = [cell for cell in copy.cells if not is_tagged(cell, HIDDEN)]
    for cell in copy.cells:
        if is_tagged(cell, SOLUTION):
            cell.source = stub(cell.source)
            cell.metadata["tags"] = [tag for tag in cell.metadata.tags if tag != "hide-input"]
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = WRITTEN.sub("", cell.source)
    return copy


def write_for_students(notebooks: Path, folder: Path) -> list[Path]:
    """Write a student's version of each notebook of one folder into another.

    Raises
    ------
    FileNotFoundError
        There is no notebook.
    FileExistsError
        One of them is in ``folder`` already: it may hold a student's work.
    ValueError
        One of them is no notebook, or a solution is no plain Python, as with
        magics. Nothing is written then.
    """
    chapters = sorted(notebooks.glob("*.ipynb"))
    if not chapters:
        raise FileNotFoundError(f"{notebooks} holds no notebook")
    written = [folder / chapter.name for chapter in chapters]
    if there := [path for path in written if path.exists()]:
        raise FileExistsError(f"{there[0]} exists, with work in it perhaps: choose another folder")
    copies = [_read_for_students(chapter) for chapter in chapters]
    for copy, path in zip(copies, written, strict=True):
        with replacing(path) as temporary:
            nbformat.write(copy, temporary)
    return written


def _read_for_students(chapter: Path) -> NotebookNode:
    try:
        return for_students(read_notebook(chapter))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{chapter} cannot be given out: {error}") from error


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prunekit.book.student",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebooks", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    try:
        written = write_for_students(options.notebooks, options.folder)
    except (OSError, ValueError) as error:
        sys.exit(f"prunekit.book.student: {error}")
    print(f"{len(written)} notebooks in {options.folder}")


if __name__ == "__main__":
    main()
