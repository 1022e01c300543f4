"""Assignments for otter-grader: what is given out, and that otter gives the same points."""

from __future__ import annotations

import ast
import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistakes import MISTAKES

from prunekit.book.otter import checks_for_otter, main, notebook_for_otter, write_for_otter
from prunekit.book.student import CHECK, HIDDEN, SOLUTION, for_students, is_tagged, stub

FOLDER = Path(__file__).resolve().parents[1] / "book" / "classroom" / "assignments"
ASSIGNMENTS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))

otter_only = pytest.mark.skipif(
    importlib.util.find_spec("otter") is None, reason="needs the extra otter"
)
no_otter = pytest.mark.skipif(
    importlib.util.find_spec("otter") is not None, reason="otter-grader is installed"
)
by_name = pytest.mark.parametrize("name", ASSIGNMENTS)


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def one_check(source: str) -> nbformat.NotebookNode:
    metadata = {"tags": [CHECK], "points": 1}
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, id="check", metadata=metadata)]
    )


def cases(text: str) -> list[tuple[str, int, bool]]:
    """Source, points and whether it is hidden, of each case of a test file, without running it."""
    sources, found = {}, []
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign):
            sources[node.targets[0].id] = ast.literal_eval(node.value)
        elif isinstance(node, ast.FunctionDef):
            (case,) = node.decorator_list
            settings = {word.arg: ast.literal_eval(word.value) for word in case.keywords}
            (run,) = node.body
            source = sources[run.value.args[0].id]
            found.append((source, settings["points"], settings["hidden"]))
    return found


def lines(*sources: str) -> set[str]:
    """Lines that tell something: not the brackets, and not a loop that stands in many places."""
    stripped = {line.strip() for source in sources for line in source.splitlines()}
    return {line for line in stripped if len(line) > 30}


