"""Bars of filters kept: what was recorded, at each iteration and for each criterion and ratio."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from moving import READING, as_page, patterns, ratios

from prunekit import trace
from prunekit.book.chapter import RESULTS
from prunekit.book.moving.layers import moving_ratio, moving_turns
from prunekit.book.plots.criteria import colour_of, label_of
from prunekit.criteria import CRITERIA
from prunekit.models import squeezenet

HEIGHTS = "all => all.map((one) => +one.dataset.height)"


def read(page) -> tuple[str, list[int]]:
    said = page.locator(READING).text_content().replace("\xa0", " ")
    return said, page.eval_on_selector_all(".picture rect[data-height]", HEIGHTS)


def test_the_slider_goes_from_the_whole_network_to_the_last_iteration(page):
    page.set_content(as_page(moving_turns(*patterns(), start=12)))
    said = "After iteration 2, 80 of 100 filters are gone (80 %). The layer that lost the "
    assert read(page) == (
        said + "largest share is features.12.expand1x1, with 86 %.",
        [5, 5, 5, 15, 10, 60],
    )
    slider = page.locator("input")
    slider.press("ArrowLeft")
    assert read(page)[1] == [9, 1, 11, 9, 30, 40]
    slider.press("Home")
    assert read(page) == ("The network as it was, with 100 filters.", [10, 0, 20, 0, 70, 0])


def test_the_ratio_shows_the_table(page):
    page.set_content(as_page(moving_ratio(*ratios(), start=0.5)))
    assert read(page)[0] == (
        "50 % of the filters removed by Taylor. Of those removed: 2.0 % in the initial layers "
        "(0-2), 18.0 % in the middle layers (3-7), 80.0 % in the last layers (9-12). "
        "Test accuracy 89.0 %, mean of 2 seeds."
    )
    page.locator("input").press("ArrowRight")
    assert read(page)[0].startswith("80 % of the filters removed by Taylor")
    # Another criterion, without a network at this ratio: the nearest, and its own ratio is said.
    page.locator("select").select_option("1")
    said, heights = read(page)
    assert said.startswith("90 % of the filters removed by random")
    assert page.locator("output").text_content().replace("\xa0", " ") == "90 %"
    assert heights == [5, 5, 5, 15, 10, 60]


def test_every_criterion_has_its_name_and_colour():
    runs = pd.DataFrame({"variant": [*CRITERIA, "one_shot"], "seed": 0, "ratio": 0.5})
    removed = runs.assign(**{"features.0": 3, "features.3.squeeze": 5})
    filters = pd.Series({"features.0": 8, "features.3.squeeze": 8})
    curves = moving_ratio(removed, filters, runs.assign(test_accuracy=0.9)).data["curves"]
    shown = [(curve["label"], curve["colour"]) for curve in curves]
    assert shown[:-1] == [(label_of(name), colour_of(name)) for name in CRITERIA]
    assert shown[-1][0] == "one shot"


def test_a_slider_over_nothing_is_refused():
    removed, filters, networks = ratios()
    with pytest.raises(ValueError, match="nothing to show"):
        moving_ratio(removed.iloc[:0], filters, networks)


def test_the_chapter_says_what_the_recorded_run_left():
    """Whether a layer began with 16 filters or with 256, it is left with 6 to 15."""
    pattern = pd.read_csv(RESULTS / "combined_90" / "pattern.csv", index_col="iteration")
    layers = trace(squeezenet(), torch.zeros(1, 3, 96, 96)).prunable
    before = pd.Series({name: layer.filters for name, layer in layers.items()})
    left = before - pattern.sum().reindex(before.index, fill_value=0)
    assert (before.min(), before.max(), left.min(), left.max()) == (16, 256, 6, 15)
