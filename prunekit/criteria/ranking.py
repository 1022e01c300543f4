"""One pass over the data for all criteria, then one ranking for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from functools import partial
from itertools import chain, islice
from typing import get_args

import numpy as np
import pandas as pd
from torch import Tensor, nn

from prunekit.channels import ChannelGraph, trace
from prunekit.checks import checked, choice, function, module, optional, shown, whole
from prunekit.checks.batches import Batches, no_batch, one_pass, pairs
from prunekit.checks.settings import normalizer
from prunekit.criteria.activation import ActivationL2
from prunekit.criteria.apoz import APoZ
from prunekit.criteria.base import Criterion, Needs, Normalizer, normalise
from prunekit.criteria.bn_scale import BNScale
from prunekit.criteria.combined import Combined, CombinedRanks
from prunekit.criteria.fpgm import FPGM
from prunekit.criteria.hrank import HRank
from prunekit.criteria.observe import Loss, observe
from prunekit.criteria.random import Random
from prunekit.criteria.similarity import FilterSimilarity, MapSimilarity
from prunekit.criteria.taylor import Taylor, TaylorSigned
from prunekit.criteria.weight import WeightNorm
from prunekit.execution import device_of
from prunekit.losses import summed_cross_entropy
from prunekit.progress import bar

AnyCriterion = str | Criterion | Combined | CombinedRanks

#: The criteria known by name. Add one's own: ``CRITERIA["mine"] = Mine()``.
CRITERIA: dict[str, Criterion | Combined | CombinedRanks] = {
    "activation_l2": ActivationL2(),
    "taylor": Taylor(),
    "taylor_signed": TaylorSigned(),
    "combined": Combined(),
    "combined_ranks": CombinedRanks(),
    "weight_l1": WeightNorm(1),
    "weight_l2": WeightNorm(2),
    "random": Random(),
    "bn_scale": BNScale(),
    "fpgm": FPGM(),
    "apoz": APoZ(),
    "hrank": HRank(),
    "similarity_cosine": MapSimilarity(),
    "similarity_pearson": MapSimilarity(centred=True),
    "similarity_filters": FilterSimilarity(),
}


def _criteria(name: str, value: object) -> list[AnyCriterion]:
    if isinstance(value, (str, type)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of criteria, not {shown(value)}")
    return list(value)


RANKING = {
    "model": module,
    "loader": one_pass,
    "criteria": _criteria,
    "batches": optional(partial(whole, least=1)),
    "loss": function,
    "normalize": normalizer,
}


@checked(**RANKING)
def rank(
    model: nn.Module,
    loader: Batches,
    criterion: AnyCriterion = "combined",
    *,
    batches: int | None = None,
    loss: Loss = summed_cross_entropy,
    normalize: Normalizer = "l2",
    graph: ChannelGraph | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Score every filter that may be removed.

    Parameters
    ----------
    model
        Seen in evaluation mode, and left as it is: modes, gradients and flags.
    loader
        Batches ``(x, y)`` of images and labels.
    criterion
        A name in :data:`CRITERIA`, or an object such as ``WeightNorm(1)`` or
        one of a class of one's own (see :class:`Criterion`).
    batches
        How many batches to look at; all of them by default.
    loss
        Called as ``loss(output, y)`` where gradients are needed. It must be a
        sum over examples, or give one value each: then the gradient that
        reaches an example's maps is that of its own loss. On the first batch
        it is called twice more, with a few of the examples and with these
        twice over, to see that it is. The default is the cross-entropy of
        outputs of shape (examples, classes, ...).
    normalize
        What a layer's scores are divided by: ``"l2"``, their L2 norm,
        ``"mean"``, their mean, or False (see
        :func:`prunekit.criteria.normalise`). Combinations need one of them.
    graph
        What :func:`prunekit.trace` gave for this model, if it is at hand.
    progress
        Whether to show a bar over the batches, where there is a terminal or a
        notebook.

    Returns
    -------
    DataFrame with the columns ``layer`` (in order of execution), ``filter``,
    ``score`` and ``group``. Coupled filters share a group, and as their score
    the mean of theirs. Filters that must stay have no row.

    Raises
    ------
    ValueError
        The loader is empty, the criterion is not known, no filter may be
        removed, a layer's scores are NaN or infinite, or the loss is a mean
        over examples or does not suit the labels.
    TypeError
        An argument, a batch or a score is of the wrong type.
    TraceError
        The model cannot be traced.

    Examples
    --------
    >>> import torch
    >>> from prunekit.models import TinySqueezeNet
    >>> batch = torch.randn(8, 3, 32, 32), torch.arange(8)
    >>> ranking = rank(TinySqueezeNet(), [batch], "taylor")
    >>> ranking.columns.tolist(), len(ranking)
    (['layer', 'filter', 'score', 'group'], 184)
    """
    options = {"batches": batches, "loss": loss, "normalize": normalize}
    rankings = rank_all(model, loader, [criterion], graph=graph, progress=progress, **options)
    return next(iter(rankings.values()))