@by_name
def test_every_check_is_a_case_with_its_points(name):
    reference = read(name)
    expected = [
        (cell.source, cell.metadata["points"], is_tagged(cell, HIDDEN))
        for cell in reference.cells
        if is_tagged(cell, CHECK) or is_tagged(cell, HIDDEN)
    ]
    whole, seen = (checks_for_otter(reference, hidden=hidden) for hidden in (True, False))
    assert list(whole) == list(seen) == [f"q{n}" for n in range(1, len(expected) // 2 + 1)]
    assert [case for text in whole.values() for case in cases(text)] == expected
    assert sum(points for _, points, _ in expected) == 20
    assert [case for text in seen.values() for case in cases(text)] == expected[::2]
    for question, text in whole.items():
        assert f"name = {question!r}" in text and "OK_FORMAT = False" in text


@by_name
def test_students_are_given_no_solution_and_otters_checks(name):
    reference, given_out = read(name), notebook_for_otter(read(name))
    nbformat.validate(given_out)
    start, *cells = given_out.cells
    assert start.source.startswith("import otter")
    calls = [cell.source for cell in cells if is_tagged(cell, CHECK)]
    assert calls == [f'grader.check("q{n}")' for n in range(1, len(calls) + 1)]
    others = [cell.source for cell in for_students(reference).cells if not is_tagged(cell, CHECK)]
    assert [cell.source for cell in cells if not is_tagged(cell, CHECK)] == others
    assert not any(is_tagged(cell, HIDDEN) for cell in cells)


@by_name
def test_no_line_of_a_solution_or_hidden_check_is_given_out(name):
    reference, given_out = read(name), notebook_for_otter(read(name))
    files = checks_for_otter(reference, hidden=False).values()
    seen = [source for text in files for source, _, _ in cases(text)]
    told = lines(*seen, *(cell.source for cell in given_out.cells))
    for cell in reference.cells:
        if is_tagged(cell, SOLUTION):
            secret = lines(ast.unparse(ast.parse(cell.source))) - lines(stub(cell.source), *seen)
        elif is_tagged(cell, HIDDEN):
            secret = lines(cell.source) - lines(*seen)
        else:
            continue
        assert secret and not secret & told, cell.id


@given(st.text(alphabet=st.sampled_from("ab \n\\\"'{}\t#é"), max_size=200))
def test_a_case_holds_the_check_to_the_letter(text):
    source = f"x = {text!r}\n# {text.replace(chr(10), chr(10) + '# ')}"
    files = checks_for_otter(one_check(source), hidden=True)
    assert cases(files["q1"]) == [(source, 1, False)]


def test_a_check_that_is_no_python_is_refused_by_name(tmp_path):
    nbformat.write(read("1_oracle"), tmp_path / "1.ipynb")
    nbformat.write(one_check("%timeit 1"), tmp_path / "2.ipynb")
    out = tmp_path / "new" / "otter"
    with pytest.raises(SystemExit, match=r"2\.ipynb cannot be given out|otter is not installed"):
        main([str(tmp_path), str(out)])
    assert not any(out.parent.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "work.txt").touch()
    with pytest.raises(FileExistsError, match="with work in it perhaps"):
        write_for_otter(FOLDER, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["work.txt"]
    with pytest.raises(FileNotFoundError, match="holds no notebook"):
        write_for_otter(tmp_path, tmp_path / "out")


@no_otter
def test_without_otter_the_extra_is_named_and_nothing_written(tmp_path):
    with pytest.raises(SystemExit, match=r"pip install 'prunekit\[otter\]'"):
        main([str(FOLDER), str(tmp_path / "out")])
    assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class") / "otter"
    assert [path.name for path in write_for_otter(FOLDER, folder)] == ASSIGNMENTS
    return folder


def points_by_otter(folder: Path, work: Path, answers: dict[str, str]) -> dict[str, list[Any]]:
    """What otter gives the student's notebook with these answers: points a case, by question."""
    run = pytest.importorskip("otter.run").main
    notebook = nbformat.read(folder / "student" / f"{folder.name}.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = answers.get(cell.id, cell.source)
    nbformat.write(notebook, work / "ann.ipynb")
    found = run(str(work / "ann.ipynb"), autograder=str(folder / "autograder.zip"), output_dir=None)
    assert found.possible == 20
    return {
        question: [case.passed and case.test_case.points for case in file.test_case_results]
        for question, file in found.results.items()
    }


@otter_only
@by_name
def test_otter_gives_the_solutions_all_points(name, written, tmp_path):
    answers = {cell.id: cell.source for cell in read(name).cells if is_tagged(cell, SOLUTION)}
    points = points_by_otter(written / name, tmp_path, answers)
    assert sum(map(sum, points.values())) == 20


@otter_only
@by_name
def test_otter_gives_a_mistake_the_visible_points_and_a_stub_none(name, written, tmp_path):
    solutions = [cell.id for cell in read(name).cells if is_tagged(cell, SOLUTION)]
    points = points_by_otter(written / name, tmp_path, MISTAKES[name])
    for solution, (check, hidden) in zip(solutions, points.values(), strict=True):
        assert bool(check) == (solution in MISTAKES[name])
        assert not hidden


@otter_only
def test_a_student_may_check_any_number_of_times(written, tmp_path, monkeypatch):
    notebook = pytest.importorskip("otter").Notebook
    monkeypatch.chdir(written / "1_oracle" / "student")
    names: dict[str, Any] = {"ranks": sorted, "rank_correlation": lambda one, other: 1.0}
    assert not notebook().check("q1", global_env=names).passed_all
    solution = next(cell.source for cell in read("1_oracle").cells if cell.id == "q1")
    exec(f"import numpy as np\n{solution}", names)
    for _ in range(2):
        found = notebook().check("q1", global_env=names)
        assert found.passed_all and found.possible == 3


@otter_only
def test_the_grader_knows_what_to_install_and_hides_what_it_should(written):
    for name in ASSIGNMENTS:
        with zipfile.ZipFile(written / name / "autograder.zip") as grader:
            assert b"- prunekit[book]==" in grader.read("environment.yml")
            inside = {one for one in grader.namelist() if one.startswith("tests/")}
            assert b"hidden=True" in grader.read("tests/q1.py")
        given_out = written / name / "student"
        assert {f"tests/{path.name}" for path in given_out.glob("tests/*")} == inside
        assert not any("hidden=True" in p.read_text("utf-8") for p in given_out.glob("tests/*"))
