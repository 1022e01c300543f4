"""Draw the front page's figure from the recorded study ``repair``, into book/static/result.png.

python book/result_figure.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from prunekit.book.findings import over_seeds
from prunekit.book.plots.style import PALETTE, band, percent, use_style

BOOK = Path(__file__).parent
NAMES = {
    "least_squares": "inputs that are left, refitted by least squares",
    "moments": "mean and deviation of each channel set right",
    "none": "nothing done",
}


def main() -> None:
    use_style()
    networks = pd.read_csv(BOOK / "results" / "repair" / "networks.csv")
    curves = over_seeds(networks, "test_accuracy")
    figure, axes = plt.subplots(figsize=(5.4, 3.4))  # letters that a phone can show
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
    figure.savefig(BOOK / "static" / "result.png", dpi=220)


if __name__ == "__main__":
    main()
