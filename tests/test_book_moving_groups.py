"""The groups in the page are those of the channel graph, to the last number."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from moving import READING, as_page, small_networks
from torch import nn

import prunekit
from prunekit.book.moving.groups import moving_groups

X = torch.zeros(1, 3, 8, 8)
NETWORKS = small_networks()
CUT = "all => all.map((one) => one.dataset.cut)"
CHANNELS = """all => all.map((one) =>
    [one.dataset.channel, +one.dataset.group, +one.getAttribute("opacity")])"""


@pytest.fixture
def shown(page):
    """The page with all networks, and a function that turns it to one and says its graph."""
    page.set_content(as_page(moving_groups(NETWORKS, X)))

    def turn(name: str) -> prunekit.ChannelGraph:
        page.locator("select").select_option(label=name)
        return prunekit.trace(NETWORKS[name], X)

    return page, turn


def wanted(graph: prunekit.ChannelGraph, model: nn.Module, group: int) -> set[str]:
    """Every cell of every tensor that a group takes: by its filter or by its input channel."""
    cells = set()
    for path, dims in graph.slices.items():
        shape = model.state_dict()[path].shape
        hit = np.zeros(shape[:2] if len(shape) > 1 else (shape[0], 1), dtype=bool)
        if 0 in dims:
            hit[dims[0] == group] = True
        if 1 in dims:
            hit[:, dims[1] == group] = True
        cells |= {f"{path}:{row},{column}" for row, column in np.argwhere(hit).tolist()}
    return cells


@pytest.mark.parametrize("name", NETWORKS)
def test_every_group_is_marked_where_the_graph_cuts_it(shown, name):
    page, turn = shown
    graph, model = turn(name), NETWORKS[name]
    count = sum(parameter.numel() for parameter in model.parameters())
    for group in range(1, graph.count):
        page.locator("[id$=group]").fill(str(group))
        cut = page.eval_on_selector_all("[data-cut]", CUT)
        assert len(cut) == len(set(cut)) and set(cut) == wanted(graph, model, group)
        for _, number, opacity in page.eval_on_selector_all("[data-channel]", CHANNELS):
            assert (opacity == 1) == (number == group)
        small = prunekit.rebuild(model, X, graph.members(group))
        less = count - sum(parameter.numel() for parameter in small.parameters())
        assert page.locator(READING).text_content().endswith(f"{less} of {count} parameters.")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_words_name_every_filter_and_every_reader(shown, name):
    page, turn = shown
    graph = turn(name)

    def named(part: str, said: str) -> dict[str, list[int]]:
        found = re.findall(rf"{part}s? (\d+(?: and \d+)*) of ([\w.]+\w)", said)
        return {module: [int(one) for one in places.split(" and ")] for places, module in found}

    for group in range(1, graph.count):
        page.locator("[id$=group]").fill(str(group))
        said = page.locator(READING).text_content()
        assert named("filter", said) == graph.members(group)
        reads = {
            path.removesuffix(".weight"): np.flatnonzero(dims[1] == group).tolist()
            for path, dims in graph.slices.items()
            if path.endswith(".weight") and group in dims.get(1, ())
        }
        assert named("input channel", said) == reads
        norms = {norm: np.flatnonzero(of == group).tolist() for norm, of in graph.norms.items()}
        channels = named("(?<!input )channel", said)
        assert {norm: channels.get(norm, []) for norm in norms} == norms
        together = sum(map(len, graph.members(group).values()))
        alone = "can go alone" if together == 1 else f"These {together} can only go together"
        assert alone in said


def test_every_channel_that_is_pointed_at_shows_its_group(shown):
    page, turn = shown
    graph = turn("sum")
    squares = page.locator("[data-channel]")
    made = [group for layer in graph.layers.values() for group in layer.groups.tolist()]
    assert squares.count() > len(made)
    for place in range(squares.count()):
        square = squares.nth(place)
        box, group = square.bounding_box(), square.get_attribute("data-group")
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert page.locator("[id$=group]").input_value() == group
        said = page.locator(READING).text_content()
        assert said.startswith(f"Group {group}:" if group != "0" else "The channels numbered 0")


def test_what_must_stay_takes_nothing_along(shown):
    page, turn = shown
    turn("depthwise")
    page.locator("[id$=group]").press("Home")
    assert "must stay" in page.locator("output[for$=group]").text_content()
    assert page.locator("[data-cut]").count() == 0


def test_one_network_alone_needs_no_choice(page):
    page.set_content(as_page(moving_groups({"sum": NETWORKS["sum"]}, X)))
    assert page.locator("select").count() == 0
    assert page.locator("[data-cut]").count() > 0


def test_networks_that_have_nothing_to_show_are_refused():
    with pytest.raises(ValueError, match="nothing to show"):
        moving_groups({}, X)
    with pytest.raises(ValueError, match="no channel of flat may go"):
        moving_groups({"flat": nn.Sequential(nn.Conv2d(3, 4, 1))}, X)
