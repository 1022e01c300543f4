"""What is left of every layer, turn by turn, as the tables say."""

from __future__ import annotations

import pytest
from moving import READING, as_page, run_of_turns

from prunekit.book.moving.layers import moving_layers
from prunekit.book.readings import kept_and_removed


def test_every_turn_has_what_earlier_turns_left():
    table, pattern, filters = run_of_turns()
    data = moving_layers(table, pattern, filters).data
    assert data["turns"][0] == {"accuracy": 0.9, "kept": [8, 6, 20, 40]}
    for turn in range(1, 25):
        kept = kept_and_removed(pattern, filters, turn)["kept"]
        assert data["turns"][turn]["kept"] == kept.tolist()
    assert data["blocks"] == [
        {"place": 0, "name": "0"},
        {"place": 1, "name": "3"},
        {"place": 3, "name": "12"},
    ]


def test_turns_that_do_not_belong_together_are_refused():
    table, pattern, filters = run_of_turns()
    with pytest.raises(ValueError, match="must have the same turns"):
        moving_layers(table.iloc[1:], pattern, filters)
    with pytest.raises(ValueError, match="must have the same turns"):
        moving_layers(table, pattern.iloc[:2], filters)


def test_the_reading_counts_what_is_gone(page):
    page.set_content(as_page(moving_layers(*run_of_turns())))
    slider, reading = page.locator("input[type=range]"), page.locator(READING)
    assert slider.input_value() == "12"
    slider.press("End")
    assert "42 of 74 filters are gone (57\u00a0%), and 40.0\u00a0%" in reading.text_content()
    assert "features.12.squeeze has lost most: 24 of its 40." in reading.text_content()
    slider.press("Home")
    assert "0 of 74 filters are gone (0\u00a0%)" in reading.text_content()
    assert "has lost" not in reading.text_content()
    assert page.locator(".picture rect[fill='#0072B2']").count() == 4
