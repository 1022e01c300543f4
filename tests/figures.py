"""What a reader needs of any figure: closed, within the page, no word cut off, no label on another.

Recorded tables of the book stand in for what chapters work out.
"""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

from prunekit.book import BOOK
from prunekit.book.plots.style import WIDTH


def recorded(study: str, name: str) -> pd.DataFrame:
    """A recorded table of a study."""
    return pd.read_csv(BOOK / "results" / study / f"{name}.csv")


def readable(figure: Figure) -> Figure:
    """The figure, once it is known that all of it can be read."""
    assert not plt.get_fignums(), "left open: a notebook would show it twice"
    assert figure.get_figwidth() <= WIDTH + 1e-9, "wider than the page"
    figure.draw_without_rendering()
    page = figure.bbox.padded(1)
    for text in shown_texts(figure):
        box = text.get_window_extent()
        assert page.x0 <= box.x0 and box.x1 <= page.x1, f"cut off: {text.get_text()!r}"
        assert page.y0 <= box.y0 and box.y1 <= page.y1, f"cut off: {text.get_text()!r}"
    for ax in figure.axes:
        for axis, along in ((ax.xaxis, 0), (ax.yaxis, 1)):
            assert_apart(tick_labels(axis), along)
    return figure


def shown_texts(figure: Figure) -> list[Text]:
    """Every text that is drawn."""
    texts = list(figure.texts)
    for legend in figure.legends:
        texts += legend.get_texts()
    for ax in figure.axes:
        texts += [child for child in ax.get_children() if isinstance(child, Text)]
        texts += ax.get_legend().get_texts() if ax.get_legend() else []
        if ax.axison:
            for axis in (ax.xaxis, ax.yaxis):
                texts += [axis.label, *tick_labels(axis)]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def words(figure: Figure) -> list[str]:
    """What is written on the figure."""
    return [text.get_text() for text in shown_texts(figure)]


def tick_labels(axis: Axis) -> list[Text]:
    """The labels of the ticks that lie within the view, in order."""
    low, high = sorted(axis.get_view_interval())
    if not (axis.axes.axison and axis.get_visible()):
        return []
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    ticks = [tick for tick in ticks if low <= tick.get_loc() <= high]
    labels = [label for tick in ticks for label in (tick.label1, tick.label2)]
    return [label for label in labels if label.get_visible() and label.get_text().strip()]


def assert_apart(labels: list[Text], along: int) -> None:
    """No label of an axis (0: x, 1: y) runs into the next."""
    boxes = [label.get_window_extent() for label in labels]
    order = np.argsort([box.p0[along] for box in boxes])
    for first, second in pairwise(order):
        turn = np.deg2rad(labels[first].get_rotation())
        if along == 0 and turn:  # lines of text side by side: their height must fit between them
            ends = [
                labels[i].get_transform().transform(labels[i].get_position())
                for i in (first, second)
            ]
            step = np.ptp(ends, axis=0)[0]
            height = labels[first].get_fontsize() * labels[first].get_figure().dpi / 72
            apart = step * abs(np.sin(turn)) >= 0.9 * height
        else:
            apart = boxes[first].p1[along] <= boxes[second].p0[along] + 1
        pair = labels[first].get_text(), labels[second].get_text()
        assert apart, f"one on the other: {pair}"


def legend_names(ax: plt.Axes) -> list[str]:
    """The names of the series, as a reader finds them."""
    return [text.get_text() for text in ax.get_legend().get_texts()]


def heights(container: object) -> list[float]:
    """Of the bars of one series."""
    return [bar.get_height() for bar in container]
