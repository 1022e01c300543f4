"""One small example of every figure that moves, and how a page is made of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from networks import Shuffle
from torch import nn

from prunekit.book.moving.clipping import moving_clipping
from prunekit.book.moving.convolution import moving_convolution
from prunekit.book.moving.groups import moving_groups
from prunekit.book.moving.heap import moving_heap
from prunekit.book.moving.knee import moving_knee
from prunekit.book.moving.layers import moving_ratio, moving_turns
from prunekit.book.moving.page import MovingFigure
from prunekit.book.moving.plane import moving_plane
from prunekit.book.moving.receptive import moving_receptive_field
from prunekit.book.moving.tangent import moving_tangent
from prunekit.book.moving.twins import moving_twins
from prunekit.book.moving.whisker import moving_whisker
from prunekit.criteria.similarity import spare
from prunekit.models import BasicBlock, Fire, InvertedResidual, ResNet

READING = ".reading"


def knee_networks() -> pd.DataFrame:
    """Two criteria, two seeds; one curve dips and comes back, the seeds' ratios differ."""
    ratio = [0.0, 0.3, 0.5, 0.7, 0.9]
    val = {
        ("taylor", 0): [0.90, 0.90, 0.885, 0.80, 0.30],
        ("taylor", 1): [0.90, 0.87, 0.90, 0.84, 0.20],
        ("random", 0): [0.90, 0.80, 0.60, 0.40, 0.10],
        ("random", 1): [0.90, 0.82, 0.58, 0.45, 0.10],
    }
    tables = [
        pd.DataFrame({"variant": variant, "seed": seed, "ratio": ratio, "val_accuracy": curve})
        for (variant, seed), curve in val.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(test_accuracy=table["val_accuracy"] - 0.01 - 0.03 * table["ratio"])


def tangents() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cost (t - 2)² and its derivative, and a straight line."""
    t = np.round(np.arange(25) * 0.05, 2)
    curves = pd.DataFrame({"parabola": (t - 2) ** 2, "line": 1 - 0.5 * t}, index=t)
    return curves, pd.DataFrame({"parabola": 2 * (t - 2), "line": -0.5}, index=t)


def scores(filters: int = 40, seed: int = 0) -> pd.DataFrame:
    """Two criteria's scores of three layers, one of them narrow and low; some scores are equal."""
    random = np.random.default_rng(seed)
    layers = np.repeat(["a", "b", "c"], [4, filters - 14, 10])
    low = np.where(layers == "a", 0.1, 1.0)
    columns = {
        name: (low * random.random(filters)).round(2) for name in ("activation_l2", "taylor")
    }
    return pd.DataFrame({"layer": layers, "filter": np.arange(filters)} | columns)


def ranking(seed: int = 0) -> pd.DataFrame:
    """Nine scores in three layers, as in chapter 9, some of them equal."""
    layers = list("aaaabbbcc")
    values = np.random.default_rng(seed).integers(0, 12, 9) / 10
    filters = [0, 1, 2, 3, 0, 1, 2, 0, 1]
    return pd.DataFrame({"layer": layers, "filter": filters, "score": values})


def twins(seed: int = 0) -> tuple[str, np.ndarray, pd.DataFrame]:
    """A layer, the similarities of its filters, and their scores by similarity."""
    filters = 14
    vectors = np.random.default_rng(seed).normal(size=(filters, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    scores = spare(torch.from_numpy(similarity), torch.arange(1.0, filters + 1)).numpy()
    return (
        "conv",
        similarity,
        pd.DataFrame({"layer": "conv", "filter": range(filters), "score": scores}),
    )


def patterns() -> tuple[pd.DataFrame, pd.Series]:
    """Filters removed in each of two iterations, and how many there were."""
    filters = pd.Series({"features.0": 10, "features.3.squeeze": 20, "features.12.expand1x1": 70})
    return pd.DataFrame([[1, 9, 40], [4, 6, 20]], index=[1, 2], columns=filters.index), filters


def ratios() -> tuple[pd.DataFrame, pd.Series, pd.DataFrame]:
    """The pattern at some ratios of two criteria and two seeds; one has fewer networks."""
    pattern, filters = patterns()
    rows = [("taylor", 0.0), ("taylor", 0.5), ("taylor", 0.8), ("random", 0.5), ("random", 0.9)]
    runs = pd.DataFrame(
        [(variant, seed, ratio) for variant, ratio in rows for seed in (0, 1)],
        columns=["variant", "seed", "ratio"],
    )
    totals = {0.0: pattern.iloc[0] * 0, 0.5: pattern.iloc[0]}
    counts = [totals.get(ratio, pattern.sum()) for ratio in runs["ratio"]]
    removed = runs.join(pd.DataFrame([list(one) for one in counts], columns=filters.index))
    return removed, filters, runs.assign(test_accuracy=0.9 - 0.02 * runs["ratio"])


IMAGE = torch.zeros(1, 3, 32, 32)


def indicators(seed: int = 0) -> tuple[ResNet, dict[str, pd.Series]]:
    """A network of nine units and two numbers for each of them, one of either list far out."""
    random = np.random.default_rng(seed)
    names = [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in range(3)]
    first, second = random.normal(2, 0.2, 9), random.exponential(1, 9)
    first[random.integers(9)] += 3
    second[random.integers(9)] -= 4
    lists = {"H": pd.Series(first, names), "N": pd.Series(second, names)}
    return ResNet(blocks=3).eval(), lists


def whisker(seed: int = 0) -> MovingFigure:
    model, lists = indicators(seed)
    return moving_whisker(model, IMAGE, lists)


def maps(seed: int = 0, count: int = 400) -> np.ndarray:
    """Numbers as after a ReLU: many zeros, and few far out."""
    return np.maximum(0, np.random.default_rng(seed).laplace(size=count)).astype(np.float32)


def small_networks() -> dict[str, nn.Module]:
    """Of a few channels: joined, added, padded with constants, filtered one by one, shuffled."""

    def network(stem: int, block: nn.Module, width: int) -> nn.Sequential:
        parts = {"stem": nn.Conv2d(3, stem, 1, bias=False), "norm": nn.BatchNorm2d(stem)}
        parts |= {"block": block, "pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        return nn.Sequential(OrderedDict(parts | {"head": nn.Linear(width, 2)})).eval()

    return {
        "concatenation": network(3, Fire(3, 2, 3), 6),
        "sum": network(3, BasicBlock(3, 3), 3),
        "widening sum": network(2, BasicBlock(2, 6), 6),
        "depthwise": network(3, InvertedResidual(3, 3, 2, 2), 3),
        "shuffle": network(6, Shuffle(6), 6),
    }


FIGURES: dict[str, Callable[[], MovingFigure]] = {
    "clipping": lambda: moving_clipping(maps()),
    "convolution": moving_convolution,
    "groups": lambda: moving_groups(small_networks(), IMAGE[..., :8, :8]),
    "knee": lambda: moving_knee(knee_networks()),
    "heap": lambda: moving_heap(ranking(), count=3),
    "layers": lambda: moving_turns(*patterns()),
    "ratio": lambda: moving_ratio(*ratios()),
    "plane": lambda: moving_plane(scores(), "activation_l2", "taylor"),
    "receptive": lambda: moving_receptive_field("conv 3, pool 2, conv 3 padding 1"),
    "tangent": lambda: moving_tangent(*tangents()),
    "twins": lambda: moving_twins(*twins()),
    "whisker": whisker,
}


def as_page(*figures: MovingFigure, theme: str = "light") -> str:
    """A page as the site has them: one language, one theme, the figures one below the other."""
    content = "".join(figure.html for figure in figures)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return (
        f'<!doctype html><html lang="en" data-theme="{theme}"><head>{head}</head>{content}</html>'
    )
