"""What every chapter's file must hold; that it runs, test_site.py tests."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from prunekit.book.student import CHECK, SOLUTION, is_tagged

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_to_be_built_is_asked_for_and_checked(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    solutions = [place for place, cell in enumerate(cells) if is_tagged(cell, SOLUTION)]
    assert {place + 1 for place in solutions} == {
        place for place, cell in enumerate(cells) if is_tagged(cell, CHECK)
    }
    for place in solutions:
        assert "{exercise} Build it: " in cells[place - 1].source
        assert is_tagged(cells[place], "hide-input"), "on the page a solution is a click away"
        check = ast.parse(cells[place + 1].source)
        claims = [node for node in ast.walk(check) if isinstance(node, ast.Assert)]
        assert claims and all(claim.msg for claim in claims), "a check says what is wrong"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_figures_of_pictures_are_marked(notebook):
    """The dark theme turns charts around, and must know what it may not turn."""
    drawn = re.compile(
        r"\b(class_grid|picture_rows|map_grid|mistakes|image_strip|imshow|twin_maps"
        r"|pictures_with_boxes|places_and_shapes|film)\("
    )
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code" and "mystnb" in cell["metadata"]:
            classes = cell["metadata"]["mystnb"].get("image", {}).get("classes", "")
            assert (classes == "pictures") == bool(drawn.search("".join(cell["source"])))


def test_every_chapter_is_in_the_table_of_contents():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    listed = [c["file"] for part in parts for c in part["chapters"]]
    assert [f"notebooks/{n.stem}" for n in NOTEBOOKS] == [f for f in listed if "notebooks" in f]


def test_the_three_works_are_named_where_a_reader_begins():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))["parts"]
    chapters = {
        part["caption"]: [int(c["file"][10:12]) for c in part["chapters"]]
        for part in parts
        if "notebooks" in part["chapters"][0]["file"]
    }
    assert chapters == {
        "The first work: Gaikwad": list(range(1, 13)),
        "The second work: I2CT 2022": [13],
        "Any network, to a board": [14, 15, 16],
        "The third work: Wei": [17, 18, 19, 20],
    }
    assert all(part.get("numbered") for part in parts if part["caption"] in chapters)
    for page in ("README.md", "book/index.md"):
        text = (ROOT / page).read_text("utf-8")
        assert all(name in text for name in ("Gaikwad", "I2CT 2022", "Y. X. Wei")), page


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_minutes_to_read_are_counted(notebook):
    """At 150 words of text a minute and 12 lines of code, in steps of five."""
    words = lines = 0
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "markdown":
            words += len(cell.source.split())
        elif not is_tagged(cell, "remove-cell"):
            lines += len(cell.source.splitlines())
    said = re.search(r"\*\*Time:\*\* (\d+) minutes to read", notebook.read_text("utf-8"))[1]
    assert abs(int(said) - (words / 150 + lines / 12)) <= 3, f"{words} words, {lines} lines"
    guide = (ROOT / "book/classroom/guide.md").read_text("utf-8")
    assert f"\n| {int(notebook.stem[:2])} | {said} |" in guide
