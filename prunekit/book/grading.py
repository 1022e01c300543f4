"""Points for notebooks that were handed in.

    python -m prunekit.book.grading reference.ipynb handed_in [more ...] [--table points.csv]

What was handed in are notebooks, or folders with notebooks in them.

An assignment is a notebook like a chapter, with solutions and checks
(:mod:`prunekit.book.student`). Behind a check may stand cells tagged
``hidden``, which students are not given. Checks and hidden cells have
``points`` in their metadata. A notebook is graded by running it, whatever
was added to it, with the reference's checks in place of its own: a check
that runs to its end has its points. That runs the student's code, so do it
where that may do no harm. It finds out mistakes, not somebody who sets out
to deceive it.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode

from prunekit.book.handed_in import as_text, files_in
from prunekit.book.student import CHECK, HIDDEN, is_tagged, read_notebook
from prunekit.storage.files import write_table

SECONDS = 300  # for one cell
LONGEST = 300  # characters of an error


class _Client(NotebookClient):
    """Keeps nothing that cells print or show: an endless ``print`` would fill the memory."""

    def process_message(
        self, msg: dict[str, Any], cell: NotebookNode, cell_index: int
    ) -> NotebookNode | None:
        if msg["msg_type"] != "status":  # which tells that a cell has ended
            return None
        return super().process_message(msg, cell, cell_index)


def grade(
    reference: NotebookNode, handed_in: NotebookNode, folder: Path, *, seconds: int = SECONDS
) -> pd.DataFrame:
    """Run what was handed in, and tell which checks of the reference it passes.

    Parameters
    ----------
    folder
        Where it runs.
    seconds
        How long a cell may take. Then it is interrupted, and the next one runs.

    Returns
    -------
    DataFrame with a row a check: ``question`` (by number, as the reference
    has them), ``kind`` (``check`` or ``hidden``), ``points``, ``of`` (the
    most there are) and ``said`` (the error, or nothing).

    Raises
    ------
    ValueError
        A check of the reference is not among what was handed in, so that one
        cannot know where it belongs; or the reference has none.
    """
    marked = _with_checks_of(reference, handed_in)
    errors: dict[int, str] = {}
    stuck = 0

    def keep(cell: NotebookNode, cell_index: int, execute_reply: dict[str, Any]) -> None:
        nonlocal stuck
        errors[cell_index] = _error(execute_reply["content"])
        # The kernel's own replies have a header. Where there is none, the cell was interrupted,
        # and who caught the interrupt would have every later cell wait as long, for nothing.
        ended = "header" in execute_reply or "iopub.status.idle" in cell.metadata["execution"]
        stuck = 0 if ended else stuck + 1
        if stuck == 2:
            raise DeadKernelError("two cells in a row could not be interrupted")

    client = _Client(
        marked,
        timeout=seconds,
        interrupt_on_timeout=True,
        error_on_timeout={"ename": "TimeoutError", "evalue": f"took more than {seconds} s"},
        kernel_name="python3",
        allow_errors=True,
        on_cell_executed=keep,
        resources={"metadata": {"path": str(folder)}},
    )
    with contextlib.suppress(DeadKernelError):  # then the cells behind have no reply
        client.execute()
    rows, own = [], ""
    for place, cell in enumerate(marked.cells):
        if not is_tagged(cell, CHECK) and not is_tagged(cell, HIDDEN):
            own = errors.get(place) or own
            continue
        said = errors.get(place, "the Python process ended before this, and left no message")
        if said.startswith("NameError") and own:
            said = f"{said} (a cell of the student's own failed before: {own})"
        kind, of = CHECK if is_tagged(cell, CHECK) else HIDDEN, cell.metadata["points"]
        rows.append((cell.metadata["question"], kind, 0 if said else of, of, said))
    found = pd.DataFrame(rows, columns=["question", "kind", "points", "of", "said"])
    return found.sort_values("question", kind="stable", ignore_index=True)


def _error(reply: dict[str, Any]) -> str:
    """The error of a cell by the kernel's reply; nothing if it ran to its end."""
    if reply["status"] == "ok":
        return ""
    said = f"{reply.get('ename', reply['status'])}: {reply.get('evalue', '')}"
    # A student's words: they may have no end, or tell a terminal what to do.
    return "".join(sign if sign.isprintable() else " " for sign in said[:LONGEST])


