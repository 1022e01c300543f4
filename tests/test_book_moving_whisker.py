"""The whisker in the page: abnormal units, richness and widths are those of the library."""

from __future__ import annotations

import re

import pytest
import torch
from moving import IMAGE, READING, as_page, indicators, whisker
from torch import nn

from prunekit import load, profile, rank, rebuild, trace
from prunekit.book import BOOK
from prunekit.book.moving.whisker import moving_whisker
from prunekit.widths import (
    abnormal_richness,
    allocate,
    layer_entropies,
    mean_magnitudes,
    select_widths,
)

RESULT = """([{ lists, widths, costs, whole, ratio, least }, factor]) => {
    const found = prunekitWhisker.richness(...lists.map(({ values }) => values), factor);
    const budget = whole * (1 - ratio);
    return { ...found,
        kept: prunekitWhisker.allocated(found.richness, widths, costs, budget, least) };
}"""


@pytest.mark.parametrize("seed", range(3))
def test_every_factor_gives_what_the_library_gives(page, seed):
    figure = whisker(seed)
    model, lists = indicators(seed)
    page.set_content(as_page(figure))
    counts = set()
    for tenths in range(0, 31, 3):
        found = page.evaluate(RESULT, [figure.data, tenths / 10])
        table = abnormal_richness(*lists.values(), whisker=tenths / 10)
        abnormal = table["entropy_abnormal"] | table["magnitude_abnormal"]
        assert found["abnormal"] == abnormal.tolist()
        assert found["richness"] == pytest.approx(table["richness"].tolist(), abs=1e-12)
        widths = allocate(model, IMAGE, table["richness"], ratio=0.5, relation="contrast")
        assert found["kept"] == widths["kept"].tolist(), tenths
        counts.add(sum(found["abnormal"]))
    assert len(counts) > 2


def test_the_sentence_says_what_the_slider_does(page):
    model, lists = indicators()
    page.set_content(as_page(whisker()))
    graph, names, whole = trace(model, IMAGE), lists["H"].index, profile(model, IMAGE)
    ranking = rank(model, [(IMAGE, None)], "weight_l1", progress=False)

    def kept(factor: float) -> tuple[int, list[int]]:
        table = abnormal_richness(*lists.values(), whisker=factor)
        abnormal = table["entropy_abnormal"] | table["magnitude_abnormal"]
        widths = allocate(model, IMAGE, table["richness"], ratio=0.5, relation="contrast")
        return int(abnormal.sum()), widths["kept"].tolist()

    usual = kept(1.5)
    said = page.locator(READING).text_content()
    assert f"{usual[0]} of 9 units" in said and f"{sum(usual[1])} of 336 channels stay, " in said
    for tenths in (0, 2, 30):
        page.locator("input").fill(str(tenths))
        abnormal, widths = kept(tenths / 10)
        moved = sum(abs(one - other) for one, other in zip(widths, usual[1], strict=True))
        reading = page.locator(READING).text_content().replace("\u00a0", " ")
        numbers = re.findall(r"\d+", reading.split(", ", 1)[1])
        assert int(numbers[0]) == abnormal and int(numbers[-1]) == moved
        small = rebuild(
            model, graph, select_widths(ranking, dict(zip(names, widths, strict=True)), graph)
        )
        macs, parameters = (
            round(100 * getattr(profile(small, IMAGE), cost) / getattr(whole, cost))
            for cost in ("macs", "parameters")
        )
        assert f"with {macs} % of the MACs and {parameters} % of the parameters;" in reading
        drawn = page.eval_on_selector_all("[data-height]", "all => all.map(o => +o.dataset.height)")
        shares = [
            count / width
            for count, width in zip(widths, [16] * 3 + [32] * 3 + [64] * 3, strict=True)
        ]
        assert drawn == pytest.approx(shares)


def test_units_that_read_each_other_are_refused():
    model = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1))
    _, lists = indicators()
    lists = {name: values[:2].set_axis(["0", "1"]) for name, values in lists.items()}
    with pytest.raises(ValueError, match="depends on others"):
        moving_whisker(model, torch.zeros(1, 1, 4, 4), lists)


def test_the_chapter_says_how_many_channels_the_factor_moves():
    """Of 1,008 channels, 8 at k = 1 and 3 at k = 3; a tenth of the units before it matters."""
    model = load(BOOK / "results" / "resnet56" / "resnet56-seed0" / "model.safetensors").float()
    graph = trace(model, IMAGE)
    lists = layer_entropies(model, graph), mean_magnitudes(model, graph)

    def kept(factor: float):
        table = abnormal_richness(*lists, whisker=factor)
        abnormal = table["entropy_abnormal"] | table["magnitude_abnormal"]
        widths = allocate(model, IMAGE, table["richness"], ratio=0.5, relation="contrast")
        return widths, abnormal.mean()

    usual = kept(1.5)[0]
    assert usual["width"].sum() == 1008
    moved = {k: (kept(k)[0]["kept"] - usual["kept"]).abs().sum() for k in (0.8, 1.0, 3.0)}
    assert (moved[1.0], moved[3.0]) == (8, 3) and moved[0.8] > 2 * moved[3.0]
    assert kept(1.0)[1] < 0.1 < kept(0.8)[1]
