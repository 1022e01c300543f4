"""Drawings of SqueezeNet and its Fire module, made from the modules and tables themselves."""

from __future__ import annotations

from typing import Protocol

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import nn

from prunekit.book.plots.style import PALETTE, figure, numbers


class FireModule(Protocol):
    """What a Fire module is made of, be it torchvision's or our own."""

    squeeze: nn.Conv2d
    expand1x1: nn.Conv2d
    expand3x3: nn.Conv2d


@figure
def fire_module(fire: FireModule, inputs: int) -> None:
    """Draw a Fire module from its own layers, with their shapes and parameters.

    Parameters
    ----------
    fire
        A module with these three convolutions.
    inputs
        Channels of the map that enters.
    """
    squeeze, one, three = fire.squeeze, fire.expand1x1, fire.expand3x3
    _, ax = plt.subplots(figsize=(9, 3.4))
    ax.set(xlim=(0, 10), ylim=(0, 4))
    ax.axis("off")
    _box(ax, 0.9, 2, f"input\n{inputs} channels", "0.9")
    _box(ax, 3.3, 2, f"squeeze\n{_conv_text(squeeze)}", PALETTE[2])
    _box(ax, 6.2, 3.1, f"expand 1×1\n{_conv_text(one)}", PALETTE[0])
    _box(ax, 6.2, 0.9, f"expand 3×3\n{_conv_text(three)}", PALETTE[5])
    _box(ax, 9.1, 2, f"concatenated\n{one.out_channels + three.out_channels} channels", "0.9")
    for start, end in (
        ((1.5, 2), (2.4, 2)),
        ((4.25, 2.2), (5.3, 3.0)),
        ((4.25, 1.8), (5.3, 1.0)),
        ((7.1, 3.0), (8.4, 2.2)),
        ((7.1, 1.0), (8.4, 1.8)),
    ):
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "0.3"})


@figure
def network_map(stages: pd.DataFrame) -> None:
    """Draw a network as a row of blocks: height is the map's side, width its channels.

    Parameters
    ----------
    stages
        Columns ``stage`` (name), ``channels``, ``side`` (pixels), in order of execution.
    """
    _, ax = plt.subplots(figsize=(9, 3.6))
    widths = 0.25 + stages["channels"] / stages["channels"].max()
    heights = 0.25 + 3 * stages["side"] / stages["side"].max()
    left = np.r_[0, (widths + 0.55).cumsum()[:-1]]
    for x, width, height, (_, stage) in zip(left, widths, heights, stages.iterrows(), strict=True):
        colour = PALETTE[1] if "pool" in stage["stage"].lower() else PALETTE[0]
        ax.add_patch(
            Rectangle(
                (x, -height / 2), width, height, facecolor=colour, edgecolor="white", alpha=0.85
            )
        )
        ax.text(
            x + width / 2,
            -height / 2 - 0.1,
            stage["stage"],
            ha="right",
            va="top",
            rotation=45,
            rotation_mode="anchor",
            fontsize=8,
        )
        ax.text(
            x + width / 2,
            height / 2 + 0.08,
            f"{stage['channels']}\n{stage['side']} px",
            ha="center",
            va="bottom",
            fontsize=7.5,
        )
    ax.set(xlim=(-0.5, left[-1] + widths.iloc[-1] + 0.3), ylim=(-2.5, 2.1))
    ax.axis("off")


@figure
def map_sizes(table: pd.DataFrame) -> None:
    """Side of the map after each stage (rows) for several input sizes (columns), in pixels."""
    _, ax = plt.subplots(figsize=(6.5, 0.9 + 0.3 * len(table)))
    texts = table.map("{0} × {0}".format).to_numpy()
    numbers(ax, np.log2(table.astype(float)).rename(columns="{} px".format), texts)
    ax.set_xlabel("side of the input image")


def _conv_text(conv: nn.Conv2d) -> str:
    weights = sum(parameter.numel() for parameter in conv.parameters())
    return (
        f"{conv.out_channels} filters of {conv.in_channels}×{conv.kernel_size[0]}×"
        f"{conv.kernel_size[1]}\n{weights:,} parameters"
    )


def _box(ax: Axes, x: float, y: float, text: str, colour: str) -> None:
    """A rounded box around ``text``, centred on (x, y)."""
    ax.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=9,
        linespacing=1.4,
        bbox={"boxstyle": "round,pad=0.6", "facecolor": colour, "alpha": 0.35, "edgecolor": "0.3"},
    )
