"""One small example of every figure that moves, and how a page is made of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from prunekit.book.moving.heap import moving_heap
from prunekit.book.moving.knee import moving_knee
from prunekit.book.moving.layers import moving_layers
from prunekit.book.moving.page import MovingFigure
from prunekit.book.moving.plane import moving_plane
from prunekit.book.moving.tangent import moving_tangent
from prunekit.book.moving.twins import moving_twins
from prunekit.criteria.similarity import spare

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


def run_of_turns() -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Twenty-four turns on four layers, one of which loses nothing and has no column."""
    names = ["features.0", "features.3.squeeze", "features.3.expand1x1", "features.12.squeeze"]
    filters = pd.Series([8, 6, 20, 40], index=names)
    turns = np.arange(1, 25)
    taken = {names[0]: turns % 4 == 0, names[2]: turns % 2 == 0, names[3]: turns > 0}
    pattern = pd.DataFrame(taken, index=turns).astype(int)
    after = np.linspace(0.9, 0.4, 25)
    table = pd.DataFrame({"iteration": range(25), "accuracy_after": after})
    return table, pattern, filters


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


def twins(filters: int = 14, seed: int = 0) -> tuple[str, np.ndarray, pd.DataFrame]:
    """A layer, the similarities of its filters, and their scores by similarity."""
    vectors = np.random.default_rng(seed).normal(size=(filters, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    scores = spare(torch.from_numpy(similarity), torch.arange(1.0, filters + 1)).numpy()
    return (
        "conv",
        similarity,
        pd.DataFrame({"layer": "conv", "filter": range(filters), "score": scores}),
    )


FIGURES: dict[str, Callable[[], MovingFigure]] = {
    "knee": lambda: moving_knee(knee_networks()),
    "layers": lambda: moving_layers(*run_of_turns()),
    "heap": lambda: moving_heap(ranking(), count=3),
    "plane": lambda: moving_plane(scores(), "activation_l2", "taylor"),
    "tangent": lambda: moving_tangent(*tangents()),
    "twins": lambda: moving_twins(*twins()),
}


def as_page(*figures: MovingFigure, theme: str = "light") -> str:
    """A page as the site has them: one language, one theme, the figures one below the other."""
    content = "".join(figure.html for figure in figures)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return (
        f'<!doctype html><html lang="en" data-theme="{theme}"><head>{head}</head>{content}</html>'
    )
