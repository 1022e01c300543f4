"""Figures on the way from a trained network to a board."""

from __future__ import annotations

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.patches import FancyArrowPatch

from prunekit.book.plots.pruning import short_name
from prunekit.book.plots.style import (
    MARKERS,
    NEUTRAL,
    PALETTE,
    WIDTH,
    box,
    figure,
    names_along,
    percent,
    side_by_side,
)
from prunekit.book.readings import stored

ENGINE_LABELS = {
    "pytorch": "PyTorch",
    "torch.compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "executorch": "ExecuTorch",
}


@figure
def way_to_a_board() -> None:
    """The steps from a module in Python to a program on a board."""
    boxes = [
        ("PyTorch module", "code and weights"),
        ("Exported graph", "operations,\nfixed shapes"),
        ("Quantised graph", "int8 weights,\nranges"),
        ("Bundle", "models, images,\nrunner, hashes"),
        ("Board", "copy, verify,\nrun, compare"),
    ]
    arrows = ["export,\ncheck", "calibrate,\nmeasure", "pack", "ssh"]
    _, ax = plt.subplots(figsize=(9.4, 1.9))
    for place, (title, text) in enumerate(boxes):
        x = 2.9 * place
        box(ax, x, 0, 1.9, 1.1, edgecolor=PALETTE[place in (3, 4)])
        ax.text(x, 0.27, title, ha="center", va="center", fontsize=9, weight="bold")
        ax.text(x, -0.2, text, ha="center", va="center", fontsize=7.5)
        if place < len(arrows):
            ends = (x + 1.06, 0), (x + 1.84, 0)
            ax.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=12, color="0.3"))
            ax.text(x + 1.45, 0.85, arrows[place], ha="center", va="center", fontsize=8)
    ax.set(xlim=(-1.2, 12.8), ylim=(-0.8, 1.2), aspect="equal")
    ax.axis("off")


@figure
def rounding_line(scale: float, zero_point: int, bits: int = 8) -> None:
    """What affine quantisation to unsigned integers does to real numbers."""
    levels = 2**bits - 1
    low, high = -scale * zero_point, scale * (levels - zero_point)
    x = np.linspace(low - 0.25 * (high - low), high + 0.25 * (high - low), 800)
    _, ax = plt.subplots(figsize=(7, 3))
    ax.plot(x, x, "--", color=NEUTRAL, linewidth=1, label="the number itself")
    ax.plot(x, stored(x, scale, zero_point, bits), color=PALETTE[0], label=f"stored in {bits} bits")
    ax.axvspan(x[0], low, color=PALETTE[1], alpha=0.12, linewidth=0)
    ax.axvspan(high, x[-1], color=PALETTE[1], alpha=0.12, linewidth=0, label="clipped")
    ax.set(xlabel="before", ylabel="after", xlim=(x[0], x[-1]))
    ax.legend(loc="upper left")


@figure
def size_and_accuracy(files: pd.DataFrame) -> None:
    """Bytes of each file, and accuracy of each, for original and pruned in float32 and int8.

    ``files`` has the columns ``model``, ``engine``, ``precision``, ``bytes``
    and ``accuracy``.
    """
    files = files[files["bytes"].notna()]
    engines = list(dict.fromkeys(files["engine"]))
    forms = list(dict.fromkeys(zip(files["model"], files["precision"], strict=True)))
    _, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.4), sharey=True)
    shifts, height = side_by_side(len(engines))
    for engine, shift, colour in zip(engines, shifts, cycle(PALETTE), strict=False):
        rows = files[files["engine"] == engine].set_index(["model", "precision"]).reindex(forms)
        places, label = np.arange(len(forms)) + shift, ENGINE_LABELS.get(engine, engine)
        kilobytes = rows["bytes"].astype(float) / 1e3
        bars = left.barh(places, kilobytes, height, color=colour, label=label)
        texts = ["" if np.isnan(size) else f"{size:,.0f}" for size in kilobytes]
        left.bar_label(bars, texts, fontsize=8, padding=2)
        right.plot(rows["accuracy"].astype(float), places, "o", color=colour, label=label)
    names_along(left.yaxis, map(" ".join, forms))
    left.invert_yaxis()
    left.set(xlabel="size of the file (kB)")
    left.margins(x=0.12)
    right.set(xlabel="validation accuracy")
    percent(right.xaxis)
    left.legend()


