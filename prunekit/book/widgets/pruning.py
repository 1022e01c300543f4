"""Widgets that page through figures drawn beforehand, and so work with no kernel."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from io import BytesIO

import ipywidgets as widgets
from matplotlib.figure import Figure


def stepper(
    figures: Sequence[Figure], texts: Sequence[str], *, label: str = "Step", start: int = 0
) -> widgets.VBox:
    """A slider and a play button over ``figures``.

    The figures are pictures inside the widget and the slider is linked to
    them in the browser, so the printed page moves them without Python.

    Parameters
    ----------
    texts
        What each figure shows, for a reader who cannot see it.
    start
        Figure shown first.

    Raises
    ------
    ValueError
        There is no figure, or not one text for each.
    """
    if not figures or len(figures) != len(texts):
        raise ValueError(f"one text for each figure: {len(figures)} figures, {len(texts)} texts")
    stack = widgets.Stack(
        [widgets.HTML(_picture(*pair)) for pair in zip(figures, texts, strict=True)],
        selected_index=start,
    )
    last = len(figures) - 1
    slider = widgets.IntSlider(start, min=0, max=last, description=label)
    play = widgets.Play(value=start, min=0, max=last, interval=1200)
    widgets.jslink((play, "value"), (slider, "value"))
    widgets.jslink((slider, "value"), (stack, "selected_index"))
    return widgets.VBox([widgets.HBox([play, slider]), stack])


def _picture(figure: Figure, text: str) -> str:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img src="data:image/png;base64,{data}" alt="{html.escape(text)}" '
        'style="max-width: 100%; height: auto">'
    )
