"""Channel labels as pictures: which filters of a network must go together, and which numbers go.

Both figures draw what the tracer finds. Nothing in them is set by hand.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import PathPatch, Polygon, Rectangle
from matplotlib.path import Path
from matplotlib.typing import ColorType
from torch import Tensor, nn

from prunekit.book.plots.style import PALETTE, figure, ink_on
from prunekit.book.readings import group_slices, refuse_unknown_group
from prunekit.book.steps import Step, channel_steps
from prunekit.channels.labels import MUST_STAY

COLOURS = tuple(colour for colour in PALETTE if colour != "#000000")
STAYS, PALE = "0.8", "0.93"
STEP = 3.4  # from one column of channels to the next, where a channel is a square of side 1
GAP = 3.2  # between columns that stand one above the other


@figure
def flow_figure(model: nn.Module, example_inputs: Tensor, group: int | None = None) -> None:
    """Channels as squares on their way through a small network, coloured by dependency group.

    Parameters
    ----------
    model
        A network of a few channels: each one is drawn.
    example_inputs
        Of shape (1, channels, height, width).
    group
        Draw only this dependency group in colour.

    Raises
    ------
    ValueError
        The model has no such group.
    """
    steps = channel_steps(model, example_inputs)
    refuse_unknown_group(group, {int(g) for step in steps for g in step.groups})
    places = _places(steps)
    half = np.array([len(step.groups) / 2 for step in steps])
    tops, bottoms = places[:, 1] + half, places[:, 1] - half - 1.3  # with room for the kind
    wide, high = places[:, 0].max() + 2.6, tops.max() + 1.6
    fig, ax = plt.subplots()
    for i, step in enumerate(steps):
        for source in step.sources:
            between = (places[source, 0] < places[:, 0]) & (places[:, 0] < places[i, 0])
            level = places[source, 1]
            blocking = between & (bottoms < level) & (level < tops + 1)
            under = bottoms[blocking].min() if blocking.any() else None
            ends = (steps[source], places[source]), (step, places[i])
            _draw_edge(ax, *ends, under, group)
    for step, place, top in zip(steps, places, tops, strict=True):
        _draw_column(ax, step, place, group)
        middle = {"x": place[0] + 0.5, "fontsize": 7.5, "ha": "center", "linespacing": 0.95}
        ax.text(y=top + 0.3, s=step.name.replace(".", ".\n"), va="bottom", **middle)
        below = 2 * place[1] - top - 0.3
        ax.text(y=below, s=step.kind, va="top", color="0.35", **middle)
    drawn = [np.asarray(patch.get_path().vertices)[:, 1].min() for patch in ax.patches]
    low = min(bottoms.min(), *drawn)
    inches = min(9.6 / (wide + 1.2), 0.3)
    fig.set_size_inches(inches * (wide + 1.2), inches * (high - low + 1.0))
    ax.set(xlim=(-1.2, wide), ylim=(low - 0.2, high + 0.8), aspect="equal")
    ax.axis("off")


def _places(steps: list[Step]) -> np.ndarray:
    """Left edge and vertical centre of each step's column: as deep as its longest way from the
    start, level with what it comes from, and clear of the columns beside it.
    """
    depth: list[int] = []
    for step in steps:
        depth.append(1 + max((depth[source] for source in step.sources), default=-1))
    centre = np.zeros(len(steps))
    for level in range(max(depth) + 1):
        here = [i for i, at in enumerate(depth) if at == level]
        wanted = {i: float(np.mean([centre[s] for s in steps[i].sources] or [0.0])) for i in here}
        here.sort(key=lambda i: -wanted[i])
        heights = np.array([len(steps[i].groups) + GAP for i in here])
        stacked = np.cumsum(heights) - heights / 2
        middle = heights.sum() / 2 + np.mean(list(wanted.values()))
        centre[here] = middle - stacked
    return np.stack([STEP * np.array(depth), centre], axis=1)


def _draw_column(ax: Axes, step: Step, place: np.ndarray, group: int | None) -> None:
    for y, number in zip(_rows(step, place), step.groups.tolist(), strict=True):
        colour = group_colour(number) if group in (None, number) else PALE
        ax.add_patch(Rectangle((place[0], y), 1, 1, facecolor=colour, edgecolor="white", zorder=3))
        ax.text(
            place[0] + 0.5,
            y + 0.48,
            str(number),
            ha="center",
            va="center",
            fontsize=7,
            color=ink_on(colour),
            zorder=4,
        )


def _draw_edge(
    ax: Axes,
    start: tuple[Step, np.ndarray],
    end: tuple[Step, np.ndarray],
    under: float | None,
    group: int | None,
) -> None:
    """A band where all channels meet all, else a line a channel, ``under`` what stands between."""
    (step, place), (target, aim) = start, end
    left, right = place[0] + 1, aim[0]
    if target.mixes:
        half, other = len(step.groups) / 2, len(target.groups) / 2
        corners = [
            (left, place[1] + half),
            (right, aim[1] + other),
            (right, aim[1] - other),
            (left, place[1] - half),
        ]
        ax.add_patch(Polygon(corners, facecolor="0.95", zorder=0))
        return
    rows, aims = _rows(step, place), _rows(target, aim)
    for i, j in _pairs(step, target):
        y, goal, number = rows[i] + 0.5, aims[j] + 0.5, int(target.groups[j])
        bend = (right - left) / 3
        curve = [(left, y), (left + bend, y), (right - bend, goal), (right, goal)]
        if under is not None:
            deep = under - 0.35 * i
            curve = [
                (left, y),
                (left + 1.2, y),
                (left + 0.4, deep),
                (left + 1.8, deep),
                (right - 1.8, deep),
                (right - 1.8, deep),
                (right - 1.8, deep),
                (right - 0.4, deep),
                (right - 1.2, goal),
                (right, goal),
            ]
        path = Path(curve, [Path.MOVETO, *[Path.CURVE4] * (len(curve) - 1)])
        bold = group in (None, number)
        ax.add_patch(
            PathPatch(
                path,
                fill=False,
                edgecolor=group_colour(number) if bold else PALE,
                linewidth=1.6,
                zorder=2 if bold else 1,
            )
        )


def _pairs(step: Step, target: Step) -> Iterator[tuple[int, int]]:
    """Which channel of a step becomes, or meets, which channel of a later one."""
    found = {label: j for j, label in enumerate(target.labels.tolist()) if label != MUST_STAY}
    moved = [(i, found[label]) for i, label in enumerate(step.labels.tolist()) if label in found]
    if moved:
        yield from moved
    elif step.groups.any() and len(target.groups) % len(step.groups) == 0:
        each = len(target.groups) // len(step.groups)
        yield from ((j // each, j) for j in range(len(target.groups)))


def _rows(step: Step, place: np.ndarray) -> np.ndarray:
    """Lower edge of each channel's square, the first on top."""
    count = len(step.groups)
    return place[1] + count / 2 - 1 - np.arange(count)


