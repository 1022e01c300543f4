"""Draw the README's figure from the recorded pruning run, into book/static/result.png.

python book/result_figure.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import PercentFormatter

from prunekit.book.plots.style import PALETTE, use_style

BOOK = Path(__file__).parent
SHARES = {"filters": "filters", "parameters": "parameters", "macs": "MACs"}


def main() -> None:
    use_style()
    table = pd.read_csv(BOOK / "results" / "squeezenet_cifar10" / "combined_90" / "table.csv")
    figure, axes = plt.subplots()
    for (column, label), colour, marker in zip(SHARES.items(), PALETTE, "osD", strict=False):
        removed = 1 - table[column] / table[column].iloc[0]
        axes.plot(
            removed,
            table["accuracy_after"],
            color=colour,
            marker=marker,
            markersize=4,
            label=f"share of {label} removed",
        )
    axes.axhline(table["accuracy_after"].iloc[0], color="0.6", linestyle=":", linewidth=1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("removed from SqueezeNet 1.1")
    axes.set_ylabel("validation accuracy on CIFAR-10")
    axes.set_title("One pruning run: the same accuracy on three scales")
    axes.legend(loc="lower left")
    figure.savefig(BOOK / "static" / "result.png", dpi=160)


if __name__ == "__main__":
    main()
