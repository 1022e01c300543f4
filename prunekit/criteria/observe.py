"""The pass over the data: activation maps and their gradients, shown to each criterion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from prunekit.channels import ChannelGraph
from prunekit.channels.calls import in_place
from prunekit.channels.capture import attribute
from prunekit.channels.kinds import by_filter, kind_of
from prunekit.checks import run, shown
from prunekit.checks.batches import Batches, Loss, class_scores, refuse_mean, total
from prunekit.checks.structures import arguments, examples_of, moved
from prunekit.criteria.base import FROM_DATA, FROM_LOSS, Criterion, Needs, Observation
from prunekit.criteria.bn_scale import batch_norm_scales
from prunekit.execution import device_of, evaluation_mode, fastest_layout
from prunekit.losses import summed_cross_entropy

ALLOCATING_MODULES = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
)


#: What is called with each observation and its number of examples, by what this is to hold.
Viewers = Mapping[Needs, Callable[[Observation, int], None]]


def scores_by_layer(
    model: nn.Module,
    graph: ChannelGraph,
    layers: Sequence[str],
    criteria: Sequence[Criterion],
    batches: Batches,
    loss: Loss,
) -> dict[Criterion, dict[str, Tensor]]:
    """Scores by criterion and layer: float64 tensors of shape (filters,) on the CPU."""
    totals: dict[tuple[Criterion, str], Tensor] = {}

    def record(which: Sequence[Criterion], seen: Observation, weight: int) -> None:
        for criterion in which:
            # On its device: a GPU would have to be waited for at every layer of every batch.
            score = _real(criterion(seen), criterion, seen.layer).detach().double() * weight
            key = criterion, seen.layer
            if key in totals and totals[key].shape != score.shape:
                raise ValueError(
                    f"{type(criterion).__name__} gave scores of shape {tuple(score.shape)} for "
                    f"{seen.layer}, and {tuple(totals[key].shape)} in the batch before: they are "
                    "the mean over the examples of a batch"
                )
            totals[key] = totals[key] + score if key in totals else score

    by_need: dict[Needs, list[Criterion]] = {}
    for criterion in criteria:
        by_need.setdefault(criterion.needs, []).append(criterion)
    viewers: Viewers = {need: partial(record, which) for need, which in by_need.items()}
    examples = observe(model, graph, layers, viewers, batches, loss)

    def mean(criterion: Criterion, layer: str) -> Tensor:
        filters = graph.layers[layer].filters
        # A layer the loss does not depend on never sees a gradient: its scores are zero.
        total = totals.get((criterion, layer), torch.zeros(filters, dtype=torch.float64)).cpu()
        scores = criterion.finish(total / (examples if criterion.needs in FROM_DATA else 1))
        scores = _real(scores, criterion, layer)
        if scores.shape != (filters,):
            raise ValueError(
                f"{type(criterion).__name__} gave {tuple(scores.shape)} scores for the {filters} "
                f"filters of {layer}"
            )
        return scores

    return {criterion: {name: mean(criterion, name) for name in layers} for criterion in criteria}


def _real(scores: object, criterion: Criterion, layer: str) -> Tensor:
    if not isinstance(scores, Tensor) or scores.is_complex():
        raise TypeError(
            f"{type(criterion).__name__} must give a tensor of real numbers for {layer}, not "
            f"{shown(scores)}"
        )
    return scores


def observe(
    model: nn.Module,
    graph: ChannelGraph,
    layers: Sequence[str],
    viewers: Viewers,
    batches: Batches,
    loss: Loss = summed_cross_entropy,
) -> int:
    """Show every layer to each viewer: once what needs no data, the rest once a batch and use.

    The data is read only as far as the viewers need it. Nothing is attached
    to the model, and its parameters keep their gradients and flags.

    Parameters
    ----------
    batches
        Pairs of inputs and targets, looked over already.

    Returns
    -------
    The number of examples that were seen; 0 if no viewer needs data.
    """
    modules = {name: model.get_submodule(name) for name in layers}
    if "weights" in viewers:
        for name, module in modules.items():
            viewers["weights"](Observation(name, module), 1)
    if "batch_norms" in viewers:
        scales = batch_norm_scales(model, graph)
        scales[0] = 0  # those that must stay are never asked for
        for name, module in modules.items():
            scale = torch.from_numpy(scales[graph.layers[name].groups])
            viewers["batch_norms"](Observation(name, module, scale=scale), 1)
    examples = 0
    if not viewers.keys() & FROM_DATA:
        return examples
    device, layout = device_of(model), None
    watched = _watched(graph, model, modules, viewers)
    weights = {}
    if "weight_gradients" in viewers:
        weights = {name: module.get_parameter("weight") for name, module in modules.items()}
    with evaluation_mode(model), _differentiable(weights.values()):
        for index, (x, y) in enumerate(batches):
            layout = layout or fastest_layout(model, x)
            where = f"batch {index} of the loader"
            given = moved(arguments(model, x, where), device, layout)
            see = partial(_see, watched, model, where)
            count = examples_of(given) or 0
            if viewers.keys() & FROM_LOSS:
                slopes = _differentiate(see, given, y, loss, weights, first=not examples)
                for name, slope in slopes.items():
                    seen = Observation(name, modules[name], weight_gradient=slope / count)
                    viewers["weight_gradients"](seen, count)
            else:
                with torch.inference_mode():
                    see(given)
            examples += count
    return examples


def _see(watched: fx.GraphModule, model: nn.Module, where: str, given: tuple) -> Any:
    """The outputs, with every map shown; an error names the batch if the model fails on it."""
    try:
        return watched(*given)
    except Exception:
        run(model, given, where)
        raise  # the model does run: a criterion has something to say


def _differentiate(
    see: Callable[[tuple], Any],
    given: tuple,
    y: Any,
    loss: Loss,
    weights: Mapping[str, nn.Parameter],
    first: bool,
) -> dict[str, Tensor]:
    """Run forward and backward; the gradient of each of these weights that the loss depends on."""
    with torch.enable_grad():
        given = tree_map_only(Tensor, _followed, given)
        inputs = [x for x in tree_leaves(given) if isinstance(x, Tensor) and x.requires_grad]
        if not inputs:
            raise ValueError(
                "ranking by a loss follows gradients from the inputs, which whole numbers, such as "
                "tokens, do not have: convert images to floating point, and rank networks on "
                "tokens by a criterion without a loss, such as activation_l2"
            )
        # A clone may be written to in place, which a tensor that requires a gradient may not.
        output = see(tree_map_only(Tensor, Tensor.clone, given))
        if loss is summed_cross_entropy:
            judge = "ranking by cross-entropy (pass loss= for another task)"
            class_scores(output, y, judge, first=first, positions=True)
        y = moved(y, inputs[0].device)
        value = total(loss, output, y)
        if first and loss is not summed_cross_entropy:
            refuse_mean(loss, output, y, examples=examples_of(given) or 0)
        # Asking for the gradients of inputs, and not for all, leaves other parameters be.
        asked = [*inputs, *weights.values()]
        slopes = torch.autograd.grad(value, asked, allow_unused=len(asked) > 1)[len(inputs) :]
        return {n: slope for n, slope in zip(weights, slopes, strict=True) if slope is not None}


def _followed(x: Tensor) -> Tensor:
    return x.detach().requires_grad_(x.is_floating_point())


@contextmanager
def _differentiable(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Tensors that a gradient can be asked of, frozen or not; afterwards as they were."""
    frozen = [tensor for tensor in tensors if not tensor.requires_grad]
    for tensor in frozen:
        tensor.requires_grad_()
    try:
        yield
    finally:
        for tensor in frozen:
            tensor.requires_grad_(False)


