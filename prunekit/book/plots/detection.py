"""Figures of detectors: boxes on pictures, anchors, precision over recall and against MACs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from prunekit.book.findings import over_seeds
from prunekit.book.plots.style import NEUTRAL, PALETTE, bare, figure, panels, percent
from prunekit.detection import PrecisionCurve
from prunekit.detection.anchors import shapes

KNOWN: dict[str, Any] = {"edgecolor": "white", "linewidth": 2.6, "linestyle": "-"}
KNOWN_INSIDE: dict[str, Any] = {"edgecolor": PALETTE[2], "linewidth": 1.4, "linestyle": "--"}
FOUND: dict[str, Any] = {"edgecolor": PALETTE[4], "linewidth": 1.6}
NONE = torch.zeros(0, 4)


class Boxed(NamedTuple):
    """A picture, and boxes to draw on it in shares of its sides.

    Attributes
    ----------
    title : str
    image : uint8 tensor of shape (3, height, width)
    known, found : tensors of shape (boxes, 4)
        Dashed and solid.
    scores : tensor of shape (found,), or None
        What is written at each box that was found.
    """

    title: str
    image: Tensor
    known: Tensor = NONE
    found: Tensor = NONE
    scores: Tensor | None = None


@figure
def pictures_with_boxes(pictures: Sequence[Boxed], columns: int | None = None) -> None:
    """Each picture with its known boxes dashed, those that were found solid with their scores."""
    _, axs = panels(len(pictures), (3.2, 3.4), columns)
    for ax, (title, image, known, found, scores) in zip(axs.flat, pictures, strict=False):
        height, width = _show(ax, image, title)
        _rectangles(ax, known, (width, height), KNOWN)  # pale below, so that dashes show
        _rectangles(ax, known, (width, height), KNOWN_INSIDE)
        _rectangles(ax, found, (width, height), FOUND)
        for box, score in zip(found, [] if scores is None else scores, strict=False):
            x, y = float(box[0]) * width, float(box[1]) * height
            look = {"facecolor": PALETTE[4], "edgecolor": "none", "pad": 1}
            place = (min(max(x, 0.0), 0.86 * width), min(max(y, 0.06 * height), float(height)))
            ax.text(*place, f"{score:.2f}", fontsize=7, va="bottom", bbox=look)


@figure
def places_and_shapes(image: Tensor, anchors: Tensor, maps: Sequence[int]) -> None:
    """For each map the middles of all its places, and the anchors of the one in the middle.

    Parameters
    ----------
    image
        uint8 of shape (3, height, width).
    anchors
        As :func:`prunekit.detection.ssd_anchors` makes them of ``maps``.
    """
    counts = [len(of_map) for of_map in shapes(len(maps))]
    ends = np.cumsum([0, *(side * side * n for side, n in zip(maps, counts, strict=True))])
    _, axs = panels(len(maps), (3.2, 3.5), columns=3)
    rows = zip(axs.flat, maps, counts, pairwise(ends), strict=False)
    for ax, side, count, (begin, end) in rows:
        height, width = _show(ax, image, f"{side} x {side} places, {count} anchors each")
        places = anchors[begin:end].view(side, side, count, 4)
        middles = (places[:, :, 0, :2] + places[:, :, 0, 2:]).view(-1, 2) / 2
        ax.plot(*(middles * torch.tensor([width, height])).T, ".", color="white", markersize=3)
        ax.plot(*(middles * torch.tensor([width, height])).T, ".", color="black", markersize=1.5)
        _rectangles(ax, places[side // 2, side // 2], (width, height), FOUND)


@figure
def precision_over_recall(curve: PrecisionCurve) -> None:
    """Precision against recall as the score falls, its ceiling, and the 11 points read from it."""
    _, ax = plt.subplots(figsize=(6.4, 3.8))
    recall = curve.true / curve.objects
    precision = curve.true / np.maximum(curve.true + curve.false, 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.concatenate([[0.0], recall])
    ceiling = np.concatenate([best[:1], best])
    area, eleven = curve.average_precision(), curve.average_precision(points=11)
    ax.plot(recall, precision, color=NEUTRAL, linewidth=0.8, label="precision at this recall")
    ax.step(at, ceiling, color=PALETTE[0], label=f"best from here on: area {area:.3f}")
    ax.fill_between(at, ceiling, step="pre", color=PALETTE[0], alpha=0.12, linewidth=0)
    steps = np.linspace(0, 1, 11)
    found = np.append(best, 0.0)[np.searchsorted(recall, steps - 1e-9)]
    ax.plot(steps, found, "D", color=PALETTE[1], markersize=4, label=f"11 points: {eleven:.3f}")
    ax.set(xlim=(-0.02, 1.02), ylim=(0, 1.04), xlabel="recall", ylabel="precision")
    ax.legend(loc="lower left")


@figure
def precision_against_macs(networks: pd.DataFrame, unpruned: str) -> None:
    """Average precision on test against the MACs left: rings for seeds, diamonds for means.

    Parameters
    ----------
    networks
        Rows ``variant``, ``seed``, ``macs`` and ``test_average_precision``.
    unpruned
        The variant whose MACs are 100 %, and whose mean is a dotted line.
    """
    value = "test_average_precision"
    whole = networks["variant"] == unpruned
    left = networks.assign(share=networks["macs"] / networks.loc[whole, "macs"].mean())
    means = over_seeds(left, value, by=["variant"])["mean"]
    places = left.groupby("variant", sort=False)["share"].mean()
    _, ax = plt.subplots(figsize=(6.4, 3.6))
    ax.plot(left["share"], left[value], "o", fillstyle="none", color=NEUTRAL, label="one seed")
    ax.plot(places, means[places.index], "D", color=PALETTE[0], markersize=6, label="mean")
    ax.axhline(means[unpruned], color="black", linestyle=":", linewidth=1, label="unpruned")
    ax.set(xlim=(0, 1.05), xlabel="MACs left", ylabel="average precision on test")
    percent(ax.xaxis)
    ax.legend(loc="lower right")


def _show(ax: Axes, image: Tensor, title: str) -> tuple[int, int]:
    """Draw a picture bare, with its title; its height and width."""
    ax.imshow(image.permute(1, 2, 0).cpu().numpy())
    ax.set_title(title, fontsize=9)
    ax.set_xticks([])
    ax.set_yticks([])
    bare(ax)
    height, width = image.shape[-2:]
    ax.set(xlim=(0, width), ylim=(height, 0))
    return height, width


def _rectangles(ax: Axes, boxes: Tensor, size: tuple[int, int], look: dict[str, Any]) -> None:
    width, height = size
    for x1, y1, x2, y2 in (boxes.cpu() * torch.tensor([width, height, width, height])).tolist():
        ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **look))