@checked(**RANKING)
def rank_all(
    model: nn.Module,
    loader: Batches,
    criteria: Sequence[AnyCriterion],
    *,
    batches: int | None = None,
    loss: Loss = summed_cross_entropy,
    normalize: Normalizer = "l2",
    graph: ChannelGraph | None = None,
    progress: bool = True,
) -> dict[str, pd.DataFrame]:
    """As :func:`rank` for several criteria, in one pass over the data.

    Returns
    -------
    A ranking for each criterion, under its name, or under the name of its
    class where it was given as an object.
    """
    chosen = {_name(criterion): lookup(criterion) for criterion in criteria}
    if len(chosen) < len(criteria) or not chosen:
        raise ValueError(f"name one or more criteria, each once: not {list(map(_name, criteria))}")
    combined = [name for name, criterion in chosen.items() if hasattr(criterion, "parts")]
    if combined and not normalize:
        raise ValueError(
            f'{combined[0]} adds scores of different units: normalize by "l2" or "mean"'
        )
    parts = {part: None for criterion in chosen.values() for part in _parts(criterion)}
    remaining = pairs(loader, labels=any(part.needs == "gradients" for part in parts))
    first = next(remaining, None)
    if first is None:
        raise no_batch("the loader", "rank on")
    # Two examples tell the batch dimension from others of size one.
    if graph is None:
        graph = trace(model, first[0][:2].to(device_of(model)))
    graph.refuse_another(model)
    layers = ranked_layers(graph)
    if not layers:
        raise ValueError(f"no filter of {type(model).__name__} may be removed")
    seen = islice(chain([first], remaining), batches)
    total = min(len(loader), batches or len(loader)) if isinstance(loader, Sized) else batches
    shown = bar(
        seen, total=total, show=progress, desc="ranking", unit="batch", delay=1, leave=False
    )
    scores = observe(model, graph, layers, list(parts), shown, loss)
    single = {part: _table(graph, layers, part, scores[part], normalize) for part in parts}
    return {
        name: _combine(criterion, [single[part] for part in _parts(criterion)])
        for name, criterion in chosen.items()
    }


def ranked_layers(graph: ChannelGraph) -> list[str]:
    """The layers a ranking holds, in order of execution: those with filters that may go.

    Layers that run in training only, such as auxiliary classifiers, have no
    maps to judge and are not among them.
    """
    seen = set(graph.maps.values())
    return [name for name in graph.prunable if name in seen]


def _name(criterion: AnyCriterion) -> str:
    return criterion if isinstance(criterion, str) else type(criterion).__name__


def lookup(criterion: AnyCriterion) -> Criterion | Combined | CombinedRanks:
    """A criterion by its name; an object is given back. A name not known is a ValueError."""
    if isinstance(criterion, str):
        if criterion not in CRITERIA:
            known = ", ".join(CRITERIA)
            raise ValueError(f"no criterion is named {criterion!r}; there are {known}")
        criterion = CRITERIA[criterion]
    parts = list(_parts(criterion)) if not isinstance(criterion, type) else [criterion]
    if not parts:
        raise ValueError(f"{_name(criterion)} needs at least one criterion as its parts")
    for part in parts:
        _refuse_no_criterion(part)
    return criterion


def _refuse_no_criterion(part: object) -> None:
    if isinstance(part, type):
        raise TypeError(f"a criterion is an object: pass {part.__name__}(), not the class")
    if not isinstance(part, Criterion) or type(part).__call__ is Criterion.__call__:
        raise TypeError(
            "a criterion, and each part of a combined one, is an object of a subclass of "
            f"Criterion with a __call__ of its own, not {shown(part)}"
        )
    name = type(part).__name__
    choice(f"{name}.needs", part.needs, get_args(Needs))
    if not isinstance(part.pool, str) or not hasattr(pd.api.typing.SeriesGroupBy, part.pool):
        raise ValueError(f"{name}.pool must be an aggregation of pandas, not {part.pool!r}")
    if type(part).__hash__ is None:
        raise TypeError(f"{name} cannot be hashed: make the dataclass frozen")


def _parts(criterion: Criterion | Combined | CombinedRanks) -> Iterable[Criterion]:
    return getattr(criterion, "parts", (criterion,))


def _table(
    graph: ChannelGraph,
    layers: list[str],
    criterion: Criterion,
    scores: dict[str, Tensor],
    normalize: Normalizer,
) -> pd.DataFrame:
    """The ranking by one criterion that is not a combination."""
    columns: dict[str, list[np.ndarray]] = {"layer": [], "filter": [], "score": [], "group": []}
    for name in layers:
        layer = scores[name]
        if not layer.isfinite().all():
            raise ValueError(f"{name}: its scores by {_name(criterion)} are NaN or infinite")
        layer = normalise(layer, normalize) if criterion.normalized else layer
        groups = graph.layers[name].groups
        filters = np.flatnonzero(groups)
        columns["layer"].append(np.full(len(filters), name, dtype=object))
        columns["filter"].append(filters)
        columns["score"].append(layer.numpy()[filters])
        columns["group"].append(groups[filters])
    table = pd.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()})
    table["score"] = table.groupby("group")["score"].transform(criterion.pool)
    return table


def _combine(
    criterion: Criterion | Combined | CombinedRanks, tables: list[pd.DataFrame]
) -> pd.DataFrame:
    if not hasattr(criterion, "parts"):
        return tables[0]
    return tables[0].assign(score=criterion.combine([table["score"] for table in tables]))
