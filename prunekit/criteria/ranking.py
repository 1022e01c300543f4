"""One pass over the data for all criteria, then one ranking for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from operator import length_hint
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from prunekit.channels import ChannelGraph, channel_graph, trace
from prunekit.checks import Check, checked, flag, function, module, optional, shown, whole
from prunekit.checks.batches import Batches, Loss, no_batch, one_pass, taught
from prunekit.checks.settings import Normalizer, normalizer
from prunekit.checks.structures import arguments, examples_of, first_examples, moved
from prunekit.criteria.base import FROM_LOSS, Criterion, normalise
from prunekit.criteria.observe import scores_by_layer
from prunekit.criteria.registry import lookup
from prunekit.execution import device_of
from prunekit.losses import summed_cross_entropy
from prunekit.progress import bar

AnyCriterion = str | Criterion
COLUMNS = ["layer", "filter", "score", "group", "width"]


def _criteria(name: str, value: object) -> list[AnyCriterion]:
    if isinstance(value, (str, type)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of criteria, not {shown(value)}")
    return list(value)


RANKING: dict[str, Check] = {
    "model": module,
    "loader": one_pass,
    "criteria": _criteria,
    "batches": optional(partial(whole, least=1)),
    "loss": function,
    "normalize": normalizer,
    "graph": optional(channel_graph),
    "progress": flag,
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
        Batches ``(x, y)`` of images and labels. ``x`` may also be a tuple or
        a dictionary of the arguments of ``forward``. Where ``loss`` is given,
        ``y`` is of any structure that this understands.
    criterion
        A name in :data:`CRITERIA`, or an object such as ``WeightNorm(1)`` or
        one of a class of one's own (see :class:`prunekit.criteria.Criterion`).
    batches
        How many batches to look at; all of them by default. Of a loader that
        does not shuffle, the first few may show a single class.
    loss
        Called as ``loss(output, y)`` where gradients are needed. It must be a
        sum over examples, or give one value each: then the gradient that
        reaches an example's maps is that of its own loss. On the first batch
        it is called twice more, with a few of the examples and with these
        twice over, to see that it is. The default is the cross-entropy of
        outputs of shape (examples, classes, ...).
    normalize
        What a layer's scores are divided by: ``"l2"``, their L2 norm,
        ``"mean"``, their mean absolute score, or False (see
        :func:`prunekit.criteria.normalise`). Combinations need one of them.
        Scores that are compared over layers as they are
        (:attr:`prunekit.criteria.Criterion.normalized` is False) stay so.
    graph
        What :func:`prunekit.trace` gave for this model, if it is at hand.
    progress
        Whether to show a bar over the batches, where there is a terminal or a
        notebook.

    Notes
    -----
    The operations that :func:`prunekit.trace` finds are run: a forward hook of a layer is
    called, and one of a module that is made of others is not.

    Activation maps are taken to have their examples along the first dimension.
    Where they have places of a sequence there, as torch's attention without
    ``batch_first``, scores are means over these, and depend on how many
    examples a batch has.

    Returns
    -------
    DataFrame with the columns ``layer`` (in order of execution), ``filter``,
    ``score``, ``group`` and ``width``, the number of the layer's filters. Coupled
    filters share a group, and as their score the mean of theirs, or what the
    criterion makes of them (:attr:`prunekit.criteria.Criterion.pool`: ``fisher``
    and ``taylor_weight`` add up). Filters that must stay have no row.

    Raises
    ------
    ValueError
        The loader is empty, the criterion is not known, no filter may be
        removed, the model does not run on a batch, a layer's scores are NaN
        or infinite, or the loss is a mean over examples or does not suit the
        labels.
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
    (['layer', 'filter', 'score', 'group', 'width'], 184)
    """
    ranked = partial(rank_all, model, loader, batches=batches, loss=loss, normalize=normalize)
    return next(iter(ranked([criterion], graph=graph, progress=progress).values()))


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

    Examples
    --------
    >>> import torch
    >>> from prunekit.models import TinySqueezeNet
    >>> batch = torch.randn(8, 3, 32, 32), torch.arange(8)
    >>> rankings = rank_all(TinySqueezeNet(), [batch], ["taylor", "weight_l1"])
    >>> {name: len(ranking) for name, ranking in rankings.items()}
    {'taylor': 184, 'weight_l1': 184}
    """
    chosen = {_name(criterion): lookup(criterion) for criterion in criteria}
    if len(chosen) < len(criteria) or not chosen:
        raise ValueError(f"name one or more criteria, each once: not {list(map(_name, criteria))}")
    leaves = {name: list(criterion.leaves()) for name, criterion in chosen.items()}
    for name, parts in leaves.items():
        if parts != [chosen[name]] and not normalize:
            raise ValueError(f'{name} adds scores of different units: normalize by "l2" or "mean"')
    looking = list(dict.fromkeys(chain.from_iterable(leaves.values())))
    by_loss = any(criterion.needs in FROM_LOSS for criterion in looking)
    labels = by_loss and loss is summed_cross_entropy
    graph, layers, seen = prepared(model, loader, labels, batches, graph, progress)
    scores = scores_by_layer(model, graph, layers, looking, seen, loss)
    table = _filters(graph, layers)
    columns = {
        criterion: _column(table, criterion, scores[criterion], normalize) for criterion in looking
    }
    return {
        name: table.assign(score=criterion.scores(columns))[COLUMNS]
        for name, criterion in chosen.items()
    }


def prepared(
    model: nn.Module,
    loader: Batches,
    labels: bool,
    batches: int | None = None,
    graph: ChannelGraph | None = None,
    progress: bool = True,
) -> tuple[ChannelGraph, list[str], Iterable[tuple[Any, Any]]]:
    """What a pass over the data takes: the graph, the layers to look at, and the batches."""
    remaining = ((x, y) for x, y, _ in taught(loader, labels=labels))
    first = next(remaining, None)
    if first is None:
        raise no_batch("the loader", "rank on")
    if graph is None:
        graph = trace(model, two_examples(model, first[0], "batch 0 of the loader"))
    graph.refuse_another(model)
    layers = ranked_layers(graph)
    if not layers:
        raise ValueError(f"no filter of {type(model).__name__} may be removed")
    seen = islice(chain([first], remaining), batches)
    known = length_hint(loader)  # len() fails for a DataLoader over data without a length
    total = min(known, batches or known) if known else batches
    shown = bar(
        seen, total=total, show=progress, desc="ranking", unit="batch", delay=1, leave=False
    )
    return graph, layers, shown


def two_examples(model: nn.Module, inputs: Any, where: str) -> tuple:
    """What a model is traced on: two examples tell the batch from other dimensions of size one."""
    given = first_examples(arguments(model, inputs, where), examples_of(inputs) or 0, 2)
    return moved(given, device_of(model))


def ranked_layers(graph: ChannelGraph) -> list[str]:
    """The layers a ranking holds, in order of execution: those with filters that may go.

    Layers that run in training only, such as auxiliary classifiers, have no
    maps to judge and are not among them.
    """
    seen = set(graph.maps.values())
    return [name for name in graph.prunable if name in seen]


def adding_up(ranking: pd.DataFrame, criterion: AnyCriterion) -> pd.DataFrame:
    """The ranking with scores of filters that add up, in a group, to what the group is worth.

    The mean of a group does so as it stands. By another
    :attr:`prunekit.criteria.Criterion.pool`, such as the sum, each row has the
    score of the whole group: then each filter gets an equal part of it.

    Examples
    --------
    >>> ranking = pd.DataFrame({"score": [6.0, 6.0, 6.0], "group": [1, 2, 2]})
    >>> adding_up(ranking, "fisher")["score"].tolist()
    [6.0, 3.0, 3.0]
    >>> adding_up(ranking, "taylor")["score"].tolist()
    [6.0, 6.0, 6.0]
    """
    if lookup(criterion).pool == Criterion.pool:
        return ranking
    sizes = ranking.groupby("group")["score"].transform("size")
    return ranking.assign(score=ranking["score"] / sizes)


def _name(criterion: AnyCriterion) -> str:
    return criterion if isinstance(criterion, str) else type(criterion).__name__


def _filters(graph: ChannelGraph, layers: Sequence[str]) -> pd.DataFrame:
    """The filters that may be removed, and what they are coupled with."""
    tables = []
    for name in layers:
        groups = graph.layers[name].groups
        filters = np.flatnonzero(groups)
        columns = {"layer": name, "filter": filters, "group": groups[filters], "width": len(groups)}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _column(
    table: pd.DataFrame,
    criterion: Criterion,
    scores: Mapping[str, Tensor],
    normalize: Normalizer,
) -> pd.Series:
    """The scores of these filters by one criterion that looks at the network itself."""
    parts = []
    for name, filters in table.groupby("layer", sort=False)["filter"]:
        layer = scores[str(name)]
        if not layer.isfinite().all():
            raise ValueError(f"{name}: its scores by {_name(criterion)} are NaN or infinite")
        layer = normalise(layer, normalize) if criterion.normalized else layer
        parts.append(layer.numpy()[filters])
    return pd.Series(np.concatenate(parts)).groupby(table["group"]).transform(criterion.pool)
