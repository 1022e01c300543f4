"""The scale a batch norm gives to a filter's map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from prunekit.channels import ChannelGraph
from prunekit.channels.capture import attribute
from prunekit.channels.kinds import BATCH_NORM, kind_of
from prunekit.criteria.base import Criterion, Observation
from prunekit.criteria.registry import register


@register("bn_scale", label="scale of batch norm", source="Liu et al. 2017, section 3")
@dataclass(frozen=True)
class BNScale(Criterion):
    """Absolute scale γ of the batch norm behind a filter (Liu et al. 2017, "network slimming").

    Where a channel passes several batch norms, as on a residual sum, the
    mean of theirs. Scores are compared over layers as they are, as the
    paper does: a batch norm has already brought the maps to one size.

    Raises
    ------
    ValueError
        A filter's map passes no batch norm with a scale. The message names
        the layer.

    Examples
    --------
    >>> import torch
    >>> BNScale()(Observation("conv", nn.Conv2d(1, 2, 1), scale=torch.tensor([0.5, 0.1])))
    tensor([0.5000, 0.1000])
    """

    needs: ClassVar = "batch_norms"
    normalized: ClassVar = False

    def __call__(self, observation: Observation) -> Tensor:
        scale = observation.scale
        if scale is None or scale.isnan().any():
            raise ValueError(
                f"{observation.layer}: no batch norm with a scale follows it, and bn_scale reads "
                "nothing else: rank this network by another criterion, such as weight_l2"
            )
        return scale


def batch_norm_scales(model: nn.Module, graph: ChannelGraph) -> np.ndarray:
    """Mean absolute scale of the batch norms that carry each group's channels; NaN without any."""
    total, count = np.zeros(graph.count), np.zeros(graph.count)
    for name, dims in graph.slices.items():
        owner, _, leaf = name.rpartition(".")
        if leaf == "weight" and kind_of(model.get_submodule(owner)) is BATCH_NORM:
            scales = attribute(model, name).detach().abs().double().cpu()
            np.add.at(total, dims[0], scales.numpy())
            np.add.at(count, dims[0], 1)
    return np.divide(total, count, out=np.full(graph.count, np.nan), where=count > 0)
