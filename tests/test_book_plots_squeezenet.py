"""SqueezeNet is drawn from its own layers and from the tables of its maps."""

from __future__ import annotations

import pandas as pd
from figures import readable, words
from matplotlib.patches import Rectangle

from prunekit.book.plots import squeezenet as plots
from prunekit.models import squeezenet

STAGES = pd.DataFrame(
    {
        "stage": ["image", "conv 0", "pool 2", "Fire 3"],
        "channels": [3, 64, 64, 128],
        "side": [96, 47, 23, 23],
    }
)


def test_fire_module_is_drawn_with_its_own_counts():
    fire = squeezenet().features[3]
    drawn = "\n".join(words(readable(plots.fire_module(fire, inputs=64))))
    for conv in (fire.squeeze, fire.expand1x1, fire.expand3x3):
        assert f"{sum(p.numel() for p in conv.parameters()):,} parameters" in drawn
    assert "input\n64 channels" in drawn and "concatenated\n128 channels" in drawn


def blocks(figure) -> list[Rectangle]:
    return [patch for patch in figure.axes[0].patches if type(patch) is Rectangle]


def test_network_map_grows_with_sides_and_channels():
    figure = readable(plots.network_map(STAGES))
    image, first, *_, last = blocks(figure)
    assert image.get_height() > first.get_height() > last.get_height()
    assert image.get_width() < first.get_width() < last.get_width()
    assert {"3\n96 px", "conv 0", "128\n23 px"} <= set(words(figure))


def test_blocks_of_a_network_do_not_overlap_and_poolings_stand_out():
    drawn = blocks(plots.network_map(STAGES))
    ends = [block.get_x() + block.get_width() for block in drawn]
    assert all(end < block.get_x() for end, block in zip(ends, drawn[1:], strict=False))
    colours = [block.get_facecolor() for block in drawn]
    assert colours[0] == colours[1] == colours[3] != colours[2]


def test_one_stage_is_a_map_too():
    assert len(blocks(readable(plots.network_map(STAGES[:1])))) == 1


def test_map_sizes_says_every_side():
    table = pd.DataFrame({96: [47, 5], 32: [15, 1]}, index=["conv 0", "pool 8"])
    figure = readable(plots.map_sizes(table))
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["47 × 47", "15 × 15", "5 × 5", "1 × 1"]
    assert {"96 px", "32 px", "conv 0", "pool 8", "side of the input image"} <= set(words(figure))
