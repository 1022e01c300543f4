"""A small study as its tables tell it: three variants, two seeds, three ratios."""

from __future__ import annotations

import pandas as pd

LAYERS = ["features.0", "features.3.squeeze", "features.9.squeeze"]
FILTERS = pd.Series([10, 20, 70], index=LAYERS)
ACCURACY = {  # by variant, seed and ratio
    ("taylor", 0): {0.0: 0.90, 0.5: 0.90, 0.8: 0.84},
    ("taylor", 1): {0.0: 0.90, 0.5: 0.88, 0.8: 0.82},
    ("combined", 0): {0.0: 0.90, 0.5: 0.91, 0.8: 0.86},
    ("combined", 1): {0.0: 0.90, 0.5: 0.90, 0.8: 0.83},
    ("random", 0): {0.5: 0.80, 0.8: 0.60},
    ("random", 1): {0.5: 0.70, 0.8: 0.50},
}
SIZE = {0.0: (100, 1000, 40), 0.5: (50, 300, 16), 0.8: (20, 60, 8)}  # filters, parameters, MACs


def networks_table() -> pd.DataFrame:
    rows = [
        (variant, seed, ratio, *SIZE[ratio], 4 * SIZE[ratio][1], accuracy)
        for (variant, seed), curve in ACCURACY.items()
        for ratio, accuracy in curve.items()
    ]
    columns = ["filters", "parameters", "macs", "bytes", "test_accuracy"]
    table = pd.DataFrame(rows, columns=["variant", "seed", "ratio", *columns])
    return table.assign(val_accuracy=table["test_accuracy"])
