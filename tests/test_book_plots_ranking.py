"""Figures that compare criteria show what each says, by its name and in its colour."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figures import heights, legend_names, readable, words
from matplotlib.colors import to_hex

from prunekit.book.plots import ranking as plots
from prunekit.book.plots.criteria import colour_of, label_of
from prunekit.criteria import CRITERIA, Random

LAYERS = ["features.0", "features.3.squeeze", "features.3.expand1x1"]


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.lognormal(size=(60, len(CRITERIA))), columns=list(CRITERIA))
    return table.assign(layer=np.repeat(LAYERS, 20), change=rng.lognormal(size=60))


def test_the_tangent_ends_where_slope_says():
    curves = pd.DataFrame({"filter 0": [1.0, 2.0, 4.0]}, index=[0.0, 0.5, 1.0])
    (ax,) = readable(plots.cost_and_tangent(curves, pd.Series({"filter 0": 1.5}))).axes
    cost, tangent, *_ = ax.lines
    assert list(cost.get_ydata()) == [1, 2, 4]
    assert list(tangent.get_ydata()) == pytest.approx([2.5, 4])
    assert "true change -3.000, predicted -1.500" in ax.get_title("left")
    assert ax.get_xlabel() == "scale of the map (0 = removed)"
    assert ax.get_ylabel() == "cost of one image"


def test_terms_that_cancel_have_a_mean_of_zero():
    terms = pd.DataFrame({"busy": [1.0, -1.0], "steady": [0.5, 0.5]})
    busy, steady = readable(plots.contributions(terms, title="features.3")).axes
    assert legend_names(busy) == ["mean of |terms| = 1", "|mean of terms| = 0"]
    assert legend_names(steady) == ["mean of |terms| = 0.5", "|mean of terms| = 0.5"]
    assert heights(busy.containers[0]) == [1, -1]
    assert busy.get_ylabel() == "term of one example"


@pytest.mark.parametrize("count", [1, 5])
def test_every_criterion_is_held_against_the_truth(scores, count):
    names = list(CRITERIA)[:count]
    correlations = {name: place / 20 for place, name in enumerate(names)}
    figure = readable(plots.against_truth(scores, names, correlations))
    for ax, name in zip(figure.axes, names, strict=True):
        title = f"{label_of(name)}\nrank correlation {correlations[name]:+.2f}"
        assert ax.get_title("left") == title
        assert ax.lines[0].get_xydata().tolist() == scores[["change", name]].to_numpy().tolist()
        assert ax.get_xlabel() == "true change in cost, |ΔC|"


def test_two_criteria_are_compared_layer_by_layer(scores):
    scores["taylor"] = scores["activation_l2"] ** 2
    figure = readable(plots.scores_against_scores(scores, "activation_l2", "taylor", LAYERS, 2))
    for ax, layer in zip(figure.axes, LAYERS, strict=True):
        part = scores.loc[scores["layer"] == layer, ["activation_l2", "taylor"]]
        assert ax.lines[0].get_xydata().tolist() == part.to_numpy().tolist()
        assert ax.get_title("left") == f"{layer}\nrank correlation +1.00"
    # The lowest of each column says what lies along it.
    below = [ax.get_xlabel() for ax in figure.axes]
    assert below == ["", "L2 of maps score", "L2 of maps score"]


def test_correlations_of_layers_are_bars_with_their_median():
    correlations = pd.Series([0.5, -0.1, 0.7], index=LAYERS)
    (ax,) = readable(plots.layer_correlations(correlations)).axes
    assert heights(ax.containers[0]) == [0.5, -0.1, 0.7]
    assert legend_names(ax) == ["median 0.50"] and ax.get_ylim()[0] < -0.1
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "3 s", "3 e1"]
    assert ax.get_ylabel() == "Spearman's rank correlation"


def test_the_two_readings_fill_as_many_filters_as_asked_for():
    table = pd.DataFrame({"x": [0.1, 0.2, 0.9, 0.5], "y": [0.3, 0.1, 0.0, 0.6]}, list("ABCD"))
    figure = readable(plots.two_readings(table, count=2))
    for ax in figure.axes:
        hollow, filled, cut = ax.lines
        assert hollow.get_fillstyle() == "none"
        assert filled.get_xydata().tolist() == hollow_rows(ax, table)[:2]
        assert [text.get_text() for text in ax.texts] == list("ABCD")
        assert cut.get_linestyle() == "--"
    scores, ranks = figure.axes
    assert scores.get_xlabel() == "L2 of maps, score"
    assert ranks.get_ylabel() == "Taylor, rank (1 = lowest)"


def hollow_rows(ax, table: pd.DataFrame) -> list[list[float]]:
    """A and B have the lowest sums of scores as well as of ranks."""
    plane = table if ax.get_title("left") == "Sum of normalised scores" else table.rank()
    return plane.loc[["A", "B"]].to_numpy().tolist()


def test_overlap_says_every_share():
    names = ["activation_l2", "taylor", "similarity_pearson"]
    shares = pd.DataFrame([[1, 0.25, 0.1], [0.25, 1, 0], [0.1, 0, 1]], names, names)
    figure = readable(plots.overlap(shares))
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells == ["100%", "25%", "10%", "25%", "100%", "0%", "10%", "0%", "100%"]
    shown = words(figure)
    assert all(shown.count(label_of(name)) == 2 for name in names) and "share in common" in shown


def test_each_criterion_has_its_row_of_bars_in_its_colour():
    counts = pd.DataFrame({"taylor": [3, 0, 5], "random": [1, 1, 6]}, index=LAYERS)
    figure = readable(plots.where_they_fall(counts))
    for ax, name in zip(figure.axes, counts, strict=True):
        assert heights(ax.containers[0]) == counts[name].tolist()
        assert to_hex(ax.patches[0].get_facecolor()) == colour_of(name).lower()
        assert ax.get_title("left") == label_of(name)


@pytest.mark.parametrize("count", [1, 7, len(CRITERIA) + 1])
def test_no_criterion_is_missing_from_the_curves(monkeypatch, count):
    monkeypatch.setitem(CRITERIA, "largest_value", Random())
    names = [*CRITERIA][-count:]
    table = pd.DataFrame(np.linspace(0.9, 0.1, 2 * count).reshape(2, count), [0, 8], names)
    (ax,) = readable(plots.accuracy_after_removal(table, 100)).axes
    assert legend_names(ax) == ["one standard error", *map(label_of, names)]
    for line, name in zip(ax.lines, names, strict=True):
        assert list(line.get_ydata()) == table[name].tolist()
    assert len({line.get_color() for line in ax.lines}) == count
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("filters removed at once", "validation accuracy")
    _, high = ax.collections[0].get_paths()[0].get_extents().intervaly
    best = table.max(axis=1)
    assert high == pytest.approx((best + np.sqrt(best * (1 - best) / 100)).max())
