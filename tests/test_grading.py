"""Points for notebooks that were handed in: for what works, and only by the reference's checks."""

from __future__ import annotations

import json
import tracemalloc

import nbformat
import pandas as pd
import pytest

from prunekit.book.grading import grade, main
from prunekit.book.student import for_students, read_notebook

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


def test_who_swallows_interrupts_costs_two_cells_and_not_every_later_one(tmp_path):
    swallowing = """import time
def twice(x):
    while True:
        try:
            time.sleep(9)
        except BaseException:
            pass"""
    found = grade(assignment(), handed_in(twice=swallowing, half=HALF), tmp_path, seconds=2)
    assert found["points"].sum() == 0
    assert found["said"][:2].str.startswith("TimeoutError: took more than 2 s").all()
    assert found["said"][2:].str.contains("process ended").all()


def test_what_is_printed_and_shown_is_not_kept(tmp_path):
    loud = "for _ in range(100):\n    print('x' * 10**6, flush=True)\n    display('y' * 10**6)\n"
    tracemalloc.start()
    try:
        found = grade(assignment(), handed_in(twice=loud + TWICE, half=HALF), tmp_path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found["points"].sum() == 10
    assert most < 50e6, "of 200 MB that were printed and shown"


def test_an_error_without_end_and_with_control_characters_is_one_short_line(tmp_path):
    found = grade(
        assignment(),
        handed_in(twice="def twice(x):\n    raise ValueError('\\x1b[2J\\n' + 'x' * 10**6)"),
        tmp_path,
    )
    assert found["said"][0].startswith("ValueError: ") and found["said"][0].endswith("xxx")
    assert len(found["said"][0]) <= 300 and found["said"][0].isprintable()


def test_the_error_of_a_cell_of_ones_own_stands_beside_the_name_it_left_undefined(tmp_path):
    found = grade(assignment(), handed_in(twice="def twice(x:\n    pass", half=HALF), tmp_path)
    said = found["said"].tolist()
    assert "NameError: name 'twice' is not defined" in said[0] and "SyntaxError" in said[0]
    assert said[2:] == ["", ""]
    typo = handed_in(twice="def twice(x):\n    return doubled(x)")
    typo.cells.insert(1, cell("empty", ""))
    assert (
        grade(assignment(), typo, tmp_path)["said"][0] == "NameError: name 'doubled' is not defined"
    )
    unrelated = handed_in(twice="def twice(x):\n    return 3\n1 / 0")
    assert "ZeroDivision" not in grade(assignment(), unrelated, tmp_path)["said"][0]


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
    with pytest.raises(ValueError, match=r"no cell .* checks twice-check: put them back"):
        grade(assignment(), notebook, tmp_path)


def without_ids(notebook):
    """As programs save it that know no ids."""
    for one in notebook["cells"]:
        del one["id"]
    return notebook | {"nbformat_minor": 4}


def same_ids(notebook):
    """As a program saves it that copies cells with their ids."""
    for one in notebook["cells"]:
        one["id"] = "one"
    return notebook


def third_version(notebook):
    """As programs save it that are older than that."""
    return json.loads(nbformat.writes(nbformat.reads(json.dumps(notebook), 4), version=3))


@pytest.mark.parametrize("lose", [without_ids, same_ids, third_version])
@pytest.mark.filterwarnings("ignore:Non-unique cell id")
def test_checks_whose_ids_were_lost_are_found_by_what_they_say(lose, tmp_path):
    notebook = handed_in(twice=TWICE, half=HALF.replace("/", "//"))
    path = tmp_path / "ann.ipynb"
    path.write_text(json.dumps(lose(json.loads(nbformat.writes(notebook)))))
    assert points(read_notebook(path), tmp_path) == [2, 3, 1, 0]


def test_where_a_check_was_changed_and_its_id_lost_nobody_is_said_to_have_removed_it(tmp_path):
    notebook = handed_in(twice=TWICE)
    notebook.cells[2].source += "  # passed!"
    notebook.cells[2].id = "lost"
    with pytest.raises(ValueError, match=r"no cell .* twice-check: .*saved by a program"):
        grade(assignment(), notebook, tmp_path)


def test_of_a_notebook_without_code_that_is_said(tmp_path):
    with pytest.raises(ValueError, match="has no code"):
        grade(assignment(), nbformat.v4.new_notebook(), tmp_path)


def test_a_reference_without_checks_is_refused(tmp_path):
    empty = nbformat.v4.new_notebook(cells=[cell("a", "1")])
    with pytest.raises(ValueError, match="no cell tagged check"):
        grade(empty, handed_in(), tmp_path)
    early = assignment()
    early.cells.insert(0, cell("early", "1", "hidden", 1))
    with pytest.raises(ValueError, match="hides cell early before its first check"):
        grade(early, handed_in(), tmp_path)


def one_cell(**changes) -> str:
    """A notebook of one cell with something odd in it, as JSON."""
    whole = {"cell_type": "code", "id": "a", "metadata": {}, "source": "1", "outputs": []}
    cells = [whole | {"execution_count": None} | changes]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})


