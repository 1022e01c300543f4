"""The figures of chapter 13 show what the tables hold, those of a recorded study too."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from prunekit.book.plots import similarity as plots
from prunekit.book.plots.criteria import colour_of
from prunekit.book.plots.study import budget_curves
from prunekit.study import read_study
from prunekit.study.recorded import Recorded
from prunekit.study.work import carry_out

SWITCHES = {"saliency": 1.0, "switch_30": 0.3, "similarity": 0.0}
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


@pytest.fixture(autouse=True)
def _no_figure_is_left_open():
    before = plt.get_fignums()
    yield
    assert plt.get_fignums() == before


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Chapter 13's study in small: the same variants, at equal MACs."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.toml").write_text(STUDY)
    study = read_study(folder / "small.toml")
    recorded = Recorded(folder / "results" / "small", study)
    for run, settings in study.runs.items():
        shared = {"threads": 1, "command": "", "commit": "", "progress": lambda share: None}
        carry_out(settings, folder / run, folder, **shared)
        recorded.add(run, folder / run)
    return recorded


def test_each_pair_has_its_two_maps_beside_every_image():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 6, 6, 3), dtype=np.uint8)
    maps = rng.random((2, 5, 4, 4)) * np.array([1, 100, 1, 1, 0]).reshape(1, 5, 1, 1)
    pairs = pd.DataFrame({"filter": [0, 2], "twin": [1, 4], "similarity": [0.9, 0.9]})
    figure = plots.twin_maps(images, maps, pairs)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 2 * (1 + 2 * 2)
    titles = [axes.get_title(loc="left") for axes in shown]
    assert [title for title in titles if title] == [
        *("pair 1: 0.90\nfilter 0", "\nfilter 1", "pair 2: 0.90\nfilter 2", "\nfilter 4")
    ]
    one, hundredfold, silent = (
        np.stack([shown[place + row].images[0].get_array() for row in (0, 5)])
        for place in (1, 2, 4)
    )
    assert one.min() == hundredfold.min() == 0 and one.max() == hundredfold.max() == 1
    assert not silent.any()


def test_a_line_a_criterion_through_the_shares_with_a_twin():
    table = pd.DataFrame({"ratio": [0.0, 0.5], "kept": [8, 4], "twins": [4, 1]})
    table["share"] = table["twins"] / table["kept"]
    figure = plots.twin_curves({"taylor": table, "random": table, "similarity_pearson": table}, 0.8)
    (axes,) = figure.axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.5, 0.25]] * 3
    assert len({line.get_color() for line in axes.lines}) == 3
    assert "0.8" in axes.get_ylabel()
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["Taylor", "random", "similarity (Pearson)"]


def test_bars_of_a_schedule_meet_at_the_switch():
    schedules = {"both": [(0, "taylor"), (0.3, "similarity_pearson")], "one": "taylor"}
    figure = plots.schedule_bars(schedules, end=0.8)
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in figure.axes[0].patches]
    assert np.allclose(spans, [(0, 0.3), (0.3, 0.8), (0, 0.8)])
    first, second, third = (to_hex(bar.get_facecolor()) for bar in figure.axes[0].patches)
    assert first == third == colour_of("taylor").lower() != second


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


def test_figures_are_drawn_from_the_tables_of_a_study(recorded):
    networks, table = recorded.table("networks"), recorded.table("table")
    figure = plots.switch_dots(networks, SWITCHES, unpruned=0.9)
    titles = [axes.get_title("left") or axes.get_title() for axes in figure.axes]
    assert titles == ["35% of MACs removed", "70% of MACs removed"]
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert ticks == ["similarity\nalone", "at 30%", "saliency\nalone"]
    *rings, means, unpruned = figure.axes[1].lines
    assert [len(line.get_ydata()) for line in rings] == [2, 2, 2]
    last = networks[networks["ratio"] == 0.7].groupby("variant")["test_accuracy"].mean()
    expected = last[["similarity", "switch_30", "saliency"]].tolist()
    assert list(means.get_ydata()) == pytest.approx(expected)
    assert set(unpruned.get_ydata()) == {0.9}

    curves = budget_curves({"the digits": table}).axes[0].lines
    assert len(curves) == 3
    for line in curves:
        assert line.get_xdata()[0] == 0 and line.get_xdata()[-1] >= 0.7


def test_a_variant_that_is_not_recorded_yet_leaves_a_gap(recorded):
    networks = recorded.table("networks").query("variant != 'switch_30'")
    means = plots.switch_dots(networks, SWITCHES).axes[0].lines[-1]
    assert np.isnan(means.get_ydata()).tolist() == [False, True, False]
