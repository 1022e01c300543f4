"""Latency of the networks that a study reports."""

import json
import shutil

import pandas as pd
import pytest
import torch

from prunekit import rebuild
from prunekit.book import BOOK
from prunekit.models import TinySqueezeNet
from prunekit.study import read_study
from prunekit.study.recorded import Recorded
from prunekit.study.timing import KEYS, _networks, time_networks, timed_together

RESULTS = BOOK / "results"


@pytest.fixture
def two_networks(tmp_path):
    """The recorded study of ratios, cut down to its first networks."""
    return beginning_of("ratios", tmp_path)


def beginning_of(study, folder):
    folder.mkdir(exist_ok=True)
    shutil.copy(RESULTS / study / "provenance.json", folder)
    for name in ("networks", "networks_pattern"):
        table = pd.read_csv(RESULTS / study / f"{name}.csv").head(2)
        table.to_csv(folder / f"{name}.csv", index=False)
    return Recorded(folder, read_study(study, BOOK / "studies"))


def test_a_row_a_network(two_networks):
    time_networks([two_networks], RESULTS, command="latency", rounds=1, passes=2)
    written = pd.read_csv(two_networks.folder / "latency.csv")
    reported = pd.read_csv(two_networks.folder / "networks.csv")
    assert written[KEYS].equals(reported[KEYS]) and len(written) == 2
    assert (written["ms"] > 0).all()
    assert json.loads((two_networks.folder / "latency.json").read_text())["passes"] == 2


def test_a_network_that_was_kept_is_timed_itself_at_each_of_its_ratios():
    best = Recorded(RESULTS / "best_96px", read_study("best_96px", BOOK / "studies"))
    reported = best.table("networks").set_index(KEYS)["parameters"]
    found = {key: model for key, model, _ in _networks(best, RESULTS)}
    assert list(found) == list(reported.index) and reported.nunique() == len(reported)
    for key, model in found.items():
        assert sum(p.numel() for p in model.parameters()) == reported[key]


def test_another_network_is_never_timed_in_its_place(two_networks):
    path = two_networks.folder / "networks.csv"
    table = pd.read_csv(path)
    table.loc[1, "parameters"] += 1
    table.to_csv(path, index=False)
    with pytest.raises(ValueError, match="keep_model = true"):
        time_networks([two_networks], RESULTS, command="latency", rounds=1, passes=2)
    assert not (two_networks.folder / "latency.csv").exists()


def test_a_fresh_network_is_made_again_for_as_many_classes_as_the_run_had(tmp_path):
    (tmp_path / "two.toml").write_text(
        'start = "tiny"\nwidths = { values = "uniform", ratio = 0.1 }\n'
    )
    study, folder = read_study(tmp_path / "two.toml"), tmp_path / "two"
    folder.mkdir()
    record = {"settings": study.runs["two-seed0"], "classes": 2}
    (folder / "provenance.json").write_text(json.dumps({"runs": {"two-seed0": record}}))
    small = rebuild(TinySqueezeNet(2), torch.zeros(1, 3, 32, 32), {"features.0": [0, 1]})
    parameters = sum(p.numel() for p in small.parameters())
    key = "variant,seed,ratio"
    (folder / "networks.csv").write_text(f"{key},parameters\ntwo,0,0.1,{parameters}\n")
    (folder / "networks_pattern.csv").write_text(f"{key},features.0\ntwo,0,0.1,2\n")
    ((_, model, _),) = _networks(Recorded(folder, study), RESULTS)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_nothing_to_time(tmp_path):
    with pytest.raises(FileNotFoundError, match="run the study first"):
        time_networks(
            [Recorded(tmp_path, read_study("ratios", BOOK / "studies"))], RESULTS, command="latency"
        )


def test_times_of_two_studies_compare_only_if_they_were_measured_together(two_networks, tmp_path):
    other = beginning_of("criteria", tmp_path / "criteria")
    both, quick = [two_networks, other], {"rounds": 1, "passes": 1}
    assert not timed_together(both)
    time_networks(both, RESULTS, command="latency ratios criteria", **quick)
    assert timed_together(both)
    for recorded in both:
        reported = recorded.table("networks")
        assert recorded.table("latency")[KEYS].equals(reported[KEYS])
    time_networks([other], RESULTS, command="latency criteria", **quick)
    assert not timed_together(both) and timed_together([other])