DAMAGED = {
    "no-json": "no notebook",
    "a-dictionary": "{}",
    "a-list": "[]",
    "no-cells": '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "null-metadata": one_cell(metadata=None),
    "no-text": one_cell(source=None),
    "no-characters": one_cell(source="'\ud800'"),
    "no-version": one_cell().replace("5", '"5"'),
    "deep": "[" * 100_000,
    "deep-metadata": one_cell(metadata={"a": None}).replace("null", "[" * 600 + "]" * 600, 1),
    "nothing": "",
}


def test_one_that_cannot_be_graded_keeps_no_other_from_it(tmp_path, capsys):
    nbformat.write(assignment(), tmp_path / "reference.ipynb")
    lacking = handed_in()
    del lacking.cells[2]
    nbformat.write(lacking, tmp_path / "ann.ipynb")
    for name, text in DAMAGED.items():
        (tmp_path / f"{name}.ipynb").write_text(text)
    nbformat.write(handed_in(twice=TWICE), tmp_path / "eve.ipynb")
    names = ["ann", *DAMAGED, "zoe", "eve"]
    paths = [str(tmp_path / f"{name}.ipynb") for name in ("reference", *names)]
    with pytest.raises(SystemExit, match=f"{len(names) - 1} of {len(names)} not graded"):
        main(paths)
    said = capsys.readouterr()
    assert f"{tmp_path / 'eve.ipynb'}: 5 of 10 points" in said.out
    lines = said.err.splitlines()
    assert len(lines) == len(names) - 1, "one line for each that was not graded"
    expected = dict.fromkeys(DAMAGED, "damaged") | {"ann": "twice-check", "zoe": "No such file"}
    for name, why in expected.items():
        assert any(f"{name}.ipynb" in line and why in line for line in lines), name


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_reference_is_one_error_that_names_it(name, tmp_path):
    (tmp_path / "reference.ipynb").write_text(DAMAGED[name])
    with pytest.raises(SystemExit, match=r"reference\.ipynb: .*damaged") as caught:
        main([str(tmp_path / "reference.ipynb"), str(tmp_path / "ann.ipynb")])
    assert "\n" not in str(caught.value)


def test_a_reference_that_gives_no_points_is_said_once(tmp_path, capsys):
    chapter = assignment()
    del chapter.cells[2].metadata["points"]
    nbformat.write(chapter, tmp_path / "chapter.ipynb")
    nbformat.write(handed_in(), tmp_path / "ann.ipynb")
    with pytest.raises(SystemExit, match=r"chapter\.ipynb: .*twice-check .*points"):
        main([str(tmp_path / f"{name}.ipynb") for name in ("chapter", "ann", "ann")])
    assert not capsys.readouterr().err


def test_a_folder_stands_for_its_notebooks_and_a_table_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    nbformat.write(assignment(), "reference.ipynb")
    for path in ("in/ann/final (2).ipynb", "in/bob.IPYNB", "in/.ipynb_checkpoints/bob.ipynb"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(handed_in(twice=TWICE, half=HALF.replace("/", "//")), path)
    (tmp_path / "in/eve.ipynb").write_text("{}")
    (tmp_path / "nobody").mkdir()
    nbformat.write(handed_in(half=HALF), "=1+1.ipynb")
    with pytest.raises(SystemExit, match="2 of 5 not graded"):
        main(["reference.ipynb", "in", "nobody", "=1+1.ipynb", "--table", "points.csv"])
    assert "nobody: holds no notebook" in capsys.readouterr().err
    table = pd.read_csv("points.csv", dtype=str, keep_default_na=False)
    assert list(table) == ["notebook", "question 1", "question 2", "points", "of"]
    assert table.to_numpy().tolist() == [
        ["in/ann/final (2).ipynb", "5", "1", "6", "10"],
        ["in/bob.IPYNB", "5", "1", "6", "10"],
        ["in/eve.ipynb", "", "", "", ""],
        ["nobody", "", "", "", ""],
        ["'=1+1.ipynb", "0", "5", "5", "10"],
    ]
