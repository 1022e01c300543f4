"""How strong a filter's maps are before anything is made of them."""

from __future__ import annotations

from dataclasses import dataclass

from prunekit.criteria.activation import ActivationL2
from prunekit.criteria.registry import register


@register("output_l2", label="L2 before ReLU", source="Gaikwad 2018, eq. 7.1 as printed")
@dataclass(frozen=True)
class OutputL2(ActivationL2):
    """L2 norm of what the layer itself gives, before batch norm and activation function.

    The thesis's equation 7.1 takes the map as convolution generates it. Large
    negative values count there, which a ReLU lets nobody see;
    :class:`ActivationL2` takes the map behind the ReLU.

    Examples
    --------
    >>> import torch
    >>> from prunekit import rank
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.ReLU())
    >>> model = model.append(torch.nn.Conv2d(2, 2, 1))
    >>> _ = model[0].weight.data.copy_(torch.tensor([2.0, -3.0]).view(2, 1, 1, 1))
    >>> _ = model[0].bias.data.zero_()
    >>> batches = [(torch.ones(1, 1, 1, 1), None)]
    >>> rank(model, batches, "output_l2", normalize=False)["score"].tolist()
    [2.0, 3.0]
    >>> rank(model, batches, "activation_l2", normalize=False)["score"].tolist()
    [2.0, 0.0]
    """

    needs = "outputs"
