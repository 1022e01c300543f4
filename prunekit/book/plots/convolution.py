"""Figures of what a layer does to an array: windows, paddings, pooling, receptive fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from prunekit.book.plots.style import PALETTE

MARK, PADDING, OUTPUT, WINDOW = PALETTE[5], "0.88", PALETTE[2], PALETTE[1]


def number_grids(arrays: Mapping[str, np.ndarray], *, marked: Sequence[np.ndarray] = ()) -> Figure:
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
    figure, panels = plt.subplots(
        1,
        len(arrays),
        figsize=(0.5 * sum(sides) + 0.8 * len(sides), 0.5 * max(sides) + 0.5),
        width_ratios=sides,
        squeeze=False,
    )
    for place, (axes, (title, array)) in enumerate(zip(panels[0], arrays.items(), strict=True)):
        mask = marked[place] if marked else np.zeros(array.shape, dtype=bool)
        colours = np.where(mask, MARK, "white")
        _cells(axes, colours, array)
        axes.set_title(title)
    plt.close(figure)
    return figure


def convolution_step(
    image: np.ndarray,
    kernel: np.ndarray,
    output: np.ndarray,
    *,
    stride: int,
    padding: int,
    position: tuple[int, int],
) -> Figure:
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
    figure, panels = plt.subplots(
        1, 3, figsize=(9, 4.2), width_ratios=[padded.shape[1], kernel.shape[1], output.shape[1]]
    )
    colours = np.pad(np.full(image.shape, "white", dtype="<U9"), padding, constant_values=PADDING)
    _cells(panels[0], colours, padded)
    panels[0].set_title(f"image, padded by {padding}")
    corner = (column * stride - 0.5, row * stride - 0.5)
    panels[0].add_patch(
        Rectangle(
            corner,
            kernel.shape[1],
            kernel.shape[0],
            fill=True,
            facecolor=(*_rgb(WINDOW), 0.25),
            edgecolor=WINDOW,
            linewidth=3,
        )
    )
    _cells(panels[1], np.full(kernel.shape, WINDOW), kernel, alpha=0.25)
    panels[1].set_title("kernel")
    done = np.arange(output.size).reshape(output.shape) <= row * output.shape[1] + column
    _cells(panels[2], np.where(done, "white", PADDING), np.where(done, output, np.nan))
    panels[2].add_patch(
        Rectangle(
            (column - 0.5, row - 0.5),
            1,
            1,
            facecolor=(*_rgb(OUTPUT), 0.3),
            edgecolor=OUTPUT,
            linewidth=3,
        )
    )
    panels[2].set_title("output")
    window = padded[row * stride :, column * stride :][: kernel.shape[0], : kernel.shape[1]]
    terms = [
        f"{weight:g}·{value:g}"
        for weight, value in zip(kernel.ravel(), window.ravel(), strict=True)
        if weight
    ]
    figure.supxlabel(
        f"{' + '.join(terms)} = {output[row, column]:g}".replace("+ -", "− ").replace("-", "−")
    )
    plt.close(figure)
    return figure


def window_grid(side: int, settings: Sequence[tuple[int, int, int]]) -> Figure:
    """Where the window stops, for several settings: the static twin of the explorer.

    Parameters
    ----------
    side
        Input side W in pixels.
    settings
        Triples (kernel size F, stride S, padding P). A dot marks the middle of every window;
        the first window is outlined. Cells no window reaches are hatched.
    """
    columns = min(3, len(settings))
    rows = -(-len(settings) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(9, 3.1 * rows), squeeze=False)
    for axes in panels.flat[len(settings) :]:
        axes.remove()
    for axes, (kernel, stride, padding) in zip(panels.flat, settings, strict=False):
        padded = side + 2 * padding
        starts = np.arange(0, padded - kernel + 1, stride)
        colours = np.pad(
            np.full((side, side), "white", dtype="<U9"), padding, constant_values=PADDING
        )
        _cells(axes, colours)
        reached = starts[-1] + kernel
        if reached < padded:
            for corner, width, height in (
                ((reached - 0.5, -0.5), padded - reached, padded),
                ((-0.5, reached - 0.5), reached, padded - reached),
            ):
                axes.add_patch(
                    Rectangle(
                        corner, width, height, hatch="xxx", fill=False, edgecolor="0.6", linewidth=0
                    )
                )
        axes.add_patch(
            Rectangle(
                (-0.5, -0.5),
                kernel,
                kernel,
                facecolor=(*_rgb(WINDOW), 0.25),
                edgecolor=WINDOW,
                linewidth=2.5,
            )
        )
        middles = starts + (kernel - 1) / 2
        axes.scatter(*np.meshgrid(middles, middles), color=OUTPUT, s=22, zorder=3)
        axes.set_title(
            f"F = {kernel}, S = {stride}, P = {padding}\noutput {len(starts)} × {len(starts)}",
            fontsize=10,
        )
    plt.close(figure)
    return figure


def image_strip(images: Mapping[str, np.ndarray], *, columns: int = 6) -> Figure:
    """Pictures and maps in rows, each under its title.

    Parameters
    ----------
    images
        Titles and arrays of shape (height, width) or (height, width, 3). Maps with negative
        values are drawn with zero in the middle of a diverging scale.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(9, 9 / columns * rows * 1.12), squeeze=False
    )
    for axes in panels.flat[len(images) :]:
        axes.remove()
    for axes, (title, image) in zip(panels.flat, images.items(), strict=False):
        if image.ndim == 2 and image.min() < 0:
            limit = np.abs(image).max()
            axes.imshow(image, cmap="PuOr", vmin=-limit, vmax=limit)
        else:
            axes.imshow(image, cmap="gray")
        axes.set_title(title, fontsize=10)
        axes.axis("off")
    plt.close(figure)
    return figure


