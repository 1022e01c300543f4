"""Every channel of small networks, and all that goes with the one the reader points at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.colors import to_hex
from torch import Tensor, nn

from prunekit.book.moving.page import MovingFigure
from prunekit.book.plots.labels import group_colour
from prunekit.book.plots.style import ink_on
from prunekit.channels import ChannelGraph, trace
from prunekit.channels.units import is_depthwise

#: As in the equations of the book.
SYMBOLS = {"weight": "γ", "bias": "β", "running_mean": "μ", "running_var": "σ²"}


def moving_groups(networks: Mapping[str, nn.Module], example_inputs: Tensor) -> MovingFigure:
    """A slider over dependency groups, and numbered channels to point at.

    Shown is every tensor that carries channels, a row a filter and a column an
    input channel, and which of its numbers go with a group.

    Parameters
    ----------
    networks
        Networks of a few channels, by what the reader shall call them.
    example_inputs
        Of shape (1, channels, height, width), for all of them.

    Raises
    ------
    ValueError
        None is given, or no channel of one may go.
    """
    if not networks:
        raise ValueError("networks is empty: there is nothing to show")
    shown = []
    for label, model in networks.items():
        graph = trace(model, example_inputs)
        if graph.count < 2:
            raise ValueError(f"no channel of {label} may go: there is nothing to point at")
        colours = [to_hex(group_colour(group)) for group in range(graph.count)]
        shown.append(
            {
                "label": label,
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "colours": [{"fill": colour, "ink": ink_on(colour)} for colour in colours],
                "modules": _modules(graph, model),
            }
        )
    still = "The figures above show one group of the network with a sum."
    return MovingFigure("groups", {"networks": shown}, still)


def _modules(graph: ChannelGraph, model: nn.Module) -> list[dict[str, Any]]:
    """What carries channels, in the order of execution, with its tensors as rows and columns."""
    tensors, learnt = model.state_dict(), dict(model.named_parameters())
    found: dict[str, dict[str, Any]] = {}
    for path, dims in graph.slices.items():
        owner, _, name = path.rpartition(".")
        known = owner in graph.layers or owner in graph.norms
        module = found.setdefault(
            owner if known else path,
            {
                "name": owner if known else path,
                "kind": _kind(graph, owner) if known else "constant",
                "part": "filter" if owner in graph.layers else "channel",
                "tensors": [],
            },
        )
        tensor, groups = tensors[path], {dim: of.tolist() for dim, of in dims.items()}
        rows, columns = tensor.shape[:2] if tensor.dim() > 1 else (len(tensor), 1)
        symbol = SYMBOLS.get(name, "") if owner in graph.norms else "b" if name == "bias" else ""
        module["tensors"].append(
            {
                "name": path,
                "symbol": symbol,
                "rows": groups.get(0, [None] * rows),
                "columns": groups.get(1, [None] * columns),
                "each": tensor.numel() // (rows * columns),
                "learnt": path in learnt,
            }
        )
    return list(found.values())


def _kind(graph: ChannelGraph, name: str) -> str:
    module = graph.skeleton.get_submodule(name)
    if isinstance(module, nn.Linear):
        return "linear"
    size = getattr(module, "kernel_size", None)
    if size is None:
        return "batch norm" if isinstance(module, nn.BatchNorm2d) else type(module).__name__
    return "×".join(map(str, size)) + (", depthwise" if is_depthwise(graph, name) else "")
