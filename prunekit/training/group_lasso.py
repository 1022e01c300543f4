"""A penalty under which whole dependency groups fade while a network trains."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from prunekit.channels import ChannelGraph, channel_graph
from prunekit.checks import checked, number


class GroupLasso:
    """The sum over dependency groups of the L2 norm of all that goes with a group.

    These are its filters and their biases, scales and shifts of norms, and
    the slices of weights that read its channels, in all layers that are coupled
    (Fang et al. 2023, who take the squared norm, and weigh weak groups more).
    The norm itself pulls each group towards zero equally hard, however small
    it is (group lasso, Yuan and Lin 2006): weak ones come near it, and can then
    be removed at little cost. The groups of a wide layer own more and have
    larger norms; they are not weighed by their size.

    Parameters
    ----------
    graph
        What :func:`prunekit.trace` gave for the network that is to be trained.
    strength
        What the sum is multiplied by.

    Raises
    ------
    TypeError, ValueError
        ``graph`` is no graph, or ``strength`` is not above 0.

    Examples
    --------
    As ``penalty`` of :func:`prunekit.training.fit`, or as a term in a loop of one's own. After
    training, its norms can stand in place of scores:

    >>> from prunekit import rank, select, trace
    >>> from prunekit.models import TinySqueezeNet
    >>> model, x = TinySqueezeNet(), torch.zeros(2, 3, 32, 32)
    >>> lasso = GroupLasso(trace(model, x), strength=1e-3)
    >>> loss = model(x).square().mean() + lasso(model)
    >>> loss.backward()
    >>> ranking = rank(model, [(x, None)], "weight_l2")
    >>> norms = lasso.norms(model).detach().numpy()
    >>> weakest = select(ranking.assign(score=norms[ranking["group"]]), 20)
    """

    @checked(graph=channel_graph, strength=partial(number, above=0, below=math.inf))
    def __init__(self, graph: ChannelGraph, strength: float) -> None:
        self.strength = strength
        self.count = graph.count
        # Under one name each: tied weights would count twice.
        owned = dict(graph.skeleton.named_parameters())
        self.slices = {name: dims for name, dims in graph.slices.items() if name in owned}

    def __call__(self, model: nn.Module, done: float = 1.0) -> Tensor:
        """The penalty, growing with training (Wang et al. 2021 let theirs grow step by step).

        Parameters
        ----------
        model
            As it was when ``graph`` was made, but for its weights.
        done
            The share of the training that lies behind, between 0 and 1, by
            which the strength is multiplied.

        Raises
        ------
        ValueError
            The graph is of another network.
        """
        return self.strength * done * self.norms(model)[1:].sum()

    def norms(self, model: nn.Module) -> Tensor:
        """The norm of each group, of shape (groups,); group 0 is what must stay."""
        parameters = dict(model.named_parameters())
        squares, groups = [], []
        for name, dims in self.slices.items():
            shape = parameters[name].shape if name in parameters else ()
            if any(len(shape) <= dim or shape[dim] != len(of) for dim, of in dims.items()):
                raise ValueError(
                    f"the graph of the group lasso is of another network, or from before filters "
                    f"were removed ({name} differs): trace the model again"
                )
            square = parameters[name].square().unsqueeze(-1)
            before: list[Tensor] = []
            for dim, of in dims.items():
                along = [-1 if d == dim else 1 for d in range(square.dim())]
                own = torch.tensor(of, device=square.device).view(along)
                # What a group owns from two sides is there once.
                once = square
                for others in before:
                    once = once * (own != others)
                squares.append(once.sum([d for d in range(square.dim()) if d != dim]))
                groups.append(of)
                before.append(own)
        values = torch.cat(squares)
        index = torch.from_numpy(np.concatenate(groups)).to(values.device)
        # The root has no slope at zero: a group that is gone stays where it is.
        least = torch.finfo(values.dtype).tiny
        return values.new_zeros(self.count).index_add(0, index, values).clamp_min(least).sqrt()
