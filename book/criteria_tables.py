"""Make the table of criteria in practitioners.md from the study ``one_cut``.

python book/criteria_tables.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from prunekit.book.findings import accuracy_table, chosen_on_validation
from prunekit.models import squeezenet
from prunekit.storage.files import write_table

BOOK = Path(__file__).resolve().parent
FLOORS = "_floors"
RATIOS = (0.25, 0.52, 0.67)  # as many as a phone has room for
RATIO = 0.52  # where rows are sorted, and the maps counted that reach the classifier
LAST = ("features.12.expand1x1", "features.12.expand3x3")


def one_cut(folder: Path) -> pd.DataFrame:
    """A row for each criterion, the best on validation at that ratio first."""
    networks = pd.read_csv(folder / "networks.csv")
    shown = networks[networks["ratio"].isin(RATIOS)]
    accuracy = accuracy_table(shown).T
    held_out = shown[shown["ratio"] == RATIO].groupby("variant")["val_accuracy"].mean()
    accuracy = accuracy.loc[held_out.sort_values(ascending=False).index]
    accuracy.columns = [f"{ratio:.0%}" for ratio in accuracy.columns]
    maps = _maps_left(pd.read_csv(folder / "networks_pattern.csv"))
    accuracy[f"Maps left, {RATIO:.0%}"] = maps.loc[accuracy.index]
    accuracy.insert(0, "Criterion", [_label(name) for name in accuracy.index])
    return accuracy


def chosen(folder: Path) -> pd.DataFrame:
    """For each share removed, the criterion that validation chooses and what it has on test."""
    best = chosen_on_validation(pd.read_csv(folder / "networks.csv"))
    best = best[best["ratio"] > 0]
    spread = [f"{100 * r.test:.1f} ± {100 * r.test_std:.1f}" for r in best.itertuples()]
    return pd.DataFrame(
        {
            "Removed": best["ratio"].map("{:.0%}".format),
            "Chosen on validation": best["variant"].map(_label),
            "On test": spread,
        }
    )


def _maps_left(pattern: pd.DataFrame) -> pd.Series:
    """Of each variant, the mean number of maps that reach the classifier."""
    gone = pattern[pattern["ratio"] == RATIO].groupby("variant")[list(LAST)].mean().sum(axis=1)
    model = squeezenet()
    return (sum(model.get_submodule(name).out_channels for name in LAST) - gone).round().astype(int)


def _label(variant: str) -> str:
    name = variant.removesuffix(FLOORS)
    return f"`{name}` with floors" if variant.endswith(FLOORS) else f"`{name}`"


def write(folder: Path = BOOK) -> None:
    recorded = BOOK / "results" / "one_cut"
    write_table(one_cut(recorded), folder / "criteria_one_cut.csv")
    write_table(chosen(recorded), folder / "criteria_chosen.csv")


if __name__ == "__main__":
    write()