@figure
def slices_figure(model: nn.Module, example_inputs: Tensor, group: int) -> None:
    """All numbers of a small network, a panel a module; those that one dependency group takes.

    A row is a filter and a column an input channel. A cell of a convolution
    stands for a whole kernel. Biases and the tensors of a batch norm are
    columns of their own.

    Raises
    ------
    ValueError
        The model has no such group.
    """
    cells, taken, total = group_slices(model, example_inputs, group)
    widths = [sum(map(_room, hits)) + 1.2 for hits in cells.values()]
    tall = max(hit.shape[0] for hits in cells.values() for hit in hits)
    inches = min(0.26, 9.4 / sum(widths))
    fig, axs = plt.subplots(
        1,
        len(cells),
        figsize=(inches * sum(widths) + 0.2, inches * tall + 0.8),
        squeeze=False,
        width_ratios=widths,
    )
    for ax, width, (name, hits) in zip(axs.flat, widths, cells.items(), strict=True):
        x = 0.0
        for hit in hits:
            for (row, column), cut in np.ndenumerate(hit):
                face = group_colour(group) if cut else STAYS
                corner = (x + column, -row - 1)
                ax.add_patch(Rectangle(corner, 1, 1, edgecolor="white", facecolor=face))
            x += _room(hit)
        ax.set(xlim=(-0.4, width - 0.4), ylim=(-tall, 0), aspect="equal", anchor="NW")
        ax.set_title(name.replace(".", ".\n"), fontsize=7.5, fontweight="normal", loc="left")
        ax.axis("off")
    fig.suptitle(f"Group {group} takes {taken} of {total} numbers", fontsize=9, x=0.01, ha="left")


def _room(hit: np.ndarray) -> float:
    """Columns stand close, and apart from a matrix."""
    return hit.shape[1] + (0.4 if hit.shape[1] > 1 else 0.0)


def group_colour(group: int) -> ColorType:
    """Grey for what must stay. From the eighth group on colours come again, darker."""
    if group == MUST_STAY:
        return STAYS
    turn, place = divmod(group - 1, len(COLOURS))
    hue, light, strong = colorsys.rgb_to_hls(*to_rgb(COLOURS[place]))
    return colorsys.hls_to_rgb(hue, light * 0.6**turn, strong)
