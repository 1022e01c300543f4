"""The figures of chapter 13 show what the tables hold, those of a recorded study too."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figures import legend_names, readable, recorded, words
from matplotlib.colors import to_hex

from prunekit.book import BOOK
from prunekit.book.plots import similarity as plots
from prunekit.book.plots.criteria import colour_of
from prunekit.criteria import CRITERIA
from prunekit.study import read_study

SWITCHES = {"saliency": 1.0, "switch_50": 0.5, "switch_25": 0.25, "similarity": 0.0}


def test_each_pair_has_its_two_maps_beside_every_image():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 6, 6, 3), dtype=np.uint8)
    maps = rng.random((2, 5, 4, 4)) * np.array([1, 100, 1, 1, 0]).reshape(1, 5, 1, 1)
    pairs = pd.DataFrame({"filter": [0, 2], "twin": [1, 4], "similarity": [0.9, 0.9]})
    figure = readable(plots.twin_maps(images, maps, pairs))
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 2 * (1 + 2 * 2)
    titles = [axes.get_title(loc="left") for axes in shown]
    assert [title for title in titles if title] == [
        "pair 1: 0.90\nfilter 0",
        "\nfilter 1",
        "pair 2: 0.90\nfilter 2",
        "\nfilter 4",
    ]
    one, hundredfold, silent = (
        np.stack([shown[place + row].images[0].get_array() for row in (0, 5)])
        for place in (1, 2, 4)
    )
    assert one.min() == hundredfold.min() == 0 and one.max() == hundredfold.max() == 1
    assert not silent.any()


def test_every_criterion_has_its_line_through_the_shares_with_a_twin():
    table = pd.DataFrame({"ratio": [0.0, 0.5], "share": [0.5, 0.25]})
    (ax,) = readable(plots.twin_curves(dict.fromkeys(CRITERIA, table), 0.8)).axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.5, 0.25]] * len(CRITERIA)
    assert len({line.get_color() for line in ax.lines}) == len(CRITERIA)
    assert ax.get_xlabel() == "filters removed" and "0.8 or more" in ax.get_ylabel()
    assert legend_names(ax)[:2] == ["L2 of maps", "Taylor"]


def test_bars_of_a_schedule_meet_at_the_switch():
    schedules = {"both": [(0, "taylor"), (0.3, "similarity_pearson")], "one": "taylor"}
    (ax,) = readable(plots.schedule_bars(schedules, end=0.8)).axes
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]
    assert np.allclose(spans, [(0, 0.3), (0.3, 0.8), (0, 0.8)])
    colours = [to_hex(bar.get_facecolor()) for bar in ax.patches]
    taylor, similarity = (colour_of(n).lower() for n in ("taylor", "similarity_pearson"))
    assert colours == [taylor, similarity, taylor]
    assert [text.get_text() for text in ax.texts] == ["Taylor", "similarity (Pearson)", "Taylor"]


def test_the_schedules_of_the_study_can_be_read():
    declared = read_study("similarity", BOOK / "studies")
    runs = {run["variant"]: run["prune"]["criterion"] for run in declared.runs.values()}
    assert {"saliency", "similarity"} <= set(words(readable(plots.schedule_bars(runs, end=0.75))))


def test_switches_are_dots_in_the_order_of_their_places():
    networks = recorded("similarity", "networks")
    figure = readable(plots.switch_dots(networks, SWITCHES, unpruned=0.92))
    assert [ax.get_title("left") for ax in figure.axes] == [
        f"{ratio:.0%} of MACs removed" for ratio in sorted(networks["ratio"].unique())
    ]
    order = ["similarity", "switch_25", "switch_50", "saliency"]
    ticks = ["similarity\nalone", "at 25%", "at 50%", "saliency\nalone"]
    last = networks[networks["ratio"] == networks["ratio"].max()]
    ax = figure.axes[-1]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ticks
    *rings, means, unpruned = ax.lines
    for ring, variant in zip(rings, order, strict=True):
        seeds = last.loc[last["variant"] == variant, "test_accuracy"]
        assert list(ring.get_ydata()) == seeds.tolist()
    by_variant = last.groupby("variant")["test_accuracy"].mean()
    assert list(means.get_ydata()) == pytest.approx(by_variant[order].tolist())
    assert set(unpruned.get_ydata()) == {0.92} and figure.axes[0].get_ylabel() == "test accuracy"


def test_only_the_ratios_asked_for_are_shown():
    networks = recorded("similarity", "networks")
    first = networks["ratio"].min()
    (ax,) = readable(plots.switch_dots(networks, SWITCHES, ratios=[first])).axes
    assert ax.get_title("left") == f"{first:.0%} of MACs removed"


def test_a_variant_that_is_not_recorded_yet_leaves_a_gap():
    networks = recorded("similarity", "networks").query("variant != 'switch_25'")
    means = plots.switch_dots(networks, SWITCHES).axes[0].lines[-1]
    assert np.isnan(means.get_ydata()).tolist() == [False, True, False, False]
