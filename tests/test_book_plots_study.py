"""Figures of studies show the recorded tables, for criteria of any name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from figures import heights, legend_names, readable, recorded, words
from matplotlib.colors import to_hex

import prunekit
from prunekit.book import findings, starts
from prunekit.book.differences import paired_differences
from prunekit.book.plots import study as plots
from prunekit.book.plots.criteria import colour_of, label_of
from prunekit.book.readings import blocks_kept
from prunekit.criteria import CRITERIA
from prunekit.models import squeezenet

THREE = ["activation_l2", "taylor", "combined"]


@pytest.fixture(scope="module")
def networks():
    return pd.concat([recorded(study, "networks") for study in ("ratios", "criteria")])


@pytest.fixture(scope="module")
def removed():
    return recorded("ratios", "networks_pattern")


@pytest.fixture(scope="module")
def filters():
    graph = prunekit.trace(squeezenet(), torch.zeros(1, 3, 48, 48))
    return pd.Series({name: layer.filters for name, layer in graph.prunable.items()})


def test_blocks_left_are_means_over_seeds_with_their_range(removed, filters):
    figure = readable(plots.blocks_left(removed, filters, [0.67, 0.9]))
    assert [ax.get_title("left") for ax in figure.axes[:3]] == [label_of(name) for name in THREE]
    for ax, (ratio, name) in zip(
        figure.axes, [(r, n) for r in (0.67, 0.9) for n in THREE], strict=True
    ):
        here = (removed["variant"] == name) & np.isclose(removed["ratio"], ratio)
        blocks = blocks_kept(removed[here], filters)
        before, kept = ax.containers[:2]
        assert heights(before) == blocks["before"].tolist()
        assert heights(kept) == pytest.approx(blocks["mean"].tolist())
        assert to_hex(kept[0].get_facecolor()) == colour_of(name).lower()
        (line,) = ax.containers[2].lines[2]
        ends = [segment[:, 1].tolist() for segment in line.get_segments()]
        assert np.allclose(ends, blocks[["low", "high"]])
    assert legend_names(figure.axes[0]) == ["removed", "kept"]
    assert {"67%", "90%", "conv 0", "Fire 12", "filters in each block"} <= set(words(figure))


def test_what_is_not_recorded_is_not_drawn_as_removed(removed, filters):
    partly = removed[(removed["variant"] != "taylor") | (removed["ratio"] < 0.8)]
    figure = plots.blocks_left(partly, filters, [0.67, 0.9])
    assert words(figure).count("not recorded") == 1
    assert not figure.axes[4].patches and figure.axes[1].patches


def test_parts_fill_the_bar(removed, filters):
    at = removed[np.isclose(removed["ratio"], 0.67)]
    shares = findings.shares_by_part(at[filters.index]).groupby(at["variant"]).mean()
    (ax,) = readable(plots.part_bars(shares)).axes
    widths = np.array([[bar.get_width() for bar in bars] for bars in ax.containers])
    assert pytest.approx(shares.to_numpy()) == widths.T and np.allclose(widths.sum(axis=0), 1)
    assert legend_names(ax) == list(findings.PARTS)
    with pytest.raises(ValueError):
        plots.part_bars(shares[shares.columns[:2]])


def test_the_share_cut_from_each_block_is_written_down(removed, filters):
    at = removed[np.isclose(removed["ratio"], 0.67)]
    figure = readable(plots.cut_by_block(at, filters))
    taken = blocks_kept(at[at["variant"] == "taylor"], filters)
    shares = 1 - taken["mean"] / taken["before"]
    row = [text.get_text() for text in figure.axes[0].texts[len(shares) : 2 * len(shares)]]
    assert row == [f"{share:.0%}" for share in shares]
    assert {*map(label_of, THREE), "share removed", "conv 0"} <= set(words(figure))


def test_each_variant_is_a_line_of_means_in_a_band():
    rows = [
        (name, seed, iteration, 100 - 10 * iteration - seed, 0.9 - 0.1 * iteration * seed)
        for name in ("taylor", "mine")
        for seed in (0, 1)
        for iteration in (0, 1, 2)
    ]
    columns = ["variant", "seed", "iteration", "macs", "accuracy_after"]
    table = pd.DataFrame(rows, columns=columns)
    (ax,) = readable(plots.budget_curves({"network": table})).axes
    assert legend_names(ax) == ["Taylor", "mine"]
    gone = (10 / 100 + 10 / 99) / 2
    for line in ax.lines:
        assert list(line.get_ydata()) == pytest.approx([0.9, 0.85, 0.8])
        assert list(line.get_xdata()) == pytest.approx([0, gone, 2 * gone])
    extents = ax.collections[0].get_paths()[0].get_extents()
    assert (extents.ymin, extents.ymax) == pytest.approx((0.7, 0.9))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("MACs removed", "validation accuracy")


@pytest.mark.parametrize("names", [["similarity"], ["resnet20_pruned", "resnet56_pruned"]])
def test_recorded_runs_start_at_the_whole_network(names):
    tables = {name: recorded(name, "table") for name in names}
    figure = readable(plots.budget_curves(tables))
    for ax, (name, table) in zip(figure.axes, tables.items(), strict=True):
        assert ax.get_title("left") == name
        assert len(ax.lines) == table["variant"].nunique()
        assert all(line.get_xdata()[0] == 0 for line in ax.lines)
        assert len({line.get_color() for line in ax.lines}) == len(ax.lines)


def test_ours_stands_beside_the_thesis_where_it_printed_something():
    networks = recorded("ratios", "networks")
    thesis = {"taylor": pd.Series({0.0: 0.74, 0.5: 0.73})}
    figure = readable(plots.beside_the_thesis(networks, thesis))
    means = networks.groupby(["variant", "ratio"])["test_accuracy"].mean()
    for ax, name in zip(figure.axes, THREE, strict=True):
        assert ax.get_title("left") == label_of(name)
        assert list(ax.lines[0].get_ydata()) == pytest.approx(means[name].tolist())
        assert legend_names(ax) == ["ours", *["thesis, one run"] * (name in thesis)]
    assert list(figure.axes[1].lines[1].get_ydata()) == [0.74, 0.73]
    assert figure.axes[0].get_ylabel() == "test accuracy"


def test_every_criterion_is_read_along_every_axis(networks):
    savings = starts.relative(networks)
    axes = ["filters_removed", "parameters_removed", "macs_removed"]
    figure = readable(plots.on_axes(savings, axes, floor=0.3))
    assert [ax.get_xlabel() for ax in figure.axes] == [plots.AXIS_LABELS[axis] for axis in axes]
    names = list(savings["variant"].unique())
    assert legend_names(figure.axes[0]) == list(map(label_of, names))
    means = savings.groupby(["variant", "ratio"])[[*axes, "test_accuracy"]].mean()
    for ax, axis in zip(figure.axes, axes, strict=True):
        for line, name in zip(ax.lines, names, strict=True):
            curve = means.loc[name].sort_values(axis)
            assert list(line.get_xdata()) == pytest.approx(curve[axis].tolist())
            assert list(line.get_ydata()) == pytest.approx(curve["test_accuracy"].tolist())
            assert line.get_color() == colour_of(name)
        assert ax.get_ylim()[0] == 0.3


def test_no_criterion_is_missing_from_a_study():
    rows = pd.DataFrame({"variant": list(CRITERIA), "seed": 0}).merge(
        pd.DataFrame({"ratio": [0.0, 0.5], "filters_removed": [0.0, 0.5], "test_accuracy": 0.9}),
        how="cross",
    )
    (ax,) = readable(plots.on_axes(rows, ["filters_removed"], floor=0)).axes
    assert legend_names(ax) == [label_of(name) for name in CRITERIA]
    assert len({line.get_color() for line in ax.lines}) == len(CRITERIA)


def test_both_knees_lie_where_their_rules_say():
    curve = pd.Series({0.0: 0.9, 0.5: 0.9, 0.7: 0.8, 0.9: 0.2}, name="Taylor")
    (ax,) = readable(plots.two_knees(curve, within=0.52, chord=0.7)).axes
    points = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert points["mean over seeds"] == [list(pair) for pair in curve.items()]
    assert points["rule 1, 1 point lost: 52%"] == [[0.52, pytest.approx(0.89)]]
    assert points["rule 2, highest above the chord: 70%"] == [[0.7, 0.8]]
    assert ax.get_title("left") == "Taylor" and ax.get_xlabel() == "filters removed"
    assert ax.get_ylabel() == "validation accuracy"  # where both rules look


def test_differences_are_drawn_in_points_with_their_interval(networks):
    table = paired_differences(networks, "combined", "taylor", "test_accuracy", "ratio")
    figure = readable(plots.difference_panels({"a": table, "b": table[:1]}, "filters removed"))
    for ax, rows in zip(figure.axes, (table, table[:1]), strict=True):
        assert list(ax.lines[1].get_ydata()) == pytest.approx((100 * rows["mean"]).tolist())
        extents = ax.collections[0].get_paths()[0].get_extents()
        assert extents.ymin == pytest.approx(100 * rows["low"].min())
    assert figure.axes[0].get_ylabel() == "difference in accuracy (points)"
    assert legend_names(figure.axes[0]) == ["95 % confidence interval", "mean"]


@pytest.mark.parametrize("rows", [1, None])
def test_budget_dots_have_their_range_and_their_epochs(rows):
    spread = findings.over_seeds(recorded("budget", "networks"), "test_accuracy", by=["variant"])
    spread = spread[:rows]
    epochs = pd.Series(3.25, index=spread.index)
    (ax,) = readable(plots.budget_dots(spread, epochs)).axes
    assert list(ax.lines[0].get_xdata()) == spread["mean"].tolist()
    ends = [segment[:, 0].tolist() for segment in ax.collections[0].get_segments()]
    assert np.allclose(ends, spread[["low", "high"]])
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[0] == f"{label_of(spread.index[0])} (3.2 epochs in all)"


@pytest.mark.parametrize(
    "draw", [plots.budget_curves, lambda none: plots.difference_panels(none, "x")]
)
def test_figures_of_nothing_are_refused(draw):
    with pytest.raises(ValueError, match="nothing to draw"):
        draw({})
