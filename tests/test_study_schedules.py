"""A study whose variants change their criterion: all land on equal MACs, whatever ranks."""

from __future__ import annotations

import numpy as np
import pytest

from prunekit.study import read_study
from prunekit.study.recorded import Recorded
from prunekit.study.work import carry_out

STUDY = """
dataset = "digits"
batch_size = 64
start = "tiny"
seeds = [0, 1]

[prune]
budget = "macs"
ratio = 0.7
share_per_iteration = 0.2
rank_batches = 1
fine_tune = { epochs = 0.05, lr = 0.01 }

[finish]
ratios = [0.35, 0.7]
fine_tune = { epochs = 0.05, lr = 0.01 }

[[variants]]
name = "saliency"
prune.criterion = "weight_l1"
[[variants]]
name = "similarity"
prune.criterion = "similarity_filters"
[[variants]]
name = "switch_30"
prune.criterion = [[0, "weight_l1"], [0.3, "similarity_filters"]]
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A study of schedules in small: the same variants, at equal MACs."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.toml").write_text(STUDY)
    study = read_study(folder / "small.toml")
    recorded = Recorded(folder / "results" / "small", study)
    for run, settings in study.runs.items():
        shared = {"threads": 1, "command": "", "commit": "", "progress": lambda share: None}
        carry_out(settings, folder / run, folder, **shared)
        recorded.add(run, folder / run)
    return recorded


def test_a_study_lands_on_equal_macs_whatever_ranks(recorded):
    networks, table = recorded.table("networks"), recorded.table("table")
    assert networks["ratio"].tolist() == [0.35, 0.7] * 6
    unpruned = table["macs"].max()
    removed = 1 - networks["macs"] / unpruned
    assert (removed >= networks["ratio"] - 1e-9).all()
    assert (removed < networks["ratio"] + 0.05).all()  # one filter is enough
    ends = table.groupby(["variant", "seed"])["macs"].last()
    reported = networks[networks["ratio"] == 0.7].set_index(["variant", "seed"])["macs"]
    assert reported.to_dict() == ends.to_dict()
    switched = table[(table["variant"] == "switch_30") & (table["iteration"] > 0)]
    gone = 1 - switched.groupby("seed")["macs"].shift(fill_value=unpruned) / unpruned
    by_share = np.where(gone >= 0.3, "similarity_filters", "weight_l1")
    assert switched["criterion"].tolist() == by_share.tolist()
    assert set(by_share) == {"similarity_filters", "weight_l1"}
