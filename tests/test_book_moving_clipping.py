"""The errors of few bits in the page are those that numpy finds."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from moving import READING, as_page, maps

from prunekit.book.moving.clipping import MOST, moving_clipping
from prunekit.book.readings import stored


@pytest.mark.parametrize("values", [maps(), maps(1) - 1, -maps(2), np.array([0.5, 1.5, 2.5, 7.0])])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_errors_by_rounding_and_clipping_are_those_of_numpy(page, values, bits):
    figure = moving_clipping(values)
    page.set_content(as_page(figure))
    shown = np.array(figure.data["values"])
    for cut in (0.05, 0.3, 0.62, 1.0):
        low, high = cut * min(0, shown.min()), cut * max(0, shown.max())
        found = page.evaluate(
            "([values, low, high, bits]) => prunekitClipping.errors(values, low, high, bits)",
            [shown.tolist(), low, high, bits],
        )
        scale = (high - low) / (2**bits - 1)
        zero = round(-low / scale)
        squares = (stored(shown, scale, zero, bits) - shown) ** 2 / len(shown)
        level = np.round(shown / scale) + zero
        beyond = (level < 0) | (level > 2**bits - 1)
        assert found["scale"] == pytest.approx(scale) and found["zero"] == zero
        assert found["clipping"] == pytest.approx(squares[beyond].sum(), abs=1e-12)
        assert found["rounding"] == pytest.approx(squares[~beyond].sum(), abs=1e-12)
        assert found["sum"] == pytest.approx(squares.sum(), abs=1e-12)


def test_the_fewer_the_bits_the_further_down_the_best_cut(page):
    page.set_content(as_page(moving_clipping(maps(count=1500))))
    best = []
    for bits in range(2, 9):
        page.locator("[id$=bits]").fill(str(bits))
        said = page.locator(READING).text_content()
        assert f"{bits} bits, range up to" in said and "0 by clipping" in said
        best.append(int(re.search(r"least with (\d+)", said)[1]))
    assert best == sorted(best) and best[0] < 50 < best[-1]


def test_a_tensor_of_any_shape_goes_in_with_its_ends():
    values = torch.randn(8, 4, 20, 20, generator=torch.Generator().manual_seed(0))
    data = moving_clipping(values).data
    assert len(data["values"]) == MOST and data["values"] == sorted(data["values"])
    ends = [values.min().item(), values.max().item()]
    assert data["ends"] == pytest.approx(ends, rel=1e-3)


def test_the_best_cut_of_many_numbers_is_that_of_all_of_them(page):
    values = np.random.default_rng(0).exponential(size=200_000)
    page.set_content(as_page(moving_clipping(values, bits=4)))
    said = page.locator(READING).text_content()
    ends = values.max() * np.arange(5, 101) / 100
    lost = [((stored(values, end / 15, 0, 4) - values) ** 2).mean() for end in ends]
    assert int(re.search(r"least with (\d+)", said)[1]) == pytest.approx(5 + np.argmin(lost), abs=2)


@pytest.mark.parametrize("values", [[], [0.0, 0.0]])
def test_values_that_have_no_range_are_refused(values):
    with pytest.raises(ValueError, match="one at least is not zero"):
        moving_clipping(values)
