"""A convolution in the page: sliders over a window give what PyTorch gives."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from moving import READING, as_page

from prunekit.book.moving.convolution import moving_convolution

CELLS = """() => {
    const all = [...document.querySelectorAll(".picture text")].map((t) => t.textContent);
    return all.slice(all.indexOf("output") + 1);
}"""


def convolved(side: int, kernel: int, stride: int, padding: int) -> torch.Tensor:
    image = torch.from_numpy(np.random.default_rng(3).integers(0, 10, (9, 9)))[:side, :side]
    weights = torch.zeros(kernel, kernel)
    weights[:, 0] -= 1
    weights[:, -1] += 1
    if kernel == 1:
        weights[:] = 1
    return F.conv2d(image[None, None].float(), weights[None, None], None, stride, padding)[0, 0]


@pytest.mark.parametrize(
    "side, kernel, stride, padding", [(7, 3, 2, 1), (9, 5, 3, 0), (4, 1, 4, 2), (9, 1, 1, 2)]
)
def test_the_last_position_shows_the_whole_convolution(page, side, kernel, stride, padding):
    page.set_content(as_page(moving_convolution(seed=3)))
    for name, value in zip("WFSP", (side, kernel, stride, padding), strict=True):
        page.locator(f"[id$='-{name}']").fill(str(value))
    page.locator("[id$=position]").press("End")
    output = convolved(side, kernel, stride, padding)
    shown = [int(cell.replace("\u2212", "-")) for cell in page.evaluate(CELLS)]
    assert shown == output.flatten().int().tolist()
    said = page.locator(READING).text_content()
    assert re.search(rf"(= |rounded down to ){len(output)}\.", said)
    unread = side + 2 * padding - (len(output) - 1) * stride - kernel
    assert ("never read" in said) == bool(unread)


def test_a_cell_of_the_output_that_is_pointed_at_is_the_one_that_is_computed(page):
    page.set_content(as_page(moving_convolution(seed=3)))
    output = convolved(7, 3, 2, 1).int()
    box = page.locator(".grid").last.bounding_box()
    size = box["width"] / len(output)
    for row, column in ((0, 0), (1, 2), (3, 3)):
        page.mouse.move(box["x"] + (column + 0.5) * size, box["y"] + (row + 0.5) * size)
        said = page.locator(READING).text_content().replace("\u2212", "-")
        place = f"In row {row + 1} and column {column + 1} of the output"
        assert said.endswith(f"{place}, the products add up to {output[row, column]}.")


def test_a_pixel_that_is_pointed_at_calls_the_nearest_window(page):
    page.set_content(as_page(moving_convolution(side=8, kernel=3, stride=3, padding=0)))
    box = page.locator(".grid").first.bounding_box()
    size, position = box["width"] / 8, page.locator("[id$=position]")
    for pixel, window in ((0, 0), (2, 0), (3, 1), (7, 1)):  # the last two are in no window
        page.mouse.move(box["x"] + (pixel + 0.5) * size, box["y"] + (pixel + 0.5) * size)
        assert position.input_value() == str(window * 2 + window)


def test_a_window_that_does_not_fit_is_said_to(page):
    page.set_content(as_page(moving_convolution(side=4, kernel=5, padding=0)))
    assert "does not fit into 4 pixels" in page.locator(READING).text_content()
    page.locator("[id$='-P']").press("ArrowRight")
    assert "Output side" in page.locator(READING).text_content()


def test_a_start_outside_its_slider_is_refused():
    with pytest.raises(ValueError, match="stride S must lie between 1 and 4, not 5"):
        moving_convolution(stride=5)
