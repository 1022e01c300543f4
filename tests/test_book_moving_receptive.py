"""The receptive field in the page is where PyTorch's gradient is not zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from moving import READING, as_page
from torch import nn

from prunekit.book.moving.receptive import moving_receptive_field

STACKS = {
    "": [],
    "conv 3, pool 2, conv 3 padding 1": [(3, 1, 0), (2, 2, 0), (3, 1, 1)],
    "conv 5 stride 2 padding 2, pool 3 stride 2, conv 3": [(5, 2, 2), (3, 2, 0), (3, 1, 0)],
    "conv 1, conv 2 padding 3": [(1, 1, 0), (2, 1, 3)],
    "conv 3 padding 1, conv 3 padding 1, conv 3 padding 1": [(3, 1, 1)] * 3,
    "conv 2 stride 3": [(2, 3, 0)],
}
SEEN = """all => all.map((map) => Object.fromEntries([...map.querySelectorAll("[data-seen]")]
    .map((one) => [one.dataset.seen, +one.getAttribute("opacity")])))"""


def gradient(layers: list[tuple[int, int, int]], side: int, row: int, column: int) -> np.ndarray:
    """How many ways lead from each pixel to a cell: the gradient where all weights are one."""
    network = nn.Sequential(*(nn.Conv2d(1, 1, *layer, bias=False) for layer in layers))
    for weights in network.parameters():
        nn.init.ones_(weights)
    picture = torch.zeros(1, 1, side, side, requires_grad=True)
    network(picture)[0, 0, row, column].backward()
    return picture.grad[0, 0].numpy()


def last_side(layers: list[tuple[int, int, int]], side: int) -> int:
    for kernel, stride, padding in layers:
        side = (side + 2 * padding - kernel) // stride + 1
    return side


@pytest.mark.parametrize("text", STACKS)
def test_what_a_cell_sees_is_where_the_gradient_is_not_zero(page, text):
    page.set_content(as_page(moving_receptive_field(text, side=19)))
    n = last_side(STACKS[text], 19)
    for row, column in {(0, 0), (n // 2, n // 3), (n - 1, 0)}:
        page.locator("[id$=cell]").fill(str(row * n + column))
        ways = gradient(STACKS[text], 19, row, column)
        shown = page.eval_on_selector_all("[data-name=map]", SEEN)[0]
        drawn = np.zeros_like(ways)
        for place, opacity in shown.items():
            drawn[tuple(map(int, place.split(",")))] = opacity
        wanted = np.where(ways > 0, 0.3 + 0.7 * ways / max(ways.max(), 1), 0)
        assert drawn == pytest.approx(wanted, abs=0.0051)


@pytest.mark.parametrize("text", STACKS)
def test_the_size_by_the_formula_is_that_of_the_gradient_far_from_the_border(page, text):
    layers = STACKS[text]
    page.set_content(as_page(moving_receptive_field(text, side=32)))
    n = last_side(layers, 32)
    rows = gradient(layers, 32, n // 2, n // 2).any(axis=1).sum()
    page.locator("[id$=cell]").fill(str(n // 2 * (n + 1)))
    said = page.locator(READING).text_content()
    assert f"sees {rows} \u00d7 {rows} pixels. Along one side: 1" in said
    assert said.endswith(f" = {rows}.")


def test_a_cell_at_the_border_sees_less_of_the_picture(page):
    page.set_content(as_page(moving_receptive_field("conv 5 padding 2", side=10)))
    page.locator("[id$=cell]").press("Home")
    said = page.locator(READING).text_content()
    assert "sees 5 \u00d7 5 pixels, of which 3 \u00d7 3 lie in the picture" in said


def test_a_button_adds_a_layer_and_the_field_grows(page):
    page.set_content(as_page(moving_receptive_field("", side=32)))
    sizes = []
    for name in ("Add conv 3", "Add pool 2", "Add conv 3 padding 1", "Add conv 3 stride 2"):
        page.get_by_role("button", name=name, exact=True).click()
        sizes.append(page.locator(READING).text_content().split("sees ")[1].split()[0])
    assert sizes == ["3", "4", "8", "12"]
    written = page.locator("[id$=layers]")
    assert written.input_value() == "conv 3, pool 2, conv 3 padding 1, conv 3 stride 2"
    assert page.locator("[data-name=map]").count() == 5
    page.get_by_role("button", name="Take the last away").click()
    assert written.input_value() == "conv 3, pool 2, conv 3 padding 1"


@pytest.mark.parametrize(
    "text, said",
    [
        ("conv 3, konv 3", '"konv 3" is no layer.'),
        ("conv 0", '"conv 0" is no layer.'),
        ("conv 3 stride 0", "is no layer."),
        ("conv 3,", '"" is no layer.'),
        ("pool 9, pool 9", '"pool 9" does not fit into 2 cells.'),
        ("conv 99", '"conv 99" does not fit into 20 cells.'),
        (", ".join(["conv 1"] * 8), "More than 7 layers are not drawn."),
    ],
)
def test_what_cannot_be_drawn_is_named_and_what_comes_before_it_stays(page, text, said):
    page.set_content(as_page(moving_receptive_field("")))
    page.locator("[id$=layers]").fill(text)
    words = page.locator(READING).text_content()
    assert said in words and "of the last map sees" in words


def test_a_picture_that_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="between 8 and 32, not 64"):
        moving_receptive_field("conv 3", side=64)
