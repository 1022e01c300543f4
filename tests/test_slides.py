"""Decks of slides: what they show is in the chapters, and nothing of them is lost on the way."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import slides  # noqa: E402

DECKS = sorted((ROOT / "book/classroom/slides").glob("*.md"))
PAGE = """<figure class="align-default" id="fig-01-a">
<a class="reference" href="x.png"><img alt="A &quot;line&quot;" src="../_images/x.png" /></a>
<figcaption></figcaption></figure>
<figure class="align-default" id="fig-01-b">
<img alt="Dots" src="../_images/y.png" />
</figure>"""


@pytest.mark.parametrize("path", DECKS, ids=lambda path: path.stem)
def test_a_deck_shows_figures_that_chapters_have(path):
    cells = [
        cell
        for notebook in (ROOT / "notebooks").glob("*.ipynb")
        for cell in json.loads(notebook.read_text("utf-8"))["cells"]
    ]
    figures = [cell["metadata"].get("mystnb", {}).get("figure", {}) for cell in cells]
    shown = slides.SHOWN.findall(path.read_text("utf-8"))
    assert {*shown} <= {figure.get("name") for figure in figures}
    assert len(shown) == len({*shown})


def test_every_session_of_the_guide_has_its_deck():
    guide = (ROOT / "book/classroom/guide.md").read_text("utf-8")
    sessions = re.findall(r"^### (\d+)\. (.*)$", guide, re.MULTILINE)
    titles = {path.stem: path.read_text("utf-8").splitlines()[0] for path in DECKS}
    assert [f"# {title}" for _, title in sessions] == list(titles.values())
    assert re.findall(r'href="../../slides/(\w+)\.html"', guide) == list(titles)


def test_a_figure_comes_with_its_text_alternative(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01.html").write_text(PAGE)
    known = slides.figures(tmp_path)
    assert known["fig-01-b"] == '<img alt="Dots" src="../_images/y.png" />'
    page = slides.deck("# Costs < 3\n\n---\n\n## Two\n\n![](fig-01-a)\n\n> `$a_i$`\n", known)
    assert "<title>Costs &lt; 3</title>" in page
    text = re.search(r"<textarea data-template>\n(.*?)</textarea>", page, re.DOTALL)[1]
    assert '&lt;img alt="A &amp;quot;line&amp;quot;" src=' in text
    with pytest.raises(KeyError, match="fig-01-c"):
        slides.deck("# One\n\n![](fig-01-c)\n", known)
