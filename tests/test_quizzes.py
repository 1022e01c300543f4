"""Every chapter has a quiz in a file of its own, and jupyterquiz can show it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest

from prunekit.book.chapter import Chapter

ROOT = Path(__file__).resolve().parents[1]
QUIZZES = sorted((ROOT / "notebooks" / "quizzes").iterdir())
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import prunekit_book  # noqa: E402


def read(path: Path) -> list[dict]:
    return json.loads(path.read_text("utf-8"))


def test_quizzes_and_chapters_belong_together():
    assert [f"{notebook.stem}.json" for notebook in NOTEBOOKS] == [q.name for q in QUIZZES]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_shows_its_own_quiz(notebook):
    code = [c.source for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code"]
    shown = re.findall(r"chapter\.quiz\((.*?)\)", "\n".join(code))
    assert shown == [f'"{notebook.stem}"']


@pytest.mark.parametrize("path", QUIZZES, ids=lambda p: p.stem)
def test_every_question_can_be_answered_and_every_answer_is_explained(path):
    for question in read(path):
        assert question.keys() == {"question", "type", "answers"}
        assert question["question"].strip()
        answers = question["answers"]
        assert all(answer["feedback"].strip() for answer in answers)
        if question["type"] == "numeric":
            *accepted, otherwise = answers
            assert otherwise.keys() == {"type", "feedback"} and otherwise["type"] == "default"
            assert any(answer["correct"] for answer in accepted)
            for answer in accepted:
                assert isinstance(answer["correct"], bool)
                if answer["type"] == "range":
                    low, high = answer["range"]
                    assert low < high
                else:
                    assert answer["type"] == "value" and isinstance(answer["value"], int | float)
            continue
        assert all(answer.keys() == {"answer", "correct", "feedback"} for answer in answers)
        texts = [answer["answer"].strip() for answer in answers]
        assert all(texts) and len(texts) == len({*texts}) > 1
        correct = [answer["correct"] for answer in answers]
        assert all(isinstance(value, bool) for value in correct)
        if question["type"] == "multiple_choice":
            assert sum(correct) == 1
        else:
            assert question["type"] == "many_choice" and any(correct)


@pytest.mark.parametrize("path", QUIZZES, ids=lambda p: p.stem)
def test_a_quiz_has_five_or_six_questions_of_both_kinds(path):
    kinds = [question["type"] for question in read(path)]
    assert 5 <= len(kinds) <= 6
    assert {"numeric", "multiple_choice"} <= {*kinds}


@pytest.mark.parametrize("path", QUIZZES, ids=lambda p: p.stem)
def test_every_choice_is_answered_with_a_reason(path):
    for question in read(path):
        if question["type"] == "numeric":
            continue
        for answer in question["answers"]:
            assert len(answer["feedback"].split()) >= 4, f"{answer['answer']}: {answer['feedback']}"


@pytest.mark.parametrize("path", QUIZZES, ids=lambda p: p.stem)
def test_jupyterquiz_shows_what_is_written(path):
    written = [
        text
        for question in read(path)
        for part in (question, *question["answers"])
        for text in part.values()
        if isinstance(text, str)
    ]
    # It puts them into the page as HTML, and takes dollars for the borders of an equation.
    assert not [text for text in written if {*text} & {*"<>&$"}]


def test_no_question_is_asked_twice():
    asked = [
        " ".join(re.findall(r"\w+", question["question"].lower()))
        for path in QUIZZES
        for question in read(path)
    ]
    assert len(asked) == len({*asked})


def test_the_right_answer_has_no_place_of_its_own():
    places = [
        [answer["correct"] for answer in question["answers"]].index(True)
        for path in QUIZZES
        for question in read(path)
        if question["type"] == "multiple_choice"
    ]
    assert all(places.count(place) < len(places) / 2 for place in places)


def test_a_quiz_is_shown_from_any_working_directory(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("prunekit.book.chapter.display_quiz", lambda quiz, **_: shown.append(quiz))
    monkeypatch.chdir(tmp_path)
    Chapter("smoke").quiz(QUIZZES[0].stem)
    assert shown == [read(QUIZZES[0])]


def test_a_changed_quiz_leaves_no_page_in_the_execution_cache(tmp_path):
    quiz = tmp_path / QUIZZES[0].relative_to(ROOT)
    quiz.parent.mkdir(parents=True)
    quiz.write_text("[]")
    before = prunekit_book._fingerprint(tmp_path)
    quiz.write_text("[ ]")
    assert prunekit_book._fingerprint(tmp_path) != before
