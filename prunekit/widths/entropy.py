"""Layer entropy: how evenly the weights of a layer spread over their range."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from torch import Tensor, nn

from prunekit.channels import ChannelGraph, channel_graph
from prunekit.channels.capture import attribute
from prunekit.channels.units import Scope, units
from prunekit.checks import checked, module, shown, whole


@checked(bins=partial(whole, least=1))
def entropy(values: Tensor, bins: int = 10) -> float:
    """Entropy in nats of a histogram of ``values``, from 0 to ``ln(bins)``.

    Bins of equal width cut the range from the least value to the greatest,
    both included. So it depends on the range: one outlier widens all bins,
    moves most values into one of them, and lowers the entropy. Values that
    are all the same have entropy 0.

    Parameters
    ----------
    values
        Of any shape, such as all the weights of a layer.

    Raises
    ------
    ValueError
        There are no values, or some are NaN or infinite.

    Notes
    -----
    Filter grafting (Meng et al. 2020, section 3.3) measures a layer so, with
    ten bins; so does Wei's adaptive layer entropy (2022), of whose formulas
    no more than that is public.

    Examples
    --------
    >>> import torch
    >>> round(entropy(torch.arange(1000.0)), 4), round(np.log(10), 4)  # the same number in each bin
    (2.3026, np.float64(2.3026))
    >>> round(entropy(torch.cat([torch.arange(1000.0), torch.tensor([1e6])])), 4)
    0.0079
    >>> entropy(torch.ones(5))
    0.0
    """
    if not isinstance(values, Tensor):
        raise TypeError(f"values must be a tensor, not {shown(values)}")
    numbers = values.detach().flatten().double().cpu()
    if not len(numbers) or not numbers.isfinite().all():
        raise ValueError("an entropy needs values, all of them finite, and these are not")
    low, high = (bound.item() for bound in numbers.aminmax())
    if low == high:
        return 0.0
    if math.isinf(high - low):  # the range is too wide for a float, half of it is not
        numbers, low, high = numbers / 2, low / 2, high / 2
    if (np.diff(np.linspace(low, high, bins + 1)) <= 0).any():  # too narrow to be cut
        numbers, low, high = (numbers - low) / (high - low), 0.0, 1.0
    shares = np.histogram(numbers.numpy(), bins, (low, high))[0] / len(numbers)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


@checked(model=module, graph=channel_graph, bins=partial(whole, least=1))
def layer_entropies(
    model: nn.Module, graph: ChannelGraph, scope: Scope = "blocks", *, bins: int = 10
) -> pd.Series:
    """The entropy of each unit's weights (adaptive layer entropy, stage 1).

    That of all weights of the layer that makes the unit's channels: of an
    inverted residual its expanding convolution, as a depthwise one has but
    nine weights a filter. Where several layers make them, the mean of theirs.
    Which layer speaks for a unit is a reconstruction: the abstract of the
    method (Wei and Chen 2022) names layers only.

    Parameters
    ----------
    graph
        What :func:`prunekit.trace` gave for this model.
    scope
        As for :func:`units`.

    Returns
    -------
    Series of nats, by the names of units, in order of execution.

    Examples
    --------
    >>> import torch
    >>> from prunekit import trace
    >>> from prunekit.models import TinySqueezeNet
    >>> model = TinySqueezeNet()
    >>> found = layer_entropies(model, trace(model, torch.zeros(1, 3, 32, 32)))
    >>> len(found), bool(found.between(0, np.log(10)).all())
    (10, True)
    """
    graph.refuse_another(model)
    return by_maker(
        graph, scope, lambda name: entropy(attribute(model, f"{name}.weight"), bins), "entropy"
    )


def by_maker(
    graph: ChannelGraph, scope: Scope, measure: Callable[[str], float], name: str
) -> pd.Series:
    """For each unit, the mean over its makers of what ``measure`` says of a layer by name."""
    found = units(graph, scope)
    values = [float(np.mean([measure(maker) for maker in unit.makers])) for unit in found]
    index = pd.Index([unit.name for unit in found], name="unit", dtype=object)
    return pd.Series(values, index, dtype=float, name=name)
