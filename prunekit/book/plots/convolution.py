"""Figures of what a layer does to an array: windows, paddings, pooling, receptive fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from prunekit.book.plots.style import PALETTE, WIDTH, figure, panels
from prunekit.book.readings import receptive_widths

MARK, PADDING, OUTPUT, WINDOW = PALETTE[5], "0.88", PALETTE[2], PALETTE[1]


@figure
def number_grids(arrays: Mapping[str, np.ndarray], *, marked: Sequence[np.ndarray] = ()) -> None:
    """Small arrays side by side as grids of numbers.

    Parameters
    ----------
    arrays
        Titles and arrays of shape (height, width).
    marked
        For each array, in the same order, a boolean mask of the cells to tint.

    Examples
    --------
    >>> len(number_grids({"before": np.eye(3), "after": np.ones((2, 2))}).axes)
    2
    """
    sides = [array.shape[1] for array in arrays.values()]
    _, axs = plt.subplots(
        1,
        len(arrays),
        figsize=(0.5 * sum(sides) + 0.8 * len(sides), 0.5 * max(sides) + 0.5),
        width_ratios=sides,
        squeeze=False,
    )
    masks = marked or [np.zeros(array.shape, dtype=bool) for array in arrays.values()]
    for ax, (title, array), mask in zip(axs[0], arrays.items(), masks, strict=True):
        _cells(ax, np.where(mask, MARK, "white"), array)
        ax.set_title(title)


@figure
def convolution_step(
    image: np.ndarray,
    kernel: np.ndarray,
    output: np.ndarray,
    *,
    stride: int,
    padding: int,
    position: tuple[int, int],
) -> None:
    """One position of the window: what it covers, what it is multiplied by, where the sum goes.

    Parameters
    ----------
    image, kernel, output
        Arrays of two dimensions; ``output`` is the whole result.
    position
        Row and column of the output cell that is computed.

    Raises
    ------
    IndexError
        ``position`` lies outside ``output``.
    """
    row, column = position
    if not (0 <= row < output.shape[0] and 0 <= column < output.shape[1]):
        raise IndexError(f"position {position} lies outside an output of shape {output.shape}")
    padded = np.pad(image, padding)
    fig, axs = plt.subplots(
        1, 3, figsize=(9, 4.2), width_ratios=[padded.shape[1], kernel.shape[1], output.shape[1]]
    )
    colours = np.pad(np.full(image.shape, "white", dtype="<U9"), padding, constant_values=PADDING)
    _cells(axs[0], colours, padded)
    axs[0].set_title(f"image, padded by {padding}")
    _mark(axs[0], (row * stride, column * stride), kernel.shape, WINDOW)
    _cells(axs[1], np.full(kernel.shape, WINDOW), kernel, alpha=0.25)
    axs[1].set_title("kernel")
    done = np.arange(output.size).reshape(output.shape) <= row * output.shape[1] + column
    _cells(axs[2], np.where(done, "white", PADDING), np.where(done, output, np.nan))
    _mark(axs[2], (row, column), (1, 1), OUTPUT)
    axs[2].set_title("output")
    window = padded[row * stride :, column * stride :][: kernel.shape[0], : kernel.shape[1]]
    terms = [
        f"{weight:g}·{value:g}"
        for weight, value in zip(kernel.ravel(), window.ravel(), strict=True)
        if weight
    ]
    fig.supxlabel(
        f"{' + '.join(terms)} = {output[row, column]:g}".replace("+ -", "− ").replace("-", "−")
    )


@figure
def window_grid(side: int, settings: Sequence[tuple[int, int, int]]) -> None:
    """Where the window stops, for several settings: the static twin of the explorer.

    Parameters
    ----------
    side
        Input side W in pixels.
    settings
        Triples (kernel size F, stride S, padding P). A dot marks the middle of every window;
        the first window is outlined. Cells no window reaches are hatched.
    """
    _, axs = panels(len(settings), (3, 3.1), columns=3)
    for ax, (kernel, stride, padding) in zip(axs.flat, settings, strict=False):
        padded = side + 2 * padding
        starts = np.arange(0, padded - kernel + 1, stride)
        colours = np.pad(
            np.full((side, side), "white", dtype="<U9"), padding, constant_values=PADDING
        )
        _cells(ax, colours)
        if left := padded - starts[-1] - kernel:
            edge, reached = padded - left - 0.5, padded - left
            hatched: dict[str, Any] = {"hatch": "xxx", "fill": False, "edgecolor": "0.6", "lw": 0}
            ax.add_patch(Rectangle((edge, -0.5), left, padded, **hatched))
            ax.add_patch(Rectangle((-0.5, edge), reached, left, **hatched))
        _mark(ax, (0, 0), (kernel, kernel), WINDOW)
        middles = starts + (kernel - 1) / 2
        ax.scatter(*np.meshgrid(middles, middles), color=OUTPUT, s=22, zorder=3)
        ax.set_title(
            f"F = {kernel}, S = {stride}, P = {padding}\noutput {len(starts)} × {len(starts)}",
            fontsize=10,
        )


@figure
def image_strip(images: Mapping[str, np.ndarray]) -> None:
    """Pictures and maps in rows of up to six, each under its title.

    Parameters
    ----------
    images
        Titles and arrays of shape (height, width) or (height, width, 3). Maps with negative
        values are drawn with zero in the middle of a diverging scale.
    """
    side = 9 / max(1, min(6, len(images)))
    _, axs = panels(len(images), (side, 1.12 * side), columns=6)
    for ax, (title, image) in zip(axs.flat, images.items(), strict=False):
        if image.ndim == 2 and image.min() < 0:
            limit = np.abs(image).max()
            ax.imshow(image, cmap="PuOr", vmin=-limit, vmax=limit)
        else:
            ax.imshow(image, cmap="gray")
        ax.set_title(title, fontsize=10)
        ax.axis("off")


@figure
def distributions(samples: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Histograms: one panel a key of the outer mapping, one outline a key of the inner."""
    _, axs = panels(len(samples), (WIDTH / max(1, len(samples)), 2.8))
    for ax, (title, groups) in zip(axs[0], samples.items(), strict=True):
        edges = np.histogram_bin_edges(np.concatenate([np.ravel(v) for v in groups.values()]), 50)
        for colour, (label, values) in zip(cycle(PALETTE), groups.items(), strict=False):
            ax.hist(
                np.ravel(values),
                edges,
                density=True,
                histtype="step",
                linewidth=1.8,
                color=colour,
                label=label,
            )
        ax.set(title=title, yticks=[], xlabel="value")
        ax.grid(visible=False)
    axs[0][-1].legend()


