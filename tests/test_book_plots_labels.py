"""Figures of chapter 14 show what the tracer found: its groups, its edges, its slices."""

from __future__ import annotations

from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from figures import readable
from matplotlib.colors import to_rgb
from matplotlib.patches import PathPatch, Polygon, Rectangle
from networks import Shuffle
from torch import nn

import prunekit
from prunekit.book.plots.labels import flow_figure, group_colour, slices_figure
from prunekit.book.steps import channel_steps
from prunekit.models import BasicBlock, Fire, InvertedResidual

X = torch.zeros(1, 3, 8, 8)


def network(stem: int, block: nn.Module, width: int) -> nn.Sequential:
    """Three colours, a stem, one block, a classifier of two classes."""
    parts = {"stem": nn.Conv2d(3, stem, 1, bias=False), "norm": nn.BatchNorm2d(stem)}
    parts |= {"block": block, "pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    return nn.Sequential(OrderedDict(parts | {"head": nn.Linear(width, 2)}))


class Tied(nn.Module):
    """Two convolutions with one weight: what goes from one goes from the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(3, 4, 1, bias=False) for _ in "ab")
        self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.a(x), self.b(x).relu()], 1)


NETWORKS = {
    "concat": network(3, Fire(3, 2, 3), 6),
    "sum": network(3, BasicBlock(3, 3), 3),
    "widening sum": network(2, BasicBlock(2, 6), 6),
    "depthwise": network(3, InvertedResidual(3, 3, 2, 2), 3),
    "shuffle": network(6, Shuffle(6), 6),
    "tied weights": network(3, Tied(), 8),
}


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_a_layer_is_a_step_with_the_groups_that_trace_finds(model):
    layers = prunekit.trace(model, X).layers
    steps = {step.name: step for step in channel_steps(model, X)}
    for name, layer in layers.items():
        assert np.array_equal(steps[name].groups, layer.groups)
    assert "norm" not in steps and "pool" not in steps  # they leave the channels as they are


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_a_layer_reads_what_its_sources_carry(model):
    layers = prunekit.trace(model, X).layers
    steps = channel_steps(model, X)
    for step in steps:
        if step.name in layers and step.name != "stem":
            (source,) = step.sources
            assert np.array_equal(steps[source].groups, layers[step.name].inputs)


def test_operations_are_named_for_what_they_do():
    names = {key: [step.name for step in channel_steps(m, X)] for key, m in NETWORKS.items()}
    assert names["concat"][-2:] == ["cat", "head"]
    assert names["sum"][-2:] == ["+", "head"]
    assert names["shuffle"][-3:] == ["cat", "shuffle", "head"]
    assert names["widening sum"].count("cat") == 1
    assert {"block.shortcut.before", "block.shortcut.after"} <= set(names["widening sum"])


def test_a_step_says_what_kind_of_layer_it_is():
    kinds = [step.kind for step in channel_steps(NETWORKS["depthwise"], X)]
    assert kinds == ["", "1×1", "1×1", "depthwise\n3×3", "1×1", "linear"]


def squares(figure) -> list[Rectangle]:
    return [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]


def lines(figure) -> list[PathPatch]:
    return [p for p in figure.axes[0].patches if type(p) is PathPatch]


def is_of(patch, group: int) -> bool:
    colour = patch.get_edgecolor() if isinstance(patch, PathPatch) else patch.get_facecolor()
    return colour[:3] == pytest.approx(to_rgb(group_colour(group)))


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_every_channel_is_a_square_with_the_number_and_colour_of_its_group(model):
    groups = np.concatenate([step.groups for step in channel_steps(model, X)])
    figure = readable(flow_figure(model, X))
    drawn = squares(figure)
    assert len(drawn) == len(groups)
    assert all(is_of(square, group) for square, group in zip(drawn, groups, strict=True))
    numbers = [t.get_text() for t in figure.findobj(plt.Text) if t.get_text().isdigit()]
    assert numbers == [str(group) for group in groups]


def test_columns_do_not_overlap_and_stand_in_the_order_of_execution():
    for model in NETWORKS.values():
        boxes = [(s.get_x(), s.get_y()) for s in squares(flow_figure(model, X))]
        assert len(set(boxes)) == len(boxes)
        steps = channel_steps(model, X)
        starts = np.cumsum([0, *(len(step.groups) for step in steps)])
        for i, step in enumerate(steps):
            assert all(boxes[starts[s]][0] < boxes[starts[i]][0] for s in step.sources)


def test_a_convolution_reads_all_and_a_sum_joins_one_with_one():
    figure = flow_figure(NETWORKS["sum"], X)
    bands = [p for p in figure.axes[0].patches if type(p) is Polygon]
    assert len(bands) == 4  # stem, two convolutions of the block, head
    assert [sum(is_of(line, g) for line in lines(figure)) for g in (1, 2, 3)] == [2, 2, 2]


def test_a_depthwise_convolution_is_drawn_as_one_line_a_channel():
    assert len(lines(flow_figure(NETWORKS["depthwise"], X))) == 6


def test_one_group_alone_is_drawn_in_colour():
    figure = flow_figure(NETWORKS["sum"], X, group=2)
    assert sum(is_of(square, 2) for square in squares(figure)) == 3  # stem, conv2, sum
    assert not any(is_of(square, g) for square in squares(figure) for g in (0, 1, 3, 4))


@pytest.mark.parametrize("key, group", [("sum", 2), ("concat", 4), ("depthwise", 5)])
def test_the_numbers_that_a_group_takes_are_those_that_rebuilding_removes(key, group):
    model = NETWORKS[key]
    graph = prunekit.trace(model, X)
    small = prunekit.rebuild(model, X, graph.members(group))
    before, after = (sum(t.numel() for t in m.state_dict().values()) for m in (model, small))
    # Batch norms also hold a counter each, which carries no channel.
    counters = sum(t.numel() for n, t in model.state_dict().items() if n.endswith("tracked"))
    figure = readable(slices_figure(model, X, group))
    assert figure.get_suptitle() == (
        f"Group {group} takes {before - after} of {before - counters} numbers"
    )


def test_cells_of_a_group_are_rows_where_it_is_made_and_columns_where_it_is_read():
    model = NETWORKS["sum"]
    panels = {ax.get_title(loc="left"): ax for ax in slices_figure(model, X, 2).axes}

    def cut(name):
        cells = [c for c in panels[name].patches if is_of(c, 2)]
        return {(int(-c.get_y()) - 1, int(c.get_x())) for c in cells}

    assert cut("stem") == {(1, 0), (1, 1), (1, 2)}
    assert cut("block.\nconv1") == {(0, 1), (1, 1), (2, 1)}
    assert cut("block.\nbn1") == set()


def test_a_group_that_is_not_there_is_refused():
    for figure in (flow_figure, slices_figure):
        with pytest.raises(ValueError, match="no dependency group 99, only 0 to 6"):
            figure(NETWORKS["sum"], X, 99)


def test_neighbouring_groups_never_share_a_colour():
    colours = [to_rgb(group_colour(group)) for group in range(15)]
    assert len(set(colours)) == 15
