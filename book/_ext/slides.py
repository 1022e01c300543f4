"""Slides for a class: a Markdown file is a deck, and shows figures of the chapters by name.

They are shown by reveal.js, which lies beside the site. ``![](fig-07-tangent)`` in a deck is
that figure of the built page, with its text alternative. A line ``---`` begins a slide, and what
follows ``Note:`` only the speaker sees, who types S.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

FIGURE = re.compile(r'<figure[^>]*\bid="([\w-]+)">\s*(?:<a[^>]*>\s*)?(<img[^>]*>)')
SHOWN = re.compile(r"!\[\]\(([\w-]+)\)")
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="../_static/reveal.js/dist/reset.css">
<link rel="stylesheet" href="../_static/reveal.js/dist/reveal.css">
<link rel="stylesheet" href="../_static/slides.css">
</head>
<body>
<div class="reveal"><div class="slides">
<section data-markdown data-separator="^\\n---\\n$" data-separator-notes="^Note:">
<textarea data-template>
{text}
</textarea>
</section>
</div></div>
<script src="../_static/reveal.js/dist/reveal.js"></script>
<script src="../_static/reveal.js/plugin/markdown/markdown.js"></script>
<script src="../_static/reveal.js/plugin/math/math.js"></script>
<script src="../_static/reveal.js/plugin/notes/notes.js"></script>
<script src="../_static/slides.js"></script>
</body>
</html>
"""


def figures(site: Path) -> dict[str, str]:
    """The picture of every figure of the chapters, by its name, as HTML."""
    pages = sorted((site / "notebooks").glob("*.html"))
    return {
        name: image for page in pages for name, image in FIGURE.findall(page.read_text("utf-8"))
    }


def deck(text: str, known: dict[str, str]) -> str:
    """The page of a deck.

    Raises
    ------
    KeyError
        A figure that no chapter has.
    """
    title = text.splitlines()[0].lstrip("# ")
    shown = SHOWN.sub(lambda match: known[match[1]], text)
    return PAGE.format(title=html.escape(title), text=html.escape(shown, quote=False))


def write_decks(app: Sphinx, exception: Exception | None) -> None:
    """Write the slides of each deck into the site, once its pages are there."""
    if exception is not None or app.builder.name != "html":
        return
    known = figures(Path(app.outdir))
    for source in sorted((Path(app.srcdir) / "book/classroom/slides").glob("*.md")):
        target = Path(app.outdir, "slides", f"{source.stem}.html")
        target.parent.mkdir(exist_ok=True)
        try:
            target.write_text(deck(source.read_text("utf-8"), known), "utf-8")
        except KeyError as error:
            logger = logging.getLogger(__name__)
            logger.warning("%s shows %s, which is in no chapter", source.name, error)