@figure
def savings(costs: pd.DataFrame) -> None:
    """What is left of the time or the instructions, against what is left of the MACs.

    ``costs`` has the columns ``series``, ``macs_left`` and ``cost_left``
    (fractions of the original). On the diagonal every MAC saved is saved time.
    """
    _, ax = plt.subplots(figsize=(6.6, 4.2))
    ax.plot([0, 1], [0, 1], "--", color=NEUTRAL, linewidth=1, label="all that is saved arrives")
    series = costs.groupby("series", sort=False)
    for (name, rows), colour, marker in zip(series, cycle(PALETTE), cycle(MARKERS), strict=False):
        line = {"color": colour, "marker": marker, "markersize": 5, "label": name}
        ax.plot("macs_left", "cost_left", data=rows.sort_values("macs_left"), **line)
    ax.set(xlabel="MACs left", ylabel="cost left", xlim=(0, 1.03), ylim=(0, None))
    percent(ax.xaxis, ax.yaxis)
    ax.legend()


@figure
def before_and_after(table: pd.DataFrame) -> None:
    """Original and pruned side by side, after figure 10.8 of the thesis: a panel for each unit.

    ``table`` has the columns ``unit``, ``where``, ``model``, ``value`` and
    ``test_accuracy``, which the legend says of each model.
    """
    right = table.groupby("model")["test_accuracy"].first().dropna()
    names = {model: f"{model}, {share:.1%} of test images right" for model, share in right.items()}
    table = table.replace({"model": names})
    units = list(dict.fromkeys(table["unit"]))
    widths = [table.loc[table["unit"] == unit, "where"].nunique() for unit in units]
    _, axs = plt.subplots(1, len(units), figsize=(WIDTH, 3.6), width_ratios=widths, squeeze=False)
    for ax, unit in zip(axs.flat, units, strict=True):
        rows = table[table["unit"] == unit]
        for bars in _bars(ax, rows, "where", "model", "value"):
            heights = [bar.get_height() for bar in bars]
            texts = ["" if np.isnan(height) else f"{height:.3g}" for height in heights]
            ax.bar_label(bars, texts, fontsize=7)
        ax.set(ylabel=unit)
    axs.flat[0].legend()


@figure
def layer_savings(layers: pd.DataFrame) -> None:
    """MACs and milliseconds of each layer, before (grey) and after pruning (colour).

    ``layers`` has the columns ``layer``, ``model`` (``original`` or
    ``pruned``), ``macs`` and ``ms``.
    """
    names = list(dict.fromkeys(layers["layer"]))
    _, axs = plt.subplots(2, 1, figsize=(9.2, 4.8), sharex=True)
    units = (("macs", "million MACs", 1e6), ("ms", "milliseconds", 1))
    for ax, (column, label, unit) in zip(axs, units, strict=True):
        for model, colour in (("original", "0.8"), ("pruned", PALETTE[0])):
            rows = layers[layers["model"] == model].set_index("layer")[column].reindex(names)
            ax.bar(range(len(names)), rows / unit, color=colour, label=model)
        ax.set(ylabel=label)
        ax.grid(False, axis="x")
    axs[0].legend()
    ticks = [short_name(name).replace("everything else", "rest") for name in names]
    names_along(axs[1].xaxis, ticks, rotation=90, fontsize=7)


@figure
def rounding_costs(table: pd.DataFrame) -> None:
    """What is left of several costs, for widths of any number and for multiples of 4 and 8.

    ``table`` has the columns ``model``, ``cost`` and ``left`` (a fraction of
    the unpruned network's).
    """
    _, ax = plt.subplots(figsize=(8.6, 3.4))
    _bars(ax, table, "cost", "model", "left")
    ax.set(ylabel="left of the unpruned")
    percent(ax.yaxis)
    ax.legend()


def _bars(ax: Axes, table: pd.DataFrame, place: str, series: str, value: str) -> list[BarContainer]:
    """Bars of every series side by side at each place, in the order of the table."""
    places, names = (list(dict.fromkeys(table[column])) for column in (place, series))
    shifts, width = side_by_side(len(names))
    drawn = []
    for name, shift, colour in zip(names, shifts, cycle(PALETTE), strict=False):
        heights = table[table[series] == name].set_index(place)[value].reindex(places)
        at = np.arange(len(places)) + shift
        drawn.append(ax.bar(at, heights, width, color=colour, label=name))
    names_along(ax.xaxis, places, fontsize=8)
    return drawn
