"""One look for every figure of the book, and what its figures have in common."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from matplotlib.typing import ColorType

from prunekit.storage.files import replacing

P = ParamSpec("P")

# Okabe and Ito's palette: told apart by readers with any form of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
NEUTRAL = "#777777"
MARKERS = "osD^vPX*"
#: Inches across the column of text. A wider figure would be shrunk there, and its letters with it.
WIDTH = 9.6

# Any: some versions of matplotlib list every key as a type of its own.
STYLE: dict[Any, Any] = {
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    # White keeps figures legible on the site's dark theme.
    "figure.facecolor": "white",
    "figure.figsize": (7.2, 3.6),
    "font.size": 10,
    "grid.alpha": 0.25,
    "image.interpolation": "nearest",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.facecolor": "white",
    "svg.hashsalt": "prunekit",
}


def use_style() -> None:
    """Set matplotlib's defaults for the book."""
    mpl.rcParams.update(STYLE)


def figure(draw: Callable[P, None]) -> Callable[P, Figure]:
    """Let ``draw`` only draw: the figure it opens comes back in the book's style.

    The figure is closed, so that a notebook shows it once: as the value of its cell.

    Examples
    --------
    >>> @figure
    ... def rise(heights):
    ...     _, ax = plt.subplots()
    ...     ax.plot(heights)
    >>> rise([1, 3]).axes[0].lines[0].get_ydata().tolist(), plt.get_fignums()
    ([1, 3], [])
    """

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        before = set(plt.get_fignums())
        try:
            with mpl.rc_context(STYLE):
                draw(*args, **kwargs)
                return plt.gcf()
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)

    # Where inspect looks first: what is drawn comes back, where ``draw`` gives nothing.
    vars(drawn)["__signature__"] = inspect.signature(draw).replace(return_annotation="Figure")
    return drawn


def write_figure(fig: Figure, path: Path, **options: Any) -> None:
    """Write a figure as PNG; ``options`` as :meth:`matplotlib.figure.Figure.savefig` takes them."""
    with replacing(path) as temporary:
        fig.savefig(temporary, format="png", **options)


def panels(
    count: int, size: tuple[float, float], columns: int | None = None, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of ``count`` axes, row by row, and its axes as an array of shape (rows, columns).

    Parameters
    ----------
    size
        Inches across and down of each; narrower where they would not fit the page side by side.
    columns
        At most so many in a row; all by default. In the last row, places that are left over
        stay blank.
    options
        Further ones of :func:`matplotlib.pyplot.subplots`.

    Raises
    ------
    ValueError
        There is nothing to draw.
    """
    if not count:
        raise ValueError("there is nothing to draw: what was given is empty")
    columns = min(columns or count, count)
    rows = -(-count // columns)
    width = min(WIDTH, size[0] * columns)
    fig, axs = plt.subplots(
        rows, columns, figsize=(width, size[1] * rows), squeeze=False, **options
    )
    for ax in axs.flat[count:]:
        ax.remove()
    return fig, axs


def percent(*axes: Axis) -> None:
    """Write fractions along these axes in per cent, with the decimals that they need."""
    for axis in axes:
        axis.set_major_formatter(lambda share, _: f"{100 * share:.4g}%")


def logarithmic(axis: Axis, unit: str = "") -> None:
    """Powers of ten along an axis with its limits set; 2 and 5 times them where these are few."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
    axis.set_major_formatter(EngFormatter(unit=unit))
    axis.set_minor_formatter(NullFormatter())


def names_along(axis: Axis, names: Iterable[str], **text: Any) -> None:
    """A name at 0, 1, 2, ..., where no line of the grid is of use."""
    names = list(names)
    axis.set_ticks(range(len(names)), labels=names, **text)
    axis.grid(visible=False)


def side_by_side(count: int) -> tuple[np.ndarray, float]:
    """Shifts of ``count`` bars that share a place, and the width of each.

    Examples
    --------
    >>> shifts, width = side_by_side(2)
    >>> shifts.tolist(), width
    ([-0.2, 0.2], 0.4)
    """
    width = 0.8 / count
    return (np.arange(count) - (count - 1) / 2) * width, width


def band(ax: Axes, curve: pd.DataFrame, **line: Any) -> None:
    """A line through the means of several runs, in a band from the lowest to the highest.

    ``curve`` has the columns ``mean``, ``low`` and ``high``; its index lies along the axis.
    """
    ax.fill_between(
        curve.index, curve["low"], curve["high"], color=line["color"], alpha=0.15, linewidth=0
    )
    ax.plot(curve["mean"], **{"markersize": 4, **line})


def box(ax: Axes, x: float, y: float, width: float, height: float, **look: Any) -> None:
    """A rounded box about the point (x, y)."""
    look = {"boxstyle": "round,pad=0.08", "facecolor": "white", "linewidth": 2, **look}
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, **look))


def ring(ax: Axes, x: float, y: float, marker: str, colour: str, label: str) -> None:
    """A large hollow marker about a point of a curve."""
    hollow: dict[str, Any] = {"markersize": 10, "fillstyle": "none", "markeredgewidth": 2}
    ax.plot(x, y, marker=marker, color=colour, label=label, linestyle="none", **hollow)


def bare(ax: Axes) -> None:
    """Nothing about a picture: no grid, no frame, no tick marks."""
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def numbers(
    ax: Axes, table: pd.DataFrame, texts: np.ndarray | str, *, fontsize: float = 9, **shown: Any
) -> AxesImage:
    """A table as coloured cells that hold its numbers.

    Parameters
    ----------
    texts
        What the cells say: a format of the numbers, or an array of the shape of the table.
    shown
        Options of :meth:`matplotlib.axes.Axes.imshow`.
    """
    image = ax.imshow(table, **{"cmap": "cividis", "aspect": "auto"} | shown)
    for (row, column), number in np.ndenumerate(table.to_numpy()):
        text = texts.format(number) if isinstance(texts, str) else str(texts[row, column])
        colour = ink_on(tuple(image.to_rgba(number)))
        ax.text(column, row, text, ha="center", va="center", fontsize=fontsize, color=colour)
    names_along(ax.xaxis, table.columns)
    names_along(ax.yaxis, table.index)
    bare(ax)
    return image


def ink_on(colour: ColorType) -> str:
    """Black on light colours, white on dark ones.

    Examples
    --------
    >>> ink_on("yellow"), ink_on("navy")
    ('black', 'white')
    """
    red, green, blue = to_rgb(colour)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
