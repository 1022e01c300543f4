"""What figures show but do not work out themselves: blocks, curves over seeds, what a group takes.

Every function returns tables or arrays that a figure only has to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor, nn

from prunekit.book.findings import over_seeds
from prunekit.channels import trace
from prunekit.pruning.schedule import Criteria, stages


def block(layer: str) -> str:
    """The block of SqueezeNet a layer belongs to: ``conv 0``, ``Fire 3``, ..."""
    parts = layer.split(".")
    if len(parts) < 2:
        return layer
    return f"Fire {parts[1]}" if len(parts) > 2 else f"conv {parts[1]}"


def by_block(pattern: pd.DataFrame) -> pd.DataFrame:
    """Add up the layers of each Fire module, so that columns read as in the thesis.

    ``pattern`` has a row an iteration and a column a layer, named as in
    ``model.named_modules()``. ``features.3.squeeze`` belongs to ``Fire 3``,
    ``features.0`` is ``conv 0``.

    Examples
    --------
    >>> by_block(pd.DataFrame({"features.0": [1], "features.3.squeeze": [2],
    ...                        "features.3.expand1x1": [3]})).to_dict("list")
    {'conv 0': [1], 'Fire 3': [5]}
    """
    return pattern.T.groupby(block, sort=False).sum().T


def blocks_kept(removed: pd.DataFrame, filters: pd.Series) -> pd.DataFrame:
    """Filters of each block (row) ``before`` pruning, and what was kept: over the rows given.

    Parameters
    ----------
    removed
        A row a seed and a column a layer: filters removed in total. Other columns do not matter.
    filters
        Filters of each layer before pruning.

    Returns
    -------
    DataFrame with the columns ``before``, ``mean``, ``low`` and ``high``.

    Examples
    --------
    >>> blocks_kept(pd.DataFrame({"features.0": [3, 5]}), pd.Series({"features.0": 8})).T.to_dict()
    {'conv 0': {'before': 8.0, 'mean': 4.0, 'low': 3.0, 'high': 5.0}}
    """
    before = by_block(filters.to_frame().T).iloc[0]
    kept = before - by_block(removed[filters.index])
    spread = {"mean": kept.mean(), "low": kept.min(), "high": kept.max()}
    return pd.DataFrame({"before": before} | spread)


def blocks_cut(removed: pd.DataFrame, filters: pd.Series) -> pd.DataFrame:
    """The share of each block (column) that each ``variant`` (row) took, mean over seeds.

    Takes what :func:`blocks_kept` takes, of several variants.
    """
    taken = by_block(removed[filters.index]).groupby(removed["variant"], sort=False).mean()
    return taken / by_block(filters.to_frame().T).iloc[0]


def kept_and_removed(pattern: pd.DataFrame, filters: pd.Series, iteration: int) -> pd.DataFrame:
    """Filters ``kept`` and ``removed`` in each layer up to an iteration, by its number.

    Examples
    --------
    >>> pattern = pd.DataFrame({"conv1": [1, 2]}, index=[1, 2])
    >>> kept_and_removed(pattern, pd.Series({"conv1": 8, "conv2": 4}), 2).to_dict("list")
    {'kept': [5, 4], 'removed': [3, 0]}
    """
    removed = pattern.loc[:iteration].sum().reindex(filters.index, fill_value=0)
    return pd.DataFrame({"kept": filters - removed, "removed": removed})


def mean_curves(
    table: pd.DataFrame, x: str, y: str, at: str | None = None, by: str = "variant"
) -> dict[str, pd.DataFrame]:
    """Curves over seeds, in rising order of ``x``: one a variant.

    Parameters
    ----------
    at
        The column whose equal values are one point of a curve, such as ``ratio``;
        by default ``x`` itself. Where it is another, ``x`` is averaged too.

    Returns
    -------
    For each variant a table indexed by ``x``: ``mean``, ``low`` and ``high`` of ``y``.
    """
    at = at or x
    curves = {}
    for variant, rows in table.groupby(by, sort=False):
        curve = over_seeds(rows, y, by=[at])[["mean", "low", "high"]]
        curves[variant] = curve.set_axis(rows.groupby(at, sort=False)[x].mean()).sort_index()
    return curves


def with_macs_removed(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of pruning runs with ``macs_removed``, the share of the run's first row that is gone."""
    before = table.groupby(["variant", "seed"])["macs"].transform("first")
    return table.assign(macs_removed=1 - table["macs"] / before)