def distributions(samples: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Histograms: one panel a key of the outer mapping, one outline a key of the inner."""
    figure, panels = plt.subplots(1, len(samples), figsize=(9, 2.8), squeeze=False)
    for axes, (title, groups) in zip(panels[0], samples.items(), strict=True):
        edges = np.histogram_bin_edges(np.concatenate([np.ravel(v) for v in groups.values()]), 50)
        for colour, (label, values) in zip(PALETTE, groups.items(), strict=False):
            axes.hist(
                np.ravel(values),
                edges,
                density=True,
                histtype="step",
                linewidth=1.8,
                color=colour,
                label=label,
            )
        axes.set(title=title, yticks=[], xlabel="value")
        axes.grid(visible=False)
    panels[0][-1].legend()
    plt.close(figure)
    return figure


def receptive_field(layers: Sequence[tuple[str, int, int]]) -> Figure:
    """One output cell, and every cell below that can reach it, in one dimension.

    Parameters
    ----------
    layers
        Triples (name, kernel size, stride), from the image upwards.
    """
    reach = [1]
    for _, kernel, stride in reversed(layers):
        reach.append((reach[-1] - 1) * stride + kernel)
    reach.reverse()
    figure, axes = plt.subplots(figsize=(9, 0.9 + 0.8 * len(layers)))
    strides = np.cumprod([1, *(stride for _, _, stride in layers)])
    middle = (reach[0] - 1) / 2
    rows = []
    for level, (cells, step) in enumerate(zip(reach, strides, strict=True)):
        rows.append(middle + (np.arange(cells) - (cells - 1) / 2) * step)
        axes.scatter(
            rows[level],
            np.full(cells, level),
            marker="s",
            s=70,
            zorder=3,
            color=OUTPUT if level == len(layers) else PALETTE[0],
        )
        name = "image" if level == 0 else layers[level - 1][0]
        axes.text(-1.2, level, name, ha="right", va="center")
        axes.text(reach[0] + 0.2, level, f"{cells} wide", va="center", color="0.35")
    for level, (_, kernel, stride) in enumerate(layers):
        for place, x in enumerate(rows[level + 1]):
            for below in rows[level][place * stride : place * stride + kernel]:
                axes.plot([below, x], [level, level + 1], color="0.75", linewidth=0.8, zorder=1)
    axes.set(xlim=(-1.2 - reach[0] / 4, reach[0] + reach[0] / 6), ylim=(-0.5, len(layers) + 0.5))
    axes.axis("off")
    plt.close(figure)
    return figure


def _cells(
    axes: Axes, colours: np.ndarray, numbers: np.ndarray | None = None, alpha: float = 1
) -> None:
    """A grid of coloured cells, with a number in each where it is not NaN."""
    height, width = colours.shape
    for row, column in np.ndindex(height, width):
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1,
                1,
                edgecolor="0.55",
                linewidth=0.8,
                facecolor=(*_rgb(colours[row, column]), alpha),
            )
        )
        if numbers is not None and not np.isnan(numbers[row, column]):
            text = f"{numbers[row, column]:.3g}".replace("-", "−")
            axes.text(column, row, text, ha="center", va="center", fontsize=10)
    axes.set(xlim=(-0.7, width - 0.3), ylim=(height - 0.3, -0.7), aspect="equal", anchor="N")
    axes.axis("off")


def _rgb(colour: str) -> tuple[float, float, float]:
    return plt.matplotlib.colors.to_rgb(colour)
