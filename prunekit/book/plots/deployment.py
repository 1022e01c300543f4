"""Figures on the way from a trained network to a board."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import PercentFormatter

from prunekit.book.plots.pruning import short_name
from prunekit.book.plots.style import NEUTRAL, PALETTE

ENGINE_LABELS = {
    "pytorch": "PyTorch",
    "torch.compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "executorch": "ExecuTorch",
}


def way_to_a_board() -> Figure:
    """The steps from a module in Python to a program on a board."""
    boxes = [
        ("PyTorch module", "code and weights"),
        ("Exported graph", "operations,\nfixed shapes"),
        ("Quantised graph", "int8 weights,\nranges"),
        ("Bundle", "models, images,\nrunner, hashes"),
        ("Board", "copy, verify,\nrun, compare"),
    ]
    arrows = ["export,\ncheck", "calibrate,\nmeasure", "pack", "ssh"]
    fig, ax = plt.subplots(figsize=(9.4, 1.9), layout="constrained")
    for place, (title, text) in enumerate(boxes):
        x = 2.9 * place
        ax.add_patch(
            FancyBboxPatch(
                (x - 0.95, -0.55),
                1.9,
                1.1,
                boxstyle="round,pad=0.08",
                facecolor="white",
                edgecolor=PALETTE[place in (3, 4)],
                linewidth=2,
            )
        )
        ax.text(x, 0.27, title, ha="center", va="center", fontsize=9, weight="bold")
        ax.text(x, -0.2, text, ha="center", va="center", fontsize=7.5)
        if place < len(arrows):
            ends = (x + 1.06, 0), (x + 1.84, 0)
            ax.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=12, color="0.3"))
            ax.text(x + 1.45, 0.85, arrows[place], ha="center", va="center", fontsize=8)
    ax.set(xlim=(-1.2, 12.8), ylim=(-0.8, 1.2), aspect="equal")
    ax.axis("off")
    plt.close(fig)
    return fig


def rounding_line(scale: float, zero_point: int, bits: int = 8) -> Figure:
    """What affine quantisation to unsigned integers does to real numbers."""
    levels = 2**bits - 1
    low, high = -scale * zero_point, scale * (levels - zero_point)
    x = np.linspace(low - 0.25 * (high - low), high + 0.25 * (high - low), 800)
    stored = np.clip(np.round(x / scale) + zero_point, 0, levels)
    fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    ax.plot(x, x, "--", color=NEUTRAL, linewidth=1, label="the number itself")
    ax.plot(x, (stored - zero_point) * scale, color=PALETTE[0], label=f"stored in {bits} bits")
    ax.axvspan(x[0], low, color=PALETTE[1], alpha=0.12, linewidth=0)
    ax.axvspan(high, x[-1], color=PALETTE[1], alpha=0.12, linewidth=0, label="clipped")
    ax.set(xlabel="before", ylabel="after", xlim=(x[0], x[-1]))
    ax.legend(loc="upper left", fontsize=8)
    plt.close(fig)
    return fig


def size_and_accuracy(files: pd.DataFrame) -> Figure:
    """Bytes of each file, and accuracy of each, for original and pruned in float32 and int8.

    ``files`` has the columns ``model``, ``engine``, ``precision``, ``bytes``
    and ``accuracy``.
    """
    stored = files[files["bytes"].notna()]
    engines = list(dict.fromkeys(stored["engine"]))
    forms = list(dict.fromkeys(zip(stored["model"], stored["precision"], strict=True)))
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.4), sharey=True, layout="constrained")
    height = 0.8 / len(engines)
    for number, engine in enumerate(engines):
        rows = stored[stored["engine"] == engine].set_index(["model", "precision"]).loc[forms]
        places = np.arange(len(forms)) + (number - (len(engines) - 1) / 2) * height
        label = ENGINE_LABELS[engine]
        left.barh(places, rows["bytes"].astype(float) / 1e3, height, color=PALETTE[number],
                  label=label)  # fmt: skip
        right.plot(rows["accuracy"].astype(float), places, "o", color=PALETTE[number], label=label)
        for place, kilobytes in zip(places, rows["bytes"].astype(float) / 1e3, strict=True):
            left.text(kilobytes, place, f" {kilobytes:,.0f}", va="center", fontsize=8)
    left.set_yticks(range(len(forms)), [" ".join(form) for form in forms])
    left.invert_yaxis()
    left.set(xlabel="size of the file (kB)")
    left.margins(x=0.12)
    right.set(xlabel="validation accuracy")
    right.xaxis.set_major_formatter(PercentFormatter(1))
    left.legend(fontsize=8)
    plt.close(fig)
    return fig


def savings(costs: pd.DataFrame) -> Figure:
    """What is left of the time or the instructions, against what is left of the MACs.

    ``costs`` has the columns ``series``, ``macs_left`` and ``cost_left``
    (fractions of the original). On the diagonal every MAC saved is saved time.
    """
    fig, ax = plt.subplots(figsize=(6.6, 4.2), layout="constrained")
    ax.plot([0, 1], [0, 1], "--", color=NEUTRAL, linewidth=1, label="all that is saved arrives")
    markers = "osD^vPX*"
    for number, (name, rows) in enumerate(costs.groupby("series", sort=False)):
        rows = rows.sort_values("macs_left")
        ax.plot(rows["macs_left"], rows["cost_left"], marker=markers[number % len(markers)],
                markersize=5, color=PALETTE[number % len(PALETTE)], label=name)  # fmt: skip
    ax.set(xlabel="MACs left", ylabel="cost left", xlim=(0, 1.03), ylim=(0, None))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    ax.legend(fontsize=8)
    plt.close(fig)
    return fig


def before_and_after(table: pd.DataFrame) -> Figure:
    """Original and pruned side by side, after figure 10.8 of the thesis: a panel for each unit.

    ``table`` has the columns ``unit``, ``where``, ``model`` and ``value``.
    """
    units = list(dict.fromkeys(table["unit"]))
    widths = [table.loc[table["unit"] == unit, "where"].nunique() for unit in units]
    fig, axes = plt.subplots(
        1, len(units), figsize=(9.6, 3.6), width_ratios=widths, squeeze=False, layout="constrained"
    )
    models = list(dict.fromkeys(table["model"]))
    width = 0.8 / len(models)
    for ax, unit in zip(axes.flat, units, strict=True):
        rows = table[table["unit"] == unit]
        places = list(dict.fromkeys(rows["where"]))
        for number, model in enumerate(models):
            values = rows[rows["model"] == model].set_index("where")["value"].reindex(places)
            at = np.arange(len(places)) + (number - (len(models) - 1) / 2) * width
            ax.bar(at, values, width, color=PALETTE[number], label=model)
            for x, value in zip(at, values, strict=True):
                if np.isfinite(value):
                    ax.text(x, value, f"{value:.3g}", ha="center", va="bottom", fontsize=7)
        ax.set_xticks(range(len(places)), places, fontsize=8)
        ax.set(ylabel=unit)
        ax.grid(False, axis="x")
    axes.flat[0].legend(fontsize=8)
    plt.close(fig)
    return fig


def layer_savings(layers: pd.DataFrame) -> Figure:
    """MACs and milliseconds of each layer, before (grey) and after pruning (colour).

    ``layers`` has the columns ``layer``, ``model`` (``original`` or
    ``pruned``), ``macs`` and ``ms``.
    """
    names = list(dict.fromkeys(layers["layer"]))
    fig, axes = plt.subplots(2, 1, figsize=(9.2, 4.8), sharex=True, layout="constrained")
    units = (("macs", "million MACs", 1e6), ("ms", "milliseconds", 1))
    for ax, (column, label, unit) in zip(axes, units, strict=True):
        for model, colour in (("original", "0.8"), ("pruned", PALETTE[0])):
            rows = layers[layers["model"] == model].set_index("layer")[column].reindex(names)
            ax.bar(range(len(names)), rows / unit, color=colour, label=model)
        ax.set(ylabel=label)
        ax.grid(False, axis="x")
    axes[0].legend(fontsize=8)
    ticks = [short_name(name).replace("everything else", "rest") for name in names]
    axes[1].set_xticks(range(len(names)), ticks, rotation=90, fontsize=7)
    plt.close(fig)
    return fig


def rounding_costs(table: pd.DataFrame) -> Figure:
    """What is left of several costs, for widths of any number and for multiples of 4 and 8.

    ``table`` has the columns ``model``, ``cost`` and ``left`` (a fraction of
    the unpruned network's).
    """
    costs = list(dict.fromkeys(table["cost"]))
    models = list(dict.fromkeys(table["model"]))
    fig, ax = plt.subplots(figsize=(8.6, 3.4), layout="constrained")
    width = 0.8 / len(models)
    for number, model in enumerate(models):
        values = table[table["model"] == model].set_index("cost")["left"].reindex(costs)
        at = np.arange(len(costs)) + (number - (len(models) - 1) / 2) * width
        ax.bar(at, values, width, color=PALETTE[number], label=model)
    ax.set_xticks(range(len(costs)), costs, fontsize=8)
    ax.set(ylabel="left of the unpruned")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.grid(False, axis="x")
    ax.legend(fontsize=8)
    plt.close(fig)
    return fig
