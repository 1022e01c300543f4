"""The slider over figures: every picture is in the page, with its text, and Python is not asked."""

from __future__ import annotations

import base64

import ipywidgets
import matplotlib.pyplot as plt
import pytest

from prunekit.book.plots.style import figure
from prunekit.book.widgets.pruning import stepper


@figure
def step(height):
    _, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, height])


def test_each_figure_is_a_picture_with_its_text():
    box = stepper([step(1), step(2), step(3)], ["one", "two", 'three & "last"'], start=1)
    stack = box.children[1]
    assert stack.selected_index == 1 and len(stack.children) == 3
    pictures = [child.value for child in stack.children]
    assert len(set(pictures)) == 3 and 'alt="three &amp; &quot;last&quot;"' in pictures[2]
    data = pictures[0].partition("base64,")[2].partition('"')[0]
    assert base64.b64decode(data).startswith(b"\x89PNG")


def test_slider_and_play_button_reach_from_the_first_to_the_last():
    box = stepper([step(1), step(2)], ["one", "two"], label="Iteration")
    play, slider = box.children[0].children
    assert isinstance(play, ipywidgets.Play) and slider.description == "Iteration"
    assert (slider.min, slider.max) == (play.min, play.max) == (0, 1)


@pytest.mark.parametrize("texts", [[], ["one", "two"]])
def test_one_text_for_each_figure(texts):
    with pytest.raises(ValueError, match=f"1 figures, {len(texts)} texts"):
        stepper([step(1)], texts)
    with pytest.raises(ValueError, match="0 figures"):
        stepper([], texts)
