"""Latency of the networks that a study reports."""

import json
import shutil

import pandas as pd
import pytest

from prunekit.book import BOOK
from prunekit.study import read_study
from prunekit.study.recorded import Recorded
from prunekit.study.timing import KEYS, time_networks

RESULTS = BOOK / "results"


@pytest.fixture
def two_networks(tmp_path):
    """The recorded study of ratios, cut down to its first networks."""
    shutil.copy(RESULTS / "ratios" / "provenance.json", tmp_path)
    for name in ("networks", "networks_pattern"):
        table = pd.read_csv(RESULTS / "ratios" / f"{name}.csv").head(2)
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    return Recorded(tmp_path, read_study("ratios", BOOK / "studies"))


def test_a_row_a_network(two_networks):
    table = time_networks(two_networks, RESULTS, command="latency", rounds=1, passes=2)
    written = pd.read_csv(two_networks.folder / "latency.csv")
    reported = pd.read_csv(two_networks.folder / "networks.csv")
    assert written[KEYS].equals(reported[KEYS]) and len(table) == 2
    assert (written["ms"] > 0).all()
    assert json.loads((two_networks.folder / "latency.json").read_text())["passes"] == 2


def test_another_network_is_never_timed_in_its_place(two_networks):
    path = two_networks.folder / "networks.csv"
    table = pd.read_csv(path)
    table.loc[1, "parameters"] += 1
    table.to_csv(path, index=False)
    with pytest.raises(ValueError, match="keep_model = true"):
        time_networks(two_networks, RESULTS, command="latency", rounds=1, passes=2)
    assert not (two_networks.folder / "latency.csv").exists()


def test_nothing_to_time(tmp_path):
    with pytest.raises(FileNotFoundError, match="run the study first"):
        time_networks(
            Recorded(tmp_path, read_study("ratios", BOOK / "studies")), RESULTS, command="latency"
        )