class _Watch(nn.Module):
    """Shows the activation maps of one layer, and their gradient when it arrives."""

    def __init__(self, name: str, layer: nn.Module, keep: bool, viewers: Viewers) -> None:
        super().__init__()
        self.seen_from = name
        self.layer = (layer,)  # in a tuple, or torch would take it for a part of this module
        self.keep = keep
        self.viewers = viewers

    def forward(self, value: Tensor) -> None:
        (layer,), viewers, examples = self.layer, self.viewers, len(value)
        keep = self.keep and "gradients" in viewers
        activation = by_filter(layer, value.detach().clone() if keep else value.detach())
        extent = tuple(value.movedim(kind_of(layer).channels, 1).shape[2:])
        seen = Observation(self.seen_from, layer, activation, extent=extent)
        if "activations" in viewers:
            viewers["activations"](seen, examples)
        if "gradients" in viewers and value.requires_grad:

            def arrived(gradient: Tensor) -> None:
                viewers["gradients"](replace(seen, gradient=by_filter(layer, gradient)), examples)

            value.register_hook(arrived)


def _watched(
    graph: ChannelGraph, model: nn.Module, modules: Mapping[str, nn.Module], viewers: Viewers
) -> fx.GraphModule:
    """The model's forward pass with a watch behind every map that a viewer asks for."""
    traced = graph.bound_to(model)  # it may be a copy of the one that was traced
    watched, made = fx.Graph(), dict[fx.Node, fx.Node]()
    result = watched.graph_copy(traced.graph, made)
    watched.output(result)
    parts: dict[str, Any] = {}

    def watch(node: fx.Node, name: str, viewers: Viewers) -> None:
        # A copy only where a later layer writes over the map before its gradient arrives. One that
        # nobody reads by this name was written in place, and others go on with its memory.
        keep = _may_be_overwritten(node, traced) or not node.users
        target = f"_watch_{len(parts)}"
        parts[target] = _Watch(name, modules[name], keep, viewers)
        with watched.inserting_after(made[node]):
            watched.call_module(target, (made[node],))

    for node in traced.graph.nodes:
        if "outputs" in viewers and (name := graph.calls.get(node.name, "")) in modules:
            watch(node, name, {"activations": viewers["outputs"]})
        if (name := graph.maps.get(node.name, "")) in modules:
            watch(node, name, viewers)
    for node in watched.nodes:
        if node.op in ("call_module", "get_attr") and node.target not in parts:
            parts[node.target] = attribute(traced, node.target)
    return fx.GraphModule(parts, watched)


def _may_be_overwritten(node: fx.Node, module: fx.GraphModule) -> bool:
    """Whether an operation in place can reach the memory of a node's output."""
    for user in node.users:
        target = user.target
        layer = module.get_submodule(str(target)) if user.op == "call_module" else None
        if isinstance(layer, ALLOCATING_MODULES) or target is torch.cat:
            continue
        if in_place(user, layer) or _may_be_overwritten(user, module):
            return True
    return False
