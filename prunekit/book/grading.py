"""Points for a notebook that was handed in.

    python -m prunekit.book.grading reference.ipynb handed_in.ipynb [more.ipynb ...]

An assignment is a notebook like a chapter, with solutions and checks
(:mod:`prunekit.book.student`). Behind a check may stand cells tagged
``hidden``, which students are not given. Checks and hidden cells have
``points`` in their metadata. A notebook is graded by running it, whatever
was added to it, with the reference's checks in place of its own: a check
that raises nothing has its points. That runs the student's code, so do it
where that may do no harm.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nbformat
import pandas as pd
from nbclient import NotebookClient
from nbformat import NotebookNode

from prunekit.book.student import CHECK, HIDDEN, is_tagged

SECONDS = 300  # for one cell


def grade(reference: NotebookNode, handed_in: NotebookNode, folder: Path) -> pd.DataFrame:
    """Run what was handed in, and tell which checks of the reference it passes.

    Parameters
    ----------
    folder
        Where it runs.

    Returns
    -------
    DataFrame with a row a check: ``question`` (by number), ``kind`` (``check``
    or ``hidden``), ``points``, ``of`` (the most there are) and ``said`` (the
    error, or nothing).

    Raises
    ------
    ValueError
        A check of the reference is not among what was handed in, so that one
        cannot know where it belongs.
    """
    marked = _with_checks_of(reference, handed_in)
    NotebookClient(
        marked,
        timeout=SECONDS,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    rows, question = [], 0
    for cell in marked.cells:
        question += is_tagged(cell, CHECK)
        if not (is_tagged(cell, CHECK) or is_tagged(cell, HIDDEN)):
            continue
        said = [f"{o.ename}: {o.evalue}" for o in cell.outputs if o.output_type == "error"]
        of = cell.metadata["points"]
        kind = CHECK if is_tagged(cell, CHECK) else HIDDEN
        rows.append((question, kind, 0 if said else of, of, "".join(said)))
    return pd.DataFrame(rows, columns=["question", "kind", "points", "of", "said"])


def _with_checks_of(reference: NotebookNode, handed_in: NotebookNode) -> NotebookNode:
    """What was handed in, with each check, and what is hidden behind it, from the reference."""
    checks: dict[str, list[NotebookNode]] = {}
    for cell in nbformat.from_dict(reference).cells:
        if is_tagged(cell, CHECK):
            checks[cell.id] = [cell]
        elif is_tagged(cell, HIDDEN):
            checks[next(reversed(checks))].append(cell)
    marked = nbformat.from_dict(handed_in)
    if lost := sorted(set(checks) - {cell.get("id") for cell in marked.cells}):
        raise ValueError(
            f"checks were removed from what was handed in ({', '.join(lost)}): put them back from "
            "the notebook that was given out"
        )
    marked.cells = [
        part for cell in marked.cells for part in checks.get(cell.get("id", ""), [cell])
    ]
    return marked


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prunekit.book.grading",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("handed_in", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    try:
        reference = nbformat.read(options.reference, as_version=4)
        for path in options.handed_in:
            found = grade(reference, nbformat.read(path, as_version=4), path.resolve().parent)
            print(found.to_string(index=False))
            print(f"{path.stem}: {found['points'].sum()} of {found['of'].sum()} points\n")
    except (OSError, ValueError) as error:
        sys.exit(f"prunekit.book.grading: {error}")


if __name__ == "__main__":
    main()
