"""The explorer of convolutions: sliders over a window give what PyTorch gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from prunekit.book.widgets.convolution import convolution_explorer

CELLS = """() => {
    const all = [...document.querySelectorAll("svg text")].map((t) => t.textContent);
    return all.slice(all.indexOf("output") + 1);
}"""


def set_slider(page, name: str, value: int) -> None:
    page.locator(f"[name={name}]").fill(str(value))


@pytest.mark.parametrize(
    "side, kernel, stride, padding", [(7, 3, 2, 1), (9, 5, 3, 0), (4, 1, 4, 2)]
)
def test_last_position_shows_the_whole_convolution(page, side, kernel, stride, padding):
    page.set_content(convolution_explorer(seed=3).data)
    for name, value in zip("WFSP", (side, kernel, stride, padding), strict=True):
        set_slider(page, name, value)
    set_slider(page, "step", page.locator("[name=step]").get_attribute("max"))
    image = torch.from_numpy(np.random.default_rng(3).integers(0, 10, (9, 9)))[:side, :side]
    weights = torch.zeros(kernel, kernel)
    weights[:, 0] -= 1
    weights[:, -1] += 1
    if kernel == 1:
        weights[:] = 1
    output = F.conv2d(image[None, None].float(), weights[None, None], None, stride, padding)[0, 0]
    shown = [int(cell.replace("\u2212", "-")) for cell in page.evaluate(CELLS)]
    assert shown == output.flatten().int().tolist()
    assert f"{len(output)}" in page.locator(".formula").text_content()


def test_a_window_that_does_not_fit_is_said_to(page):
    page.set_content(convolution_explorer(side=4, kernel=5, padding=0).data)
    assert "does not fit" in page.locator(".formula").text_content()


def test_two_explorers_on_a_page_do_not_disturb_each_other(page):
    page.set_content(convolution_explorer(kernel=3).data + convolution_explorer(kernel=5).data)
    kernels = page.locator("output[for=F]").all_text_contents()
    assert kernels == ["3", "5"]


def test_a_start_outside_its_slider_is_refused():
    with pytest.raises(ValueError, match="stride S must lie between 1 and 4, not 5"):
        convolution_explorer(stride=5)
