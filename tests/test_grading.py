"""Points for notebooks that were handed in: for what works, and only by the reference's checks."""

from __future__ import annotations

import nbformat
import pytest

from prunekit.book.grading import grade, main
from prunekit.book.student import for_students

TWICE = 'def twice(x):\n    """Two of it."""\n    return 2 * x'
HALF = "def half(x):\n    return x / 2"


def cell(name: str, source: str, tag: str = "", points: int | None = None):
    metadata = {"tags": [tag]} if tag else {}
    if points is not None:
        metadata["points"] = points
    return nbformat.v4.new_code_cell(source, id=name, metadata=metadata)


def assignment() -> nbformat.NotebookNode:
    cells = [
        nbformat.v4.new_markdown_cell("# Twice and half", id="title"),
        cell("twice", TWICE, "solution"),
        cell("twice-check", "assert twice(2) == 4, 'twice 2 is 4'", "check", 2),
        cell("twice-hidden", "assert twice('ab') == 'abab', 'twice of words'", "hidden", 3),
        cell("half", HALF, "solution"),
        cell("half-check", "assert half(4) == 2, 'half of 4 is 2'", "check", 1),
        cell("half-hidden", "assert half(3) == 1.5, 'half of 3'", "hidden", 4),
    ]
    return nbformat.v4.new_notebook(cells=cells)


def handed_in(**sources: str) -> nbformat.NotebookNode:
    """What a student makes of the assignment, with these sources in the cells of these names."""
    notebook = for_students(assignment())
    for one in notebook.cells:
        one.source = sources.get(one.id, one.source)
    return notebook


def points(notebook: nbformat.NotebookNode, folder, **settings: int) -> list[int]:
    return grade(assignment(), notebook, folder, **settings)["points"].tolist()


def test_the_reference_has_all_points(tmp_path):
    found = grade(assignment(), assignment(), tmp_path)
    assert found["points"].tolist() == found["of"].tolist() == [2, 3, 1, 4]
    assert found["question"].tolist() == [1, 1, 2, 2]
    assert found["kind"].tolist() == ["check", "hidden"] * 2
    assert found["said"].tolist() == [""] * 4


def test_stubs_have_none(tmp_path):
    found = grade(assignment(), handed_in(), tmp_path)
    assert found["points"].sum() == 0 and found["of"].sum() == 10
    assert found["said"].str.contains("NotImplementedError: yours to build").all()


def test_what_passes_the_visible_check_alone_has_part(tmp_path):
    found = grade(assignment(), handed_in(twice=TWICE, half="half = lambda x: x // 2"), tmp_path)
    assert found["points"].tolist() == [2, 3, 1, 0]
    assert found["said"].tolist()[3] == "AssertionError: half of 3"


def weakened(notebook):
    """The student's check asserts nothing."""
    notebook.cells[2].source = "print('all is well')"


def own_check(notebook):
    """A cell of the student's own calls itself a check, and gives itself points."""
    notebook.cells += [cell("mine", "", "check", 100), cell("mine-too", "1", "hidden", 100)]


def copied(notebook):
    """A check stands there a second time."""
    notebook.cells.append(notebook.cells[2].copy())


def skipped(notebook):
    """Tags that would keep a cell from running."""
    for one in notebook.cells:
        one.metadata["tags"] = ["skip-execution"]


@pytest.mark.parametrize("change", [weakened, own_check, copied, skipped])
def test_only_the_checks_of_the_reference_count(change, tmp_path):
    notebook = handed_in(twice="def twice(x):\n    return x + 1", half=HALF)
    change(notebook)
    assert points(notebook, tmp_path) == [0, 0, 1, 4]


def test_an_exit_passes_no_check(tmp_path):
    notebook = handed_in(twice="def twice(x):\n    raise SystemExit", half=HALF)
    assert points(notebook, tmp_path) == [0, 0, 1, 4]


def test_an_endless_loop_costs_its_own_question(tmp_path):
    notebook = handed_in(twice="def twice(x):\n    while True:\n        pass", half=HALF)
    found = grade(assignment(), notebook, tmp_path, seconds=5)
    assert found["points"].tolist() == [0, 0, 1, 4]
    assert found["said"][0] == "TimeoutError: took more than 5 s"


def test_a_process_that_ends_keeps_what_it_had(tmp_path):
    notebook = handed_in(twice=TWICE, half="import os\n\ndef half(x):\n    os._exit(1)")
    found = grade(assignment(), notebook, tmp_path)
    assert found["points"].tolist() == [2, 3, 0, 0]
    assert "process ended" in found["said"][2]


def test_questions_in_another_order_and_ids_where_colab_puts_them(tmp_path):
    notebook = handed_in(twice=TWICE, half=HALF.replace("/", "//"))
    notebook.cells = [*notebook.cells[3:], *notebook.cells[:3]]
    for one in notebook.cells:
        one.metadata["id"] = one.pop("id")
    notebook.nbformat_minor = 0
    found = grade(assignment(), notebook, tmp_path)
    assert found["question"].tolist() == [1, 1, 2, 2]
    assert found["points"].tolist() == [2, 3, 1, 0]


def test_a_removed_check_is_named(tmp_path):
    notebook = handed_in(twice=TWICE)
    del notebook.cells[2]
    with pytest.raises(ValueError, match=r"removed .*\(twice-check\): put them back"):
        grade(assignment(), notebook, tmp_path)


def test_a_reference_without_checks_is_refused(tmp_path):
    empty = nbformat.v4.new_notebook(cells=[cell("a", "1")])
    with pytest.raises(ValueError, match="no cell tagged check"):
        grade(empty, handed_in(), tmp_path)
    early = assignment()
    early.cells.insert(0, cell("early", "1", "hidden", 1))
    with pytest.raises(ValueError, match="hides cell early before its first check"):
        grade(early, handed_in(), tmp_path)


def test_one_that_cannot_be_graded_keeps_no_other_from_it(tmp_path, capsys):
    nbformat.write(assignment(), tmp_path / "reference.ipynb")
    lacking = handed_in()
    del lacking.cells[2]
    nbformat.write(lacking, tmp_path / "ann.ipynb")
    (tmp_path / "bob.ipynb").write_text("no notebook")
    nbformat.write(handed_in(twice=TWICE), tmp_path / "eve.ipynb")
    paths = [str(tmp_path / f"{name}.ipynb") for name in ("reference", "ann", "bob", "eve", "zoe")]
    with pytest.raises(SystemExit, match="3 of 4 not graded"):
        main(paths)
    said = capsys.readouterr()
    assert f"{tmp_path / 'eve.ipynb'}: 5 of 10 points" in said.out
    for name, why in {"ann": "twice-check", "bob": "JSON", "zoe": "No such file"}.items():
        assert any(f"{name}.ipynb" in line and why in line for line in said.err.splitlines()), name