def questions(reference: NotebookNode) -> dict[str, list[NotebookNode]]:
    """For each check of a reference, by its id, the check and what is hidden behind it.

    Raises
    ------
    ValueError
        There is no check, one is hidden before the first, or one has no points.
    """
    checks: dict[str, list[NotebookNode]] = {}
    for cell in nbformat.from_dict(reference).cells:
        if is_tagged(cell, CHECK):
            checks[cell.id] = []
        if is_tagged(cell, CHECK) or is_tagged(cell, HIDDEN):
            if not checks:
                raise ValueError(f"the reference hides cell {cell.id} before its first check")
            if "points" not in cell.metadata:
                raise ValueError(f"the reference's check {cell.id} has no points in its metadata")
            checks[next(reversed(checks))].append(cell)
    if not checks:
        raise ValueError("the reference has no cell tagged check")
    return checks


def _with_checks_of(reference: NotebookNode, handed_in: NotebookNode) -> NotebookNode:
    """The code that was handed in, with the reference's checks and what is hidden behind them.

    Of other cells only the code is taken over, so that nobody's own cells pass for checks.
    """
    checks = questions(reference)
    for number, parts in enumerate(checks.values(), 1):
        for cell in parts:
            cell.metadata["question"] = number
    if not any(cell.cell_type == "code" for cell in handed_in.cells):
        raise ValueError("what was handed in has no code: look whether it was saved, and all of it")
    places = _places(checks, handed_in)
    if missing := checks.keys() - places.values():
        names = ", ".join(check for check in checks if check in missing)
        raise ValueError(
            f"no cell is found in the place of the checks {names}: put them back from the notebook "
            "that was given out. They were removed; or they were changed, and the notebook was "
            "saved by a program that does not keep the ids of cells"
        )
    cells = []
    for place, cell in enumerate(handed_in.cells):
        if place in places:
            cells += checks[places[place]]
        elif cell.cell_type == "code":
            cells.append(nbformat.v4.new_code_cell(cell.source))
    return nbformat.v4.new_notebook(cells=cells)


def _places(checks: dict[str, list[NotebookNode]], handed_in: NotebookNode) -> dict[int, str]:
    """The check that each place of a notebook is for: by a cell's id, else by what it says.

    A second copy of a check has no place: it stays what it is, a cell of the student's own.
    """
    names = [_name(cell) for cell in handed_in.cells]
    said = [
        None if name in checks else cell.source.split()
        for name, cell in zip(names, handed_in.cells, strict=True)
    ]
    places: dict[int, str] = {}
    for check, (first, *_) in checks.items():
        if check in names:
            places[names.index(check)] = check
        elif (source := first.source.split()) in said:
            place = said.index(source)
            said[place] = None  # another check that says the same has the next one
            places[place] = check
    return places


def _name(cell: NotebookNode) -> str:
    """A cell's id, which Colab writes among the metadata."""
    return str(cell.get("id") or cell.metadata.get("id", ""))


def _graded(reference: NotebookNode, path: Path) -> pd.DataFrame:
    if path.is_dir():
        raise ValueError("holds no notebook")
    return grade(reference, read_notebook(path), path.resolve().parent)


def _row(path: Path, found: pd.DataFrame) -> dict[str, Any]:
    """A row of the table of a class: points by question, their sum and the most there are."""
    by_question = found.groupby("question")["points"].sum()
    return {
        "notebook": as_text(str(path)),
        **{f"question {number}": points for number, points in by_question.items()},
        "points": found["points"].sum(),
        "of": found["of"].sum(),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prunekit.book.grading",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("handed_in", type=Path, nargs="+")
    parser.add_argument("--table", type=Path, help="a CSV file to write, with a row a notebook")
    options = parser.parse_args(arguments)
    try:
        reference = read_notebook(options.reference)
        questions(reference)
    except (OSError, ValueError) as error:
        sys.exit(f"prunekit.book.grading: {options.reference}: {error}")
    paths = [one for path in options.handed_in for one in files_in(path, ".ipynb") or [path]]
    rows, not_graded = [], 0
    for path in paths:
        try:
            found = _graded(reference, path)
        except (OSError, ValueError) as error:  # of this one: the others are graded all the same
            print(f"prunekit.book.grading: {path}: {error}", file=sys.stderr)
            rows.append({"notebook": as_text(str(path))})
            not_graded += 1
            continue
        rows.append(_row(path, found))
        print(found.to_string(index=False))
        print(f"{path}: {found['points'].sum()} of {found['of'].sum()} points\n")
    if options.table:
        # Where nothing was graded there stand no points, rather than decimal ones.
        write_table(pd.DataFrame(rows).convert_dtypes(), options.table)
    if not_graded:
        sys.exit(f"prunekit.book.grading: {not_graded} of {len(paths)} not graded")


if __name__ == "__main__":
    main()
