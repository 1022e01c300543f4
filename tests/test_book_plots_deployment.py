"""Figures on the way to a board show the recorded tables."""

from __future__ import annotations

import pandas as pd
import pytest
from figures import heights, legend_names, readable, words

from prunekit.book import deployment_tables as tables
from prunekit.book.plots import deployment as plots


def test_the_way_to_a_board_has_its_steps_in_order():
    figure = readable(plots.way_to_a_board())
    places = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    steps = ["PyTorch module", "Exported graph", "Quantised graph", "Bundle", "Board"]
    assert sorted(steps, key=places.get) == steps


def test_rounding_takes_as_many_levels_as_bits_allow():
    (ax,) = readable(plots.rounding_line(scale=0.25, zero_point=5, bits=4)).axes
    exact, stored = ax.lines
    levels = sorted({round(y, 9) for y in stored.get_ydata()})
    assert levels == [0.25 * (level - 5) for level in range(16)]
    inside = (stored.get_xdata() > levels[0]) & (stored.get_xdata() < levels[-1])
    assert abs(stored.get_ydata() - exact.get_ydata())[inside].max() <= 0.125 + 1e-9
    assert legend_names(ax) == ["the number itself", "stored in 4 bits", "clipped"]


def test_size_and_accuracy_are_those_of_the_files():
    files = tables.table("files")
    left, right = readable(plots.size_and_accuracy(files)).axes
    stored = files[files["bytes"].notna()]
    assert legend_names(left) == ["ONNX Runtime", "ExecuTorch"]
    for bars, dots, engine in zip(
        left.containers, right.lines, ("onnxruntime", "executorch"), strict=True
    ):
        rows = stored[stored["engine"] == engine]
        assert [bar.get_width() for bar in bars] == pytest.approx((rows["bytes"] / 1e3).tolist())
        assert list(dots.get_xdata()) == rows["accuracy"].tolist()
    forms = [label.get_text() for label in left.get_yticklabels()]
    assert forms == ["original fp32", "original int8", "pruned fp32", "pruned int8"]
    assert left.get_xlabel() == "size of the file (kB)"


def test_a_form_that_one_engine_lacks_leaves_a_gap():
    files = tables.table("files")
    gone = (files["engine"] == "executorch") & (files["precision"] == "int8")
    left, _ = readable(plots.size_and_accuracy(files[~gone])).axes
    assert sum(bar.get_width() > 0 for bar in left.patches) == 6


def test_savings_are_lines_of_rising_macs_below_the_diagonal():
    costs = tables.savings()[lambda table: table["precision"] == "fp32"]
    (ax,) = readable(plots.savings(costs.sample(frac=1, random_state=0))).axes
    diagonal, *lines = ax.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert {line.get_label() for line in lines} == set(costs["series"])
    for line in lines:
        rows = costs[costs["series"] == line.get_label()].sort_values("macs_left")
        assert list(line.get_xdata()) == rows["macs_left"].tolist()
        assert list(line.get_ydata()) == rows["cost_left"].tolist()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("MACs left", "cost left")


def test_savings_of_many_series_are_told_apart():
    rows = [(f"series {i}", x, x) for i in range(8) for x in (0.5, 1.0)]
    table = pd.DataFrame(rows, columns=["series", "macs_left", "cost_left"])
    lines = plots.savings(table).axes[0].lines[1:]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 8


def test_before_and_after_has_a_panel_a_unit_and_a_number_on_every_bar():
    table = tables.before_and_after()
    figure = readable(plots.before_and_after(table))
    for ax, (unit, rows) in zip(figure.axes, table.groupby("unit", sort=False), strict=True):
        assert ax.get_ylabel() == unit
        for bars, model in zip(ax.containers, ("original", "pruned"), strict=True):
            assert heights(bars) == rows.loc[rows["model"] == model, "value"].tolist()
        written = sorted(text.get_text() for text in ax.texts)
        assert written == sorted(f"{value:.3g}" for value in rows["value"])
    right = tables.test_accuracies()
    assert legend_names(figure.axes[0]) == [
        f"{model}, {right[model]:.1%} of test images right" for model in ("original", "pruned")
    ]


def test_a_model_of_a_board_that_is_recorded_nowhere_goes_without_an_accuracy():
    rows = pd.DataFrame({"unit": "ms", "where": "A72", "model": ["mine"], "value": [1.0]})
    figure = plots.before_and_after(pd.concat([rows, tables.before_and_after()]))
    first, *others = legend_names(figure.axes[0])
    assert first == "mine" and not others


def test_a_model_that_was_not_run_somewhere_has_no_bar_there():
    table = tables.before_and_after()[1:]
    ax = readable(plots.before_and_after(table)).axes[0]
    assert len([text for text in ax.texts if text.get_text()]) == len(ax.patches) - 1


def test_layers_are_drawn_before_and_after_in_units_that_are_named():
    layers = tables.table("layers")
    figure = readable(plots.layer_savings(layers))
    for ax, (column, unit) in zip(figure.axes, (("macs", 1e6), ("ms", 1)), strict=True):
        for bars, model in zip(ax.containers, ("original", "pruned"), strict=True):
            rows = layers.loc[layers["model"] == model, column]
            assert heights(bars) == pytest.approx((rows / unit).tolist(), nan_ok=True)
    assert [ax.get_ylabel() for ax in figure.axes] == ["million MACs", "milliseconds"]
    assert "rest" in words(figure)


def test_rounded_widths_stand_side_by_side_for_each_cost():
    table = tables.rounding()
    (ax,) = readable(plots.rounding_costs(table)).axes
    assert legend_names(ax) == ["any width", "multiples of 4", "multiples of 8"]
    for bars, model in zip(ax.containers, legend_names(ax), strict=True):
        assert heights(bars) == table.loc[table["model"] == model, "left"].tolist()
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks == list(dict.fromkeys(table["cost"]))
