"""Each chapter asks the questions of its own file, and jupyterquiz understands them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
CHAPTERS = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def test_every_file_belongs_to_a_chapter():
    assert sorted(path.stem for path in (NOTEBOOKS / "quizzes").iterdir()) == CHAPTERS


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_shows_its_own_quiz(chapter):
    cells = json.loads((NOTEBOOKS / f"{chapter}.ipynb").read_text("utf-8"))["cells"]
    shown = [source for cell in cells if "display_quiz(" in (source := "".join(cell["source"]))]
    assert len(shown) == 1
    assert f'display_quiz(chapter.quiz("{chapter}"))' in shown[0]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_questions_can_be_answered_and_every_answer_says_why(chapter):
    questions = json.loads((NOTEBOOKS / "quizzes" / f"{chapter}.json").read_text("utf-8"))
    assert questions
    for question in questions:
        assert question["question"] and question["answers"]
        right = [answer for answer in question["answers"] if answer.get("correct")]
        assert right, question["question"]
        if question["type"] == "multiple_choice":
            assert len(right) == 1, question["question"]
            assert all(answer["answer"] and answer["feedback"] for answer in question["answers"])
        else:
            assert question["type"] in ("numeric", "many_choice")
            assert all(answer["feedback"] for answer in question["answers"])
