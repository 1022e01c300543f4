"""Notebooks for a class: no solution is left in them, and nothing of a student's is overwritten."""

from __future__ import annotations

import nbformat
import pytest

from prunekit.book.student import (
    for_students,
    main,
    read_notebook,
    stub,
    write_for_students,
)

SOLVED = '''import math

LIMIT = 3

def area(radius, *, unit="m"):
    """Square of the radius, times pi."""
    return math.pi * radius**2  # known since Archimedes

class Counter:
    """Counts."""

    step = 1

    def __call__(self, seen):
        return seen + self.step

print(area(2))
'''

TEXT = """```{exercise} Build it: area
```

````{solution} ex
```python
4
```
````
On."""


def chapter():
    cells = [
        nbformat.v4.new_markdown_cell(TEXT),
        nbformat.v4.new_code_cell(SOLVED, metadata={"tags": ["solution", "hide-input"]}),
        nbformat.v4.new_code_cell("assert area(1) > 3, 'too small'", metadata={"tags": ["check"]}),
    ]
    return nbformat.v4.new_notebook(cells=cells)


def test_a_stub_has_names_and_docstrings_and_no_bodies():
    scope = {}
    exec(stub(SOLVED), scope)
    assert scope["area"].__doc__ == "Square of the radius, times pi."
    assert scope["Counter"].step == 1
    assert "LIMIT" not in scope
    for call in (lambda: scope["area"](1, unit="cm"), lambda: scope["Counter"]()(1)):
        with pytest.raises(NotImplementedError, match="yours to build"):
            call()


def test_solutions_are_taken_out_and_checks_stay():
    solved = chapter()
    text, exercise, check = for_students(solved).cells
    assert text.source == "```{exercise} Build it: area\n```\n\nOn."
    assert "Archimedes" not in exercise.source and "math.pi" not in exercise.source
    assert exercise.metadata.tags == ["solution"]
    assert check.source == solved.cells[2].source
    assert solved.cells[1].source == SOLVED, "the chapter itself must stay as it is"


def test_a_students_work_is_not_overwritten(tmp_path, capsys):
    nbformat.write(chapter(), tmp_path / "01.ipynb")
    nbformat.write(chapter(), tmp_path / "02.ipynb")
    main([str(tmp_path), str(tmp_path / "class")])
    assert capsys.readouterr().out.startswith("2 notebooks in")
    (tmp_path / "class" / "01.ipynb").unlink()
    work = (tmp_path / "class" / "02.ipynb").read_bytes()
    with pytest.raises(SystemExit, match=r"02\.ipynb exists, with work in it"):
        main([str(tmp_path), str(tmp_path / "class")])
    assert (tmp_path / "class" / "02.ipynb").read_bytes() == work
    assert not (tmp_path / "class" / "01.ipynb").exists(), "all of it is written, or nothing"


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no notebook"):
        write_for_students(tmp_path, tmp_path / "class")


def test_a_notebook_is_read_with_the_mark_that_editors_of_windows_put_first(tmp_path):
    (tmp_path / "01.ipynb").write_text(nbformat.writes(chapter()), "utf-8-sig")
    assert [cell.source for cell in read_notebook(tmp_path / "01.ipynb").cells][1] == SOLVED
