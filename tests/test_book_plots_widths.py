"""Figures of entropies, box plots, rates and grafting show the numbers they are given."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from figures import legend_names, readable, words

from prunekit.book.plots import widths as plots
from prunekit.widths import fences

UNITS = [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in range(3)]
VALUES = pd.Series([1.3, 1.4, 1.35, 1.5, 1.42, 1.38, 1.45, 1.41, 3.0], UNITS)


def test_histograms_of_weights_are_shares_and_name_the_entropy():
    even, peaked = torch.arange(1000.0), torch.tensor([0.0] * 999 + [1.0])
    figure = readable(plots.weight_histograms({"even": even, "peaked": peaked}))
    assert {"even\nH = 2.30", "peaked\nH = 0.01"} <= set(words(figure))
    shares = [ax.patches[0].get_data()[0] for ax in figure.axes]
    assert shares[0].tolist() == pytest.approx([0.1] * 10)
    assert shares[1].tolist() == pytest.approx([0.999, *[0] * 8, 0.001])


def test_values_stand_in_the_order_of_the_network():
    figure = readable(plots.values_by_depth({"a": VALUES, "b": VALUES[:4]}))
    lines = figure.axes[0].lines
    assert [line.get_ydata().tolist() for line in lines] == [VALUES.tolist(), VALUES[:4].tolist()]
    assert lines[1].get_xdata()[-1] == 1 and legend_names(figure.axes[0]) == ["a", "b"]


def test_rates_of_each_allocation():
    rates = {"uniform": VALUES * 0 + 0.5, "contrast": VALUES / 3}
    figure = readable(plots.rates_by_unit(rates))
    assert legend_names(figure.axes[0]) == ["uniform", "contrast"]
    assert figure.axes[0].lines[1].get_ydata().tolist() == (VALUES / 3).tolist()
    assert set(UNITS) <= set(words(figure))


def test_shares_pass_through_a_half_and_keep_within_the_amplitude():
    figure = readable(plots.own_shares([5, 50, 500]))
    for line in figure.axes[0].lines[:3]:
        shares = line.get_ydata()
        assert shares[100] == 0.5 and 0.3 <= min(shares) <= max(shares) <= 0.7


@pytest.mark.parametrize("whisker", [0, 0.5, 1.5, 3, 100])
def test_what_lies_beyond_the_whiskers_is_named(whisker):
    figure = plots.box_plots({"H": VALUES}, whisker)
    low, high = fences(VALUES, whisker)
    beyond = {unit for unit, value in VALUES.items() if not low <= value <= high}
    assert beyond == {text.get_text() for text in figure.axes[0].texts}


def test_box_plots_can_be_read():
    readable(plots.box_plots({"entropy": VALUES, "mean |w|": VALUES / 100}))


def test_dots_are_seeds_and_their_mean():
    networks = pd.DataFrame(
        {"variant": ["a", "a", "b"], "seed": [0, 1, 0], "test_accuracy": [0.8, 0.9, 0.7]}
    )
    names = {"b": "second one", "a": "first one", "c": "not recorded"}
    figure = readable(plots.variant_dots(networks, names, before=0.75))
    *seeds, means, before = figure.axes[0].lines
    assert [line.get_xdata().tolist() for line in seeds] == [[0.7], [0.8, 0.9], []]
    assert means.get_xdata()[:2].tolist() == pytest.approx([0.7, 0.85])
    assert before.get_xdata() == [0.75, 0.75]
    assert set(names.values()) <= set(words(figure))
