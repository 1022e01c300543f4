"""A figure that moves, as a cell shows it: numbers in the page, and the script that draws them."""

from __future__ import annotations

import json
import uuid
from html import escape
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


class MovingFigure:
    """A figure that its own script draws, in a notebook, in a page without a kernel, and offline.

    Where no script may run, as in a PDF or a notebook that is not trusted, a
    sentence names the still figure that shows the same.

    Parameters
    ----------
    name
        Of the script beside this file. ``knee`` stands for ``knee.js``, whose
        function ``prunekitKnee`` is given the page's element and the data.
    data
        What the script draws. Numbers go into the page in full.
    still
        A sentence on where the reader finds the same without motion.

    Raises
    ------
    ValueError
        The data hold a number that is not finite.

    Examples
    --------
    >>> figure = MovingFigure("knee", {"curves": []}, "The figure above stands still.")
    >>> "prunekitKnee(root" in figure.html
    True
    >>> figure._repr_markdown_()
    'This figure moves on the web page. The figure above stands still.'
    """

    def __init__(self, name: str, data: Any, still: str) -> None:
        # "<" would let a text in the data end the script; a JSON of Infinity is none.
        content = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
        style, chart, script = (
            (FOLDER / file).read_text("utf-8") for file in ("chart.css", "chart.js", f"{name}.js")
        )
        self.name, self.data, self.still = name, data, still
        here = f"moving-{uuid.uuid4().hex}"
        self.html = f"""
<div id="{here}" class="moving-figure"><p>This figure moves where scripts may run.
{escape(still)}</p></div>
<style>{style}</style>
<script>
{chart}{script}
(function start() {{
  const root = document.getElementById("{here}");
  if (root) prunekit{name.capitalize()}(root, {content});
  else setTimeout(start, 50); // JupyterLab runs scripts before it shows the output
}})();
</script>"""

    def _repr_html_(self) -> str:
        return self.html

    def _repr_markdown_(self) -> str:
        return f"This figure moves on the web page. {self.still}"
