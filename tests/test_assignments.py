"""The graded assignments: their own solutions pass, students are given none, mistakes are found."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from mistakes import MISTAKES

from prunekit.book.grading import grade
from prunekit.book.student import CHECK, HIDDEN, SOLUTION, for_students, is_tagged, main

FOLDER = Path(__file__).resolve().parents[1] / "book" / "classroom" / "assignments"
ASSIGNMENTS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_each_assignment_has_mistakes():
    assert list(MISTAKES) == ASSIGNMENTS


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_questions_have_a_solution_a_check_and_hidden_checks(name):
    cells, questions = read(name).cells, 0
    for solution, check, hidden in zip(cells, cells[1:], cells[2:], strict=False):
        if is_tagged(solution, SOLUTION):
            questions += 1
            assert is_tagged(check, CHECK) and is_tagged(hidden, HIDDEN), f"behind {solution.id}"
    graded = [cell for cell in cells if is_tagged(cell, CHECK) or is_tagged(cell, HIDDEN)]
    assert len(graded) == 2 * questions >= 6
    points = [cell.metadata["points"] for cell in graded]
    assert all(isinstance(of, int) and of > 0 for of in points) and sum(points) == 20
    said = "".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for number, pair in enumerate(zip(points[::2], points[1::2], strict=True), 1):
        assert f"## {number}. " in said and f"({sum(pair)} points)" in said
    assert not any(cell.get("outputs") for cell in cells), "an assignment is kept without outputs"


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_students_are_given_no_solution_and_no_hidden_check(name):
    reference, given = read(name), for_students(read(name))
    hidden = [cell.source for cell in reference.cells if is_tagged(cell, HIDDEN)]
    assert hidden and not any(source in cell.source for source in hidden for cell in given.cells)
    assert not any(is_tagged(cell, HIDDEN) for cell in given.cells)
    asked = [cell for cell in given.cells if is_tagged(cell, SOLUTION)]
    for cell in asked:
        functions = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.FunctionDef)]
        assert functions, f"{cell.id} tells nothing of what is to be written"
        for function in functions:
            *docstring, last = function.body
            assert ast.unparse(last) == "raise NotImplementedError('yours to build')"
            assert len(docstring) <= 1 and len(docstring) == bool(ast.get_docstring(function))
    for cell, check in pairwise(given.cells):
        assert not is_tagged(cell, SOLUTION) or is_tagged(check, CHECK)


def test_nothing_is_given_out_if_one_notebook_cannot_be(tmp_path):
    nbformat.write(read("1_oracle"), tmp_path / "1.ipynb")
    odd = [nbformat.v4.new_code_cell("!pip install it", metadata={"tags": [SOLUTION]})]
    for written in (nbformat.writes(nbformat.v4.new_notebook(cells=odd)), "no notebook", "{}"):
        (tmp_path / "2.ipynb").write_text(written)
        with pytest.raises(SystemExit, match=r"2\.ipynb cannot be given out"):
            main([str(tmp_path), str(tmp_path / "class")])
        assert not (tmp_path / "class").exists()


def with_checks_twice(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Behind each check the same again, as a hidden one that is worth nothing."""
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if is_tagged(cell, CHECK):
            again = {"tags": [HIDDEN], "points": 0}
            cells.append(nbformat.v4.new_code_cell(cell.source, metadata=again))
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_the_reference_has_all_twenty_points_however_often_it_is_checked(name, tmp_path):
    found = grade(with_checks_twice(read(name)), read(name), tmp_path)
    assert not found["said"].any(), found.loc[found["said"] != "", "said"].to_list()
    assert found["points"].sum() == 20


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_passes_the_visible_check_and_not_the_hidden_one(name, tmp_path):
    handed_in, numbers = for_students(read(name)), []
    last = max(place for place, cell in enumerate(handed_in.cells) if is_tagged(cell, CHECK))
    handed_in.cells = handed_in.cells[: last + 1]  # what is not graded takes long
    for cell in handed_in.cells:
        if is_tagged(cell, SOLUTION):
            numbers.append(cell.id)
            cell.source = MISTAKES[name].get(cell.id, cell.source)
    found = grade(read(name), handed_in, tmp_path)
    for question, row in found.groupby("question"):
        (check, hidden), said = row["points"], row["said"].to_list()
        if numbers[question - 1] in MISTAKES[name]:
            assert check > 0 and not hidden, said
            assert "NotImplementedError" not in said[1], "it failed for what was not written"
        else:
            assert not check and not hidden, "a stub has no points"