def rank_correlations(scores: pd.DataFrame, x: str, y: str) -> pd.Series:
    """Spearman's rank correlation of two criteria's scores in each layer.

    Examples
    --------
    >>> scores = pd.DataFrame({"layer": ["conv"] * 3, "a": [1, 2, 3], "b": [1, 4, 9]})
    >>> rank_correlations(scores, "a", "b").to_dict()
    {'conv': 1.0}
    """
    return pd.Series(
        {
            layer: part[x].corr(part[y], method="spearman")
            for layer, part in scores.groupby("layer", sort=False)
        }
    )


def lowest_sums(plane: pd.DataFrame, count: int) -> tuple[pd.Index, float]:
    """Which ``count`` rows have the lowest sums, the first of equals first, and their largest.

    Examples
    --------
    >>> chosen, cut = lowest_sums(pd.DataFrame({"x": [3, 1, 2], "y": [1, 1, 1]}), 2)
    >>> chosen.tolist(), int(cut)
    ([1, 2], 3)
    """
    lowest = plane.sum(axis=1).sort_values(kind="stable").iloc[:count]
    return lowest.index, lowest.max()


def standard_error(shares: pd.Series, examples: int) -> pd.Series:
    """Of a share that was counted on so many examples: that of a binomial."""
    return np.sqrt(shares * (1 - shares) / examples)


def spans(schedule: Criteria, end: float) -> list[tuple[str, float, float]]:
    """Which criterion, by its name, ranks from where to where, up to the share ``end``.

    Examples
    --------
    >>> spans([(0, "taylor"), (0.3, "similarity_pearson")], end=0.8)
    [('taylor', 0, 0.3), ('similarity_pearson', 0.3, 0.8)]
    >>> spans("taylor", end=0.8)
    [('taylor', 0, 0.8)]
    """
    parts = stages(schedule)
    ends = [*(start for start, _ in parts[1:]), end]
    return [(str(name), start, until) for (start, name), until in zip(parts, ends, strict=True)]


def receptive_widths(layers: Sequence[tuple[str, int, int]]) -> list[int]:
    """How many cells of each map, the image first, can reach one cell of the last.

    ``layers`` are triples (name, kernel size, stride), from the image upwards.

    Examples
    --------
    >>> receptive_widths([("conv", 3, 2), ("pool", 3, 2)])
    [7, 3, 1]
    """
    widths = [1]
    for _, kernel, stride in reversed(layers):
        widths.append((widths[-1] - 1) * stride + kernel)
    return widths[::-1]


def stored(x: np.ndarray, scale: float, zero_point: int, bits: int) -> np.ndarray:
    """What is left of real numbers once they are kept as unsigned integers of so many bits.

    Examples
    --------
    >>> stored(np.array([-9.0, 0.26, 0.3, 9.0]), scale=0.5, zero_point=1, bits=2).tolist()
    [-0.5, 0.5, 0.5, 1.0]
    """
    levels = np.clip(np.round(x / scale) + zero_point, 0, 2**bits - 1)
    return (levels - zero_point) * scale


class Slices(NamedTuple):
    """What one dependency group takes of a network.

    Attributes
    ----------
    cells : for each module, a boolean array (filters, input channels) a tensor: what goes.
        A tensor of one dimension has one column.
    taken, total : how many numbers go, of how many that carry channels.
    """

    cells: dict[str, list[np.ndarray]]
    taken: int
    total: int


def group_slices(model: nn.Module, example_inputs: Tensor, group: int) -> Slices:
    """The slices of every tensor that one dependency group takes.

    Raises
    ------
    ValueError
        The model has no such group.
    """
    graph = trace(model, example_inputs)
    refuse_unknown_group(
        group, {g for dims in graph.slices.values() for d in dims.values() for g in d}
    )
    tensors = model.state_dict()
    cells: dict[str, list[np.ndarray]] = {}
    taken = total = 0
    for name, dims in graph.slices.items():
        shape = tensors[name].shape
        hit = np.zeros(shape[:2] if len(shape) > 1 else (shape[0], 1), dtype=bool)
        for dim, groups in dims.items():
            hit |= np.expand_dims(groups == group, 1 - dim) if dim < 2 else False
        cells.setdefault(name.rpartition(".")[0], []).append(hit)
        taken += int(hit.sum()) * tensors[name].numel() // hit.size
        total += tensors[name].numel()
    return Slices(cells, taken, total)


def refuse_unknown_group(group: int | None, known: set[int]) -> None:
    """A ValueError unless the group is one of those known, or None."""
    if group is not None and group not in known:
        raise ValueError(f"there is no dependency group {group}, only 0 to {max(known)}")
