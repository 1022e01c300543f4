"""Points for a notebook that was handed in.

    python -m prunekit.book.grading reference.ipynb handed_in.ipynb [more.ipynb ...]

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

from prunekit.book.student import CHECK, HIDDEN, is_tagged

SECONDS = 300  # for one cell


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
    replies: dict[int, dict[str, Any]] = {}

    def keep(cell: NotebookNode, cell_index: int, execute_reply: dict[str, Any]) -> None:
        replies[cell_index] = execute_reply["content"]

    client = NotebookClient(
        marked,
        timeout=seconds,
        interrupt_on_timeout=True,
        error_on_timeout={"ename": "TimeoutError", "evalue": f"took more than {seconds} s"},
        kernel_name="python3",
        allow_errors=True,
        on_cell_executed=keep,
        resources={"metadata": {"path": str(folder)}},
    )
    with contextlib.suppress(DeadKernelError):  # then the checks behind have no reply
        client.execute()
    rows = []
    for place, cell in enumerate(marked.cells):
        if is_tagged(cell, CHECK) or is_tagged(cell, HIDDEN):
            kind = CHECK if is_tagged(cell, CHECK) else HIDDEN
            said, of = _said(replies.get(place)), cell.metadata["points"]
            rows.append((cell.metadata["question"], kind, 0 if said else of, of, said))
    found = pd.DataFrame(rows, columns=["question", "kind", "points", "of", "said"])
    return found.sort_values("question", kind="stable", ignore_index=True)


def _said(reply: dict[str, Any] | None) -> str:
    """The error of a cell by the kernel's reply; nothing if it ran to its end."""
    if reply is None:
        return "the Python process ended before this, and left no message"
    if reply["status"] == "ok":
        return ""
    return f"{reply.get('ename', reply['status'])}: {reply.get('evalue', '')}"


def questions(reference: NotebookNode) -> dict[str, list[NotebookNode]]:
    """For each check of a reference, by its id, the check and what is hidden behind it.

    Raises
    ------
    ValueError
        There is no check, or one is hidden before the first.
    """
    checks: dict[str, list[NotebookNode]] = {}
    for cell in nbformat.from_dict(reference).cells:
        if is_tagged(cell, CHECK):
            checks[cell.id] = []
        if is_tagged(cell, CHECK) or is_tagged(cell, HIDDEN):
            if not checks:
                raise ValueError(f"the reference hides cell {cell.id} before its first check")
            checks[next(reversed(checks))].append(cell)
    if not checks:
        raise ValueError("the reference has no cell tagged check")
    return checks


def _with_checks_of(reference: NotebookNode, handed_in: NotebookNode) -> NotebookNode:
    """What was handed in, with each check, and what is hidden behind it, from the reference.

    No other cell has a tag, so that nobody's own cells pass for checks.
    """
    checks = questions(reference)
    for number, parts in enumerate(checks.values(), 1):
        for cell in parts:
            cell.metadata["question"] = number
    marked = nbformat.from_dict(handed_in)
    cells = []
    for cell in marked.cells:
        cell.metadata.pop("tags", None)
        # A second copy of a check stays what it is: a cell of the student's own.
        cells += checks.pop(_name(cell), [cell])
    if checks:
        raise ValueError(
            f"checks were removed from what was handed in ({', '.join(checks)}): put them back "
            "from the notebook that was given out"
        )
    marked.cells = cells
    return marked


def _name(cell: NotebookNode) -> str:
    """A cell's id, which Colab writes among the metadata."""
    return cell.get("id") or cell.metadata.get("id", "")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prunekit.book.grading",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("handed_in", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    not_graded = 0
    try:
        reference = nbformat.read(options.reference, as_version=4)
    except (OSError, ValueError) as error:
        sys.exit(f"prunekit.book.grading: {options.reference}: {error}")
    for path in options.handed_in:
        try:
            found = grade(reference, nbformat.read(path, as_version=4), path.resolve().parent)
        except (OSError, ValueError) as error:  # of this one: the others are graded all the same
            print(f"prunekit.book.grading: {path}: {error}", file=sys.stderr)
            not_graded += 1
            continue
        print(found.to_string(index=False))
        print(f"{path}: {found['points'].sum()} of {found['of'].sum()} points\n")
    if not_graded:
        sys.exit(f"prunekit.book.grading: {not_graded} of {len(options.handed_in)} not graded")


if __name__ == "__main__":
    main()
