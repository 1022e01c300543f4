"""Draw the thesis's accuracies, tables 7.1 and 8.2, into book/static/thesis_accuracy.png.

python book/thesis_figure.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from prunekit.book.plots.criteria import colour_of
from prunekit.book.plots.style import use_style, write_figure

BOOK = Path(__file__).parent


def main() -> None:
    use_style()
    table = pd.read_csv(BOOK / "thesis_accuracy.csv", index_col=0)
    l2, taylor = (table[name] for name in table)
    figure, axes = plt.subplots()
    axes.plot(l2, marker="o", markersize=4, color=colour_of("activation_l2"), label="L2")
    axes.plot(
        taylor,
        marker="s",
        markersize=4,
        linestyle="--",
        color=colour_of("taylor"),
        label="Taylor",
    )
    axes.annotate(
        "lower at 70 than at 75",
        (70, l2[70]),
        (30, 52),
        arrowprops={"arrowstyle": "->", "connectionstyle": "arc3,rad=-0.1"},
    )
    axes.set(xlabel="pruning ratio (%)", ylabel="accuracy (%)", xlim=(0, 100), ylim=(0, 80))
    axes.legend(loc="lower left")
    write_figure(figure, BOOK / "static" / "thesis_accuracy.png", dpi=200)


if __name__ == "__main__":
    main()
