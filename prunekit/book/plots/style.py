"""One look for every figure of the book."""

from __future__ import annotations

import matplotlib as mpl
from cycler import cycler

# Okabe and Ito's palette: told apart by readers with any form of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
CRITERION_COLOURS = {
    "activation_l2": PALETTE[0],
    "taylor": PALETTE[1],
    "combined": PALETTE[2],
    "combined_ranks": PALETTE[3],
    "taylor_signed": PALETTE[4],
    "weight_l1": PALETTE[5],
    "random": "#777777",
}
NEUTRAL = "#777777"


def use_style() -> None:
    """Set matplotlib's defaults for the book.

    A white figure background keeps figures legible on the site's dark theme.
    """
    mpl.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=PALETTE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "figure.constrained_layout.use": True,
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "figure.figsize": (7.2, 3.6),
            "font.size": 10,
            "grid.alpha": 0.25,
            "image.interpolation": "nearest",
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "savefig.facecolor": "white",
            "svg.hashsalt": "prunekit",
        }
    )
