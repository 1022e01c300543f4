"""Sentences of pages beside the chapters: they must turn with what is recorded."""

from __future__ import annotations

import sys

import pandas as pd
from recorded_studies import networks, study, verdict

from prunekit.book import BOOK
from prunekit.book.findings import chosen_on_validation

sys.path.insert(0, str(BOOK))
import criteria_tables


def test_a_cut_that_starves_the_classifier_is_mended_by_floors():
    table = networks("one_cut").pivot_table("test_accuracy", "variant", "ratio")
    plain = [name for name in table.index if not name.endswith("_floors")]
    assert table.loc[plain, 0.25].idxmax() == "fisher"  # "the Fisher diagonal is ahead"
    assert (table.loc[plain, 0.25] > 0.87).sum() == len(plain) - 1  # all but the lot
    last = ["features.12.expand1x1", "features.12.expand3x3"]
    gone = study("one_cut").table("networks_pattern").query("ratio == 0.52")
    left = 512 - gone.groupby("variant")[last].mean().sum(axis=1)
    starved = left[left < 5].index
    assert set(starved) == {"fisher", "fpgm", "weight_l1", "weight_l2"}
    assert left.drop(starved).min() > 30
    assert table.loc[starved, 0.52].max() < table.loc["random", 0.52]
    assert table[0.52].drop(starved).idxmin() == "random"
    assert table[0.52].idxmax() == "fisher_floors"  # "the best of the table"
    assert verdict(networks("one_cut").query("ratio == 0.52"), "fisher_floors", "taylor") == "ahead"
    gained = {
        name: verdict(networks("one_cut").query("ratio == 0.52"), f"{name}_floors", name)
        for name in ("fisher", "fpgm", "taylor")
    }
    assert gained.pop("taylor") != "ahead" and set(gained.values()) == {"ahead"}


def test_what_the_price_does_to_squeezenet_as_the_page_beside_torch_pruning_says():
    table = pd.read_csv(BOOK / "peer_accuracy.csv")
    ours = table[(table["Network"] == "squeezenet") & (table["Library"] == "prunekit")]
    test = ours.set_index("Criterion")["Test"].str.split("%").str[0].astype(float)
    assert round(test["weight_l1"] - test["weight_l1 by mean"]) == 8
    assert round(test["taylor"] - test["taylor by mean"]) == 1
    plain = [name for name in test.index if f"{name} per MAC" in test.index]
    assert len(plain) == 3
    assert min(test[name] - test[f"{name} per MAC"] for name in plain) > 8
    left = ours.set_index("Criterion")["Parameters left"].str.replace(",", "").astype(int)
    assert all(left[f"{name} per MAC"] > 3 * left[name] for name in plain)  # "few parameters gone"


def test_of_how_many_the_best_is_as_the_page_beside_torch_pruning_says():
    table = pd.read_csv(BOOK / "peer_accuracy.csv")
    criteria = table.groupby(["Library", "Network"])["Criterion"].nunique()
    assert (criteria["prunekit"] == 8).all() and (criteria["torch-pruning"] == 3).all()


def test_which_regnets_fail_as_the_page_on_the_zoo_says():
    zoo = pd.read_csv(BOOK / "zoo.csv").query("Network.str.startswith('regnet')")
    failing = zoo["torch-pruning (s)"] == "fails"
    assert (failing.sum(), len(zoo)) == (7, 15)
    assert zoo.loc[failing, "Parameters (M)"].max() < 20  # "all of them small"


def test_what_validation_chooses_is_what_the_page_shows(tmp_path):
    best = chosen_on_validation(networks("one_cut")).set_index("ratio")
    assert best.loc[0.52, "variant"] == best.loc[0.67, "variant"] == "fisher_floors"
    assert best.loc[0.75, "variant"] == "taylor"  # "at three quarters"
    criteria_tables.write(tmp_path)
    for name in ("criteria_one_cut.csv", "criteria_chosen.csv"):
        assert (tmp_path / name).read_text() == (BOOK / name).read_text()
