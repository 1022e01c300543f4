"""A convolution whose window the reader moves: kernel size, stride, padding and position."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
from IPython.display import HTML

SCRIPT = Path(__file__).with_suffix(".js")
SLIDERS = (
    ("W", "input side W", 4, 9),
    ("F", "kernel size F", 1, 5),
    ("S", "stride S", 1, 4),
    ("P", "padding P", 0, 2),
)


def convolution_explorer(
    *, side: int = 7, kernel: int = 3, stride: int = 2, padding: int = 1, seed: int = 0
) -> HTML:
    """Sliders for the input side, kernel size, stride, padding and position of one window.

    The arithmetic runs as JavaScript inside the page, so the sliders work in a notebook, in a
    rendered book without a kernel, and offline.

    Parameters
    ----------
    side, kernel, stride, padding
        Where the sliders start: W in 4..9, F in 1..5, S in 1..4 and P in 0..2.
    seed
        Of the digits from 0 to 9 that stand for pixels.

    Raises
    ------
    ValueError
        A starting value lies outside its slider.

    Examples
    --------
    >>> "padded image" in convolution_explorer().data
    True
    """
    image = np.random.default_rng(seed).integers(0, 10, (SLIDERS[0][3], SLIDERS[0][3]))
    rows = [
        _slider(*slider, start)
        for slider, start in zip(SLIDERS, (side, kernel, stride, padding), strict=True)
    ]
    rows.append(_slider("step", "position", 0, 80, 0))
    name = f"convolution-{uuid.uuid4().hex}"
    return HTML(f"""
<div id="{name}" class="convolution-explorer" style="font-family: sans-serif; font-size: 14px">
<div style="display: grid; grid-template-columns: max-content minmax(8em, 20em) max-content;
gap: 0.2em 0.8em; align-items: center">{"".join(rows)}</div>
<p class="formula" aria-live="polite"></p>
<svg role="img" aria-label="The padded image with the window, the kernel, and the output so far"
width="100%" font-family="sans-serif" font-size="12" style="background: white"></svg>
</div>
<script>
{SCRIPT.read_text("utf-8")}
(function start() {{
  const root = document.getElementById("{name}");
  if (root) prunekitConvolution(root, {json.dumps(image.tolist())});
  else setTimeout(start, 50); // JupyterLab runs scripts before it shows the output
}})();
</script>""")


def _slider(name: str, label: str, low: int, high: int, start: int) -> str:
    if not low <= start <= high:
        raise ValueError(f"{label} must lie between {low} and {high}, not {start}")
    return (
        f'<label>{label}</label><input type="range" name="{name}" aria-label="{label}" '
        f'min="{low}" max="{high}" value="{start}"><output for="{name}">{start}</output>'
    )