@figure
def receptive_field(layers: Sequence[tuple[str, int, int]]) -> None:
    """One output cell, and every cell below that can reach it, in one dimension.

    Parameters
    ----------
    layers
        Triples (name, kernel size, stride), from the image upwards.
    """
    reach = receptive_widths(layers)
    _, ax = plt.subplots(figsize=(9, 0.9 + 0.8 * len(layers)))
    strides = np.cumprod([1, *(stride for _, _, stride in layers)])
    middle = (reach[0] - 1) / 2
    rows = []
    for level, (cells, step) in enumerate(zip(reach, strides, strict=True)):
        rows.append(middle + (np.arange(cells) - (cells - 1) / 2) * step)
        ax.scatter(
            rows[level],
            np.full(cells, level),
            marker="s",
            s=70,
            zorder=3,
            color=OUTPUT if level == len(layers) else PALETTE[0],
        )
        name = "image" if level == 0 else layers[level - 1][0]
        ax.text(-1.2, level, name, ha="right", va="center")
        ax.text(reach[0] + 0.2, level, f"{cells} wide", va="center", color="0.35")
    for level, (_, kernel, stride) in enumerate(layers):
        for place, x in enumerate(rows[level + 1]):
            for below in rows[level][place * stride : place * stride + kernel]:
                ax.plot([below, x], [level, level + 1], color="0.75", linewidth=0.8, zorder=1)
    ax.set(xlim=(-1.2 - reach[0] / 4, reach[0] + reach[0] / 6), ylim=(-0.5, len(layers) + 0.5))
    ax.axis("off")


def _mark(ax: Axes, place: tuple[int, int], shape: tuple[int, ...], colour: str) -> None:
    """A frame about cells, from the row and column ``place`` on."""
    corner, (height, width) = (place[1] - 0.5, place[0] - 0.5), shape
    face = to_rgba(colour, 0.25)
    ax.add_patch(Rectangle(corner, width, height, facecolor=face, edgecolor=colour, linewidth=3))


def _cells(
    ax: Axes, colours: np.ndarray, numbers: np.ndarray | None = None, alpha: float = 1
) -> None:
    """A grid of coloured cells, with a number in each where it is not NaN."""
    height, width = colours.shape
    for row, column in np.ndindex(height, width):
        ax.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1,
                1,
                edgecolor="0.55",
                linewidth=0.8,
                facecolor=to_rgba(str(colours[row, column]), alpha),
            )
        )
        if numbers is not None and not np.isnan(numbers[row, column]):
            text = f"{numbers[row, column]:.3g}".replace("-", "−")
            ax.text(column, row, text, ha="center", va="center", fontsize=10)
    ax.set(xlim=(-0.7, width - 0.3), ylim=(height - 0.3, -0.7), aspect="equal", anchor="N")
    ax.axis("off")
