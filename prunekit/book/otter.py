"""Assignments for otter-grader, from the same notebooks as :mod:`prunekit.book.student`.

    python -m prunekit.book.otter book/classroom/assignments _build/otter

Each assignment becomes a folder. Give out its ``student``: the notebook without
solutions, in which otter runs the checks, and beside it the checks that
students may see. Keep its ``autograder.zip``, which has the hidden checks too:
``otter run`` and ``otter grade`` give points by it. Needs the extra ``otter``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from pprint import pformat

import nbformat
from nbformat import NotebookNode

import prunekit
from prunekit.book.grading import questions
from prunekit.book.student import HIDDEN, for_students, is_tagged, read_notebook
from prunekit.extras import need

HEAD = """\
from otter.test_files import test_case

OK_FORMAT = False
name = {name!r}
"""
# Run among the notebook's own names, as a cell is: later checks use what earlier ones define.
CASE = """
SOURCE_{number} = {source}


@test_case(points={points}, hidden={hidden})
def case_{number}(env):
    exec(SOURCE_{number}, env)
"""


def checks_for_otter(reference: NotebookNode, *, hidden: bool) -> dict[str, str]:
    """The test files of an assignment, by the names of its questions: ``q1``, ``q2`` and so on.

    Parameters
    ----------
    hidden
        Whether they hold the hidden checks, each a case with its own points.

    Raises
    ------
    ValueError
        There is no check, or one is hidden before the first.
    SyntaxError
        A check is no plain Python, as with magics.
    """
    files = {}
    for question, checks in enumerate(questions(reference).values(), 1):
        files[f"q{question}"] = HEAD.format(name=f"q{question}")
        for number, cell in enumerate(checks, 1):
            compile(cell.source, cell.id, "exec")
            if hidden or not is_tagged(cell, HIDDEN):
                files[f"q{question}"] += CASE.format(
                    number=number,
                    source=pformat(cell.source, width=80),
                    points=cell.metadata["points"],
                    hidden=is_tagged(cell, HIDDEN),
                )
    return files


def notebook_for_otter(reference: NotebookNode) -> NotebookNode:
    """The notebook to be given out: no solutions, and otter's calls in place of the checks."""
    names = {check: f"q{number}" for number, check in enumerate(questions(reference), 1)}
    copy = for_students(reference)
    for cell in copy.cells:
        if cell.id in names:
            cell.source = f'grader.check("{names[cell.id]}")'
    start = "import otter\n\ngrader = otter.Notebook()"
    copy.cells.insert(0, nbformat.v4.new_code_cell(start, id="otter"))
    return copy


def write_for_otter(assignments: Path, folder: Path) -> list[Path]:
    """Write what otter-grader needs of each notebook of one folder into a new folder.

    Raises
    ------
    FileNotFoundError
        There is no notebook.
    FileExistsError
        ``folder`` is there already: it may hold somebody's work.
    ValueError
        A notebook cannot be given out. Nothing is written then.
    ImportError
        otter-grader is not installed.
    """
    found = sorted(assignments.glob("*.ipynb"))
    if not found:
        raise FileNotFoundError(f"{assignments} holds no notebook")
    if folder.exists():
        raise FileExistsError(f"{folder} exists, with work in it perhaps: choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        whole = Path(temporary) / folder.name
        for path in found:
            try:
                _write_one(read_notebook(path), whole / path.stem)
            except (SyntaxError, ValueError) as error:
                raise ValueError(f"{path} cannot be given out: {error}") from error
        whole.rename(folder)
    return [folder / path.stem for path in found]


def _write_one(reference: NotebookNode, folder: Path) -> None:
    student = folder / "student"
    _write_tests(checks_for_otter(reference, hidden=False), student / "tests")
    nbformat.write(notebook_for_otter(reference), student / f"{folder.name}.ipynb")
    with tempfile.TemporaryDirectory() as temporary:
        tests, needed = Path(temporary) / "tests", Path(temporary) / "requirements.txt"
        _write_tests(checks_for_otter(reference, hidden=True), tests)
        needed.write_text(f"prunekit[book]=={prunekit.__version__}\n", "utf-8")
        need("otter.generate", "otter").main(
            tests_dir=str(tests),
            output_path=str(folder / "autograder.zip"),
            requirements=str(needed),
            no_config=True,  # these two would be looked for where the command happens to run
            no_environment=True,
        )


def _write_tests(files: dict[str, str], folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, "utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prunekit.book.otter",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("assignments", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    try:
        written = write_for_otter(options.assignments, options.folder)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"prunekit.book.otter: {error}")
    print(f"{len(written)} assignments in {options.folder}")


if __name__ == "__main__":
    main()
