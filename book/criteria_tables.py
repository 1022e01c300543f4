"""Make the table of criteria in practitioners.md from the study ``one_cut``.

python book/criteria_tables.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from prunekit.book.findings import accuracy_table, layers_of
from prunekit.criteria import overview
from prunekit.models import squeezenet

BOOK = Path(__file__).resolve().parent
FLOORS = "_floors"
RATIO = 0.52  # where the narrowest layer is looked at


def one_cut(folder: Path) -> pd.DataFrame:
    """A row for each criterion, the best on validation at that ratio first."""
    networks = pd.read_csv(folder / "networks.csv")
    shown = networks[networks["ratio"] > 0]
    accuracy = accuracy_table(shown).T
    held_out = shown[shown["ratio"] == RATIO].groupby("variant")["val_accuracy"].mean()
    accuracy = accuracy.loc[held_out.sort_values(ascending=False).index]
    accuracy.columns = [f"{ratio:.0%}" for ratio in accuracy.columns]
    narrow = _narrowest(pd.read_csv(folder / "networks_pattern.csv"))
    accuracy[f"Narrowest layer, {RATIO:.0%}"] = narrow.loc[accuracy.index]
    accuracy.insert(0, "Criterion", [_label(name) for name in accuracy.index])
    return accuracy


def _narrowest(pattern: pd.DataFrame) -> pd.Series:
    """Of each variant, the smallest share of its filters that a layer has left, over seeds."""
    model = squeezenet()
    gone = pattern[pattern["ratio"] == RATIO].set_index("variant")
    gone = gone[layers_of(gone)]
    filters = pd.Series({name: model.get_submodule(name).out_channels for name in gone})
    left = 1 - gone / filters
    return left.min(axis=1).groupby(level="variant").min().map("{:.0%}".format)


def _label(variant: str) -> str:
    name = variant.removesuffix(FLOORS)
    label = f"{overview().loc[name, 'label']} (`{name}`)"
    return f"{label}, 12 and 24 left" if variant.endswith(FLOORS) else label


def write(folder: Path = BOOK) -> None:
    table = one_cut(BOOK / "results" / "one_cut")
    table.to_csv(folder / "criteria_one_cut.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    write()
