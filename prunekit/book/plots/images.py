"""Figures of image sets: what is in them, and what happens to a picture on its way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from prunekit.book.plots.style import PALETTE, bare, figure, names_along, panels


@figure
def class_grid(images: np.ndarray, labels: np.ndarray, classes: Sequence[str], each: int) -> None:
    """The first ``each`` images of every class, one row a class.

    Parameters
    ----------
    images
        uint8 array of shape (examples, height, width, 3).
    labels
        Class index of each image.

    Raises
    ------
    ValueError
        A class has fewer than ``each`` images.
    """
    height, width = images.shape[1:3]
    sheet = np.full((len(classes) * (height + 2), each * (width + 2), 3), 255, dtype=np.uint8)
    for row, name in enumerate(classes):
        members = np.flatnonzero(labels == row)[:each]
        if len(members) < each:
            raise ValueError(f"class {name} has {len(members)} images, {each} were asked for")
        for column, member in enumerate(members):
            top, left = row * (height + 2), column * (width + 2)
            sheet[top : top + height, left : left + width] = images[member]
    _, ax = plt.subplots(figsize=(9, 9 * len(classes) * height / (each * width + width)))
    ax.imshow(sheet, interpolation="nearest")
    ax.set_yticks(np.arange(len(classes)) * (height + 2) + height / 2, classes)
    ax.set_xticks([])
    bare(ax)


@figure
def class_counts(counts: pd.DataFrame) -> None:
    """Images of each class (index) in each part (columns), as stacked bars."""
    _, ax = plt.subplots(figsize=(9, 3.2))
    places, bottom = np.arange(len(counts)), np.zeros(len(counts))
    hatches = cycle((None, "///", "..."))
    for part, colour, hatch in zip(counts, cycle(PALETTE), hatches, strict=False):
        ax.bar(
            places,
            counts[part],
            bottom=bottom,
            color=colour,
            hatch=hatch,
            label=part,
            edgecolor="white",
        )
        bottom += counts[part].to_numpy()
    names_along(ax.xaxis, counts.index, rotation=30, ha="right")
    ax.set(ylabel="images", ylim=(0, bottom.max() * 1.25))
    ax.legend(ncols=len(counts.columns), loc="upper center")


@figure
def channel_histograms(images: np.ndarray) -> None:
    """How often each value occurs in the red, green and blue channel.

    Parameters
    ----------
    images
        uint8 array of shape (examples, height, width, 3).
    """
    _, ax = plt.subplots(figsize=(9, 2.8))
    for channel, (name, colour, style) in enumerate(
        (("red", PALETTE[1], "-"), ("green", PALETTE[2], "--"), ("blue", PALETTE[0], ":"))
    ):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        ax.plot(counts / counts.sum(), color=colour, linestyle=style, label=name)
    ax.set(xlabel="value of a pixel", ylabel="share of pixels", xlim=(0, 255), ylim=(0, None))
    ax.legend()


@figure
def picture_rows(rows: Mapping[str, np.ndarray]) -> None:
    """Rows of pictures of any size, each row under one name, drawn pixel by pixel.

    Parameters
    ----------
    rows
        Names and arrays of shape (pictures, height, width, 3), uint8 or float in [0, 1]. The
        rows may differ in height and width, but not in the number of pictures.
    """
    count = len(next(iter(rows.values())))
    side = 9 / (count + 1)
    _, axs = panels(len(rows) * count, (9 / count, 0.3 / len(rows) + side), columns=count)
    for line, (name, pictures) in zip(axs, rows.items(), strict=True):
        for ax, picture in zip(line, pictures, strict=True):
            ax.imshow(picture, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            bare(ax)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")


@figure
def film(path: str | Path) -> None:
    """The first six frames of a video, row by row."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    try:
        shown = [frame[..., ::-1] for there, frame in (capture.read() for _ in range(6)) if there]
    finally:
        capture.release()
    if not shown:
        raise ValueError(f"{path} has no frame that can be read")
    _, axs = panels(len(shown), (9.4 / 3, 3.1), columns=3)
    for ax, frame in zip(axs.flat, shown, strict=False):
        ax.axis("off")
        ax.imshow(frame)
