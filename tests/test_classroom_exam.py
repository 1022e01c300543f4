"""The exam bank has sixty questions, each with an answer to grade by, and its points add up."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from conftest import ROOT

PAGE = ROOT / "book" / "classroom" / "exam.md"
PART = re.compile(r"## Part (\d+): .+ \(chapters (\d+) to (\d+), (\d+) questions, (\d+) points\)\n")
QUESTION = re.compile(
    r"### (?P<number>\d+)\. (?P<title>[^\n]+)\n\n"
    r"\*(?P<kind>recall|apply|judge)\* · (?P<points>\d+) points · "
    r"\[chapter (?P<chapter>\d+)\]\((?P<link>[^)]+)\)\n\n"
    r"(?P<asked>.+?)\n\n"
    r":::\{dropdown\} Answer\n(?P<answer>.+?)\n:::\n",
    re.DOTALL,
)


class Part(NamedTuple):
    number: int
    first: int
    last: int
    count: int
    points: int
    questions: list[re.Match[str]]


def parts() -> list[Part]:
    _, *rest = PART.split(PAGE.read_text("utf-8"))
    groups = [rest[start : start + 6] for start in range(0, len(rest), 6)]
    return [Part(*map(int, numbers), [*QUESTION.finditer(body)]) for *numbers, body in groups]


def questions() -> list[re.Match[str]]:
    return [question for part in parts() for question in part.questions]


def test_there_are_sixty_questions_and_each_has_its_own_answer():
    assert [int(q["number"]) for q in questions()] == [*range(1, 61)]
    for what in ("title", "asked", "answer"):
        assert len({q[what] for q in questions()}) == 60
    text = PAGE.read_text("utf-8")
    assert text.count("\n### ") == text.count("{dropdown} Answer") == 60  # the pattern missed none


@pytest.mark.parametrize("part", parts(), ids=lambda part: f"part {part.number}")
def test_a_part_holds_what_its_heading_says(part):
    assert len(part.questions) == part.count
    assert sum(int(q["points"]) for q in part.questions) == part.points
    chapters = [int(q["chapter"]) for q in part.questions]
    assert chapters == sorted(chapters)
    assert {*chapters} == {*range(part.first, part.last + 1)}


def test_the_parts_go_through_the_book_once():
    chapters = [chapter for part in parts() for chapter in range(part.first, part.last + 1)]
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert chapters == [int(notebook.name[:2]) for notebook in notebooks]


def test_the_first_paragraphs_count_right():
    said = PAGE.read_text("utf-8").split("\n## ")[0]
    total = sum(int(q["points"]) for q in questions())
    assert f"{total} points in all" in said
    for kind in ("recall", "apply", "judge"):
        points = sum(int(q["points"]) for q in questions() if q["kind"] == kind)
        assert re.search(rf"\b{points}\s(points\s)?of\s\*{kind}\*", said), kind


@pytest.mark.parametrize("question", questions(), ids=lambda question: question["number"])
def test_a_question_can_be_looked_up_and_graded(question):
    notebook = (PAGE.parent / question["link"]).resolve()
    assert notebook.is_file() and notebook.parent == ROOT / "notebooks"
    assert notebook.name.startswith(f"{int(question['chapter']):02}_")
    assert len(question["answer"].split()) >= 25
    assert (int(question["points"]) > 2) == ("**Points:**" in question["answer"])


def test_terms_are_in_the_glossary():
    used = {*re.findall(r"\{term\}`(.+?)`", PAGE.read_text("utf-8"))}
    glossary = (ROOT / "book" / "glossary.md").read_text("utf-8").splitlines()
    assert used <= {*glossary}
