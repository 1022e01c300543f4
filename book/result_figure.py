"""Draw the front page's figure, and the site's card for links to it, from the study ``repair``.

python book/result_figure.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from prunekit.book.findings import over_seeds
from prunekit.book.plots.style import PALETTE, band, percent, use_style, write_figure

BOOK = Path(__file__).parent
NAMES = {
    "least_squares": "inputs that are left, refitted by least squares",
    "moments": "mean and deviation of each channel set right",
    "none": "nothing done",
}


def drawn(curves: pd.DataFrame, size: tuple[float, float]) -> Figure:
    figure, axes = plt.subplots(figsize=size)
    for (variant, name), colour, marker in zip(NAMES.items(), PALETTE, "osD", strict=False):
        band(axes, curves.loc[variant], color=colour, marker=marker, label=name)
    percent(axes.xaxis, axes.yaxis)
    axes.set(
        xlabel="filters removed from SqueezeNet 1.1 in one cut",
        ylabel="test accuracy on CIFAR-10",
        title="One cut, and no training after it",
        ylim=(0, 1),
    )
    axes.legend(loc="lower left")
    return figure


def main() -> None:
    use_style()
    networks = pd.read_csv(BOOK / "results" / "repair" / "networks.csv")
    curves = over_seeds(networks, "test_accuracy")
    # Letters that a phone can show; and 1200 by 630 pixels, which is what networks show of a link.
    write_figure(drawn(curves, (5.4, 3.4)), BOOK / "static" / "result.png", dpi=220)
    card = drawn(curves, (6, 3.15))
    write_figure(card, BOOK / "_static" / "card.png", dpi=200, bbox_inches=None)


if __name__ == "__main__":
    main()
