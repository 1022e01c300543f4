"""One grafting: each network of a ring takes a part of every layer from the one before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Literal, get_args

import pandas as pd
import torch
from torch import Tensor, nn

from prunekit.channels.capture import attribute
from prunekit.channels.kinds import CONVOLUTION, LINEAR, TRANSPOSED, kind_of
from prunekit.checks import checked, choice, modules, number
from prunekit.checks.settings import Checks
from prunekit.training.optimisation import RUNNING
from prunekit.widths import entropy

Mode = Literal["conv_only", "follow", "separate", "joint"]
KINDS = (CONVOLUTION, TRANSPOSED, LINEAR)
BINS = 10
COLUMNS = ("network", "layer", "own", "own_norm")

_AMPLITUDE = partial(number, least=0, most=1)
_STEEPNESS = partial(number, least=0, below=math.inf)


@checked(amplitude=_AMPLITUDE, steepness=_STEEPNESS)
def coefficient(
    own: float, peer: float, *, amplitude: float = 0.4, steepness: float = 500.0
) -> float:
    """The share of its own weights that a layer keeps, by its own entropy and its peer's.

    ``(amplitude / π) arctan(steepness (own - peer)) + 1/2``, rounded to
    two decimals (Meng et al. 2020, equation 6, and the constants of their
    public code). With an amplitude of 0.4 it lies between 0.3 and 0.7; with
    0, both weigh the same whatever they know.

    Examples
    --------
    >>> coefficient(2.0, 2.0), coefficient(2.0, 1.0), coefficient(1.0, 2.0)
    (0.5, 0.7, 0.3)
    """
    return round(amplitude / math.pi * math.atan(steepness * (own - peer)) + 0.5, 2)


@dataclass(frozen=True)
class _Part:
    """A layer, and what is grafted with it: names in the state dictionary."""

    layer: str
    own: list[str]
    following: list[str] = field(default_factory=list)
    scales: list[Tensor] = field(default_factory=list)


def _parts(model: nn.Module) -> list[_Part]:
    stored, parts = model.state_dict(), []
    for name, module in model.named_modules():
        buffers = ((key, t) for key, t in module.named_buffers(recurse=False) if key in RUNNING)
        tensors = chain(module.named_parameters(recurse=False), buffers)
        keys = [f"{name}.{key}" if name else key for key, t in tensors if t.is_floating_point()]
        keys = [key for key in keys if key in stored]
        if kind_of(module) in KINDS:
            parts.append(_Part(name, keys))
        elif parts:
            parts[-1].following.extend(keys)
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
                parts[-1].scales.append(module.weight)
    return parts


def _entropies(model: nn.Module, mode: Mode) -> pd.DataFrame:
    """What each layer of a network knows, and its batch norm."""
    rows = {}
    for part in _parts(model):
        scales = torch.cat(part.scales).detach() if part.scales else torch.zeros(1)
        of_norm = entropy(scales, min(BINS, math.isqrt(len(scales))))
        of_layer = entropy(attribute(model.get_submodule(part.layer), "weight"), BINS)
        together = of_layer + of_norm if mode == "joint" else of_layer
        rows[part.layer] = {
            "own": together,
            "own_norm": of_norm if mode == "separate" else together,
        }
    if not rows:
        raise ValueError("the networks have no convolution or linear layer to graft")
    return pd.DataFrame.from_dict(rows, orient="index")


def ring(name: str, value: object) -> list[nn.Module]:
    """Networks of one form, each of which is there once."""
    networks = modules(name, value)
    if len(set(map(id, networks))) < len(networks):
        raise ValueError(f"{name} has the same network twice: give each a copy of its own")
    forms = [{key: t.shape for key, t in model.state_dict().items()} for model in networks]
    for place, form in enumerate(forms):
        if form != forms[0]:
            raise ValueError(f"{name}[{place}] has tensors of other names or shapes than {name}[0]")
    return networks


#: What a grafting takes.
GRAFTING: Checks = {
    "models": ring,
    "mode": partial(choice, among=get_args(Mode)),
    "amplitude": _AMPLITUDE,
    "steepness": _STEEPNESS,
}


@checked(**GRAFTING)
def coefficients(
    models: Sequence[nn.Module],
    mode: Mode = "joint",
    *,
    amplitude: float = 0.4,
    steepness: float = 500.0,
) -> pd.DataFrame:
    """What share of each layer a network keeps when it takes the rest from the one before it.

    Parameters
    ----------
    models
        Networks of one form, in a ring: the first takes from the last.
    mode
        What decides, H being entropies of a layer's weights W, in ten bins,
        and of the scales γ of the n channels of its batch norm, in
        ``min(10, √n)``:

        ============= ======================= ==============================
        mode          share of the layer      share of its batch norm
        ============= ======================= ==============================
        ``conv_only`` by H(W)                 stays as it is
        ``follow``    by H(W)                 the same
        ``separate``  by H(W)                 by H(γ)
        ``joint``     by H(W) + H(γ)          the same
        ============= ======================= ==============================

        ``follow`` is what the public code of filter grafting does. Joint
        grafting of convolution and batch norm is what the abstract of Wei and
        Chen (2022) names; ``joint`` and ``separate`` are reconstructions.

    Returns
    -------
    DataFrame with a row for each layer of each network: ``network`` (its
    place), ``layer``, ``own`` and ``own_norm`` (NaN: not grafted).

    Notes
    -----
    What stands between a layer and the next one in the order of
    ``model.modules()`` is taken for its batch norm, running mean and variance
    included; so does the public code. Linear layers are grafted as
    convolutions are. Buffers that are no such statistics, as masks and tables
    are, stay as they are.

    Examples
    --------
    >>> one, two = nn.Conv2d(1, 1, 2), nn.Conv2d(1, 1, 2)
    >>> _ = one.weight.data.copy_(torch.tensor([[0.0, 1], [2, 3]])), nn.init.ones_(two.weight)
    >>> coefficients([nn.Sequential(one), nn.Sequential(two)])["own"].tolist()
    [0.7, 0.3]
    """
    known = [_entropies(model, mode) for model in models]
    share = partial(coefficient, amplitude=amplitude, steepness=steepness)
    tables = []
    for place, (mine, peer) in enumerate(zip(known, known[-1:] + known[:-1], strict=True)):
        table = pd.DataFrame({name: list(map(share, mine[name], peer[name])) for name in mine})
        table.insert(0, "layer", mine.index)
        table.insert(0, "network", place)
        tables.append(table)
    found = pd.concat(tables, ignore_index=True)
    return found.assign(own_norm=math.nan) if mode == "conv_only" else found


def shares(name: str, value: object) -> pd.DataFrame:
    """A table as :func:`coefficients` gives it, with shares from 0 to 1."""
    if not isinstance(value, pd.DataFrame) or not set(COLUMNS) <= set(value):
        raise TypeError(f"{name} must be a DataFrame with the columns {', '.join(COLUMNS)}")
    norms = value["own_norm"].dropna()
    if not (value["own"].between(0, 1).all() and norms.between(0, 1).all()):
        raise ValueError(f"{name}: shares must lie between 0 and 1")
    return value


@checked(models=ring, coefficients=shares)
def graft(models: Sequence[nn.Module], coefficients: pd.DataFrame) -> None:
    """Mix each network of a ring with the one before it, in place.

    ``own W + (1 - own) W of the network before``, from the weights as they
    were before any was grafted. Momentum stays with its network.

    Parameters
    ----------
    coefficients
        As the function of that name gives them. Layers without a row, and
        batch norms whose share is NaN, stay as they are.

    Notes
    -----
    Two networks are one after it: what each keeps of a layer is what the
    other takes, since the coefficient is antisymmetric, and the mix is the
    same (up to its rounding, and but for batch norms that stay). A ring of two is so
    an average of two trainings, taken once an epoch; three or more stay apart.

    The mean of two variances is not the variance of the mixed network's maps,
    which are smaller ("variance collapse", Jordan et al. 2022): estimate
    running statistics again, with :func:`prunekit.repair` and its method
    ``"batch_norm"``, as :func:`fit_grafted` does.

    Examples
    --------
    >>> one, two = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(one.weight, 0), nn.init.constant_(two.weight, 1)
    >>> networks = nn.Sequential(one), nn.Sequential(two)
    >>> graft(networks, pd.DataFrame({"network": [0, 1], "layer": "0", "own": [0.75, 0.5],
    ...                               "own_norm": math.nan}))
    >>> one.weight.item(), two.weight.item()
    (0.25, 0.5)
    """
    before = [{k: t.clone() for k, t in model.state_dict().items()} for model in models]
    for place, model in enumerate(models):
        now, peer = model.state_dict(), before[place - 1]
        rows = coefficients[coefficients["network"] == place].set_index("layer")
        for part in _parts(model):
            if part.layer not in rows.index:
                continue
            own, own_norm = rows.loc[part.layer, ["own", "own_norm"]]
            shares = dict.fromkeys(part.own, own)
            if not math.isnan(own_norm):
                shares |= dict.fromkeys(part.following, own_norm)
            for name, share in shares.items():
                now[name].copy_(torch.lerp(peer[name], before[place][name], share))
