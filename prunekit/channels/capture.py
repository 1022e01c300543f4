"""The network as a torch.fx graph, captured without touching the network."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import fx, nn


class TraceError(ValueError):
    """The network cannot be traced; the message names the module and what to do."""


def meta_copy(model: nn.Module) -> nn.Module:
    """A copy with the same structure whose tensors have shapes but no data, and no hooks."""
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    with without_hooks(model):
        return copy.deepcopy(model, memo)


@contextmanager
def without_hooks(model: nn.Module) -> Iterator[None]:
    """Take the forward and backward hooks of every module off for the time being."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    kept = [(module, name, getattr(module, name)) for module in model.modules() for name in names]
    try:
        for module, name, hooks in kept:
            setattr(module, name, type(hooks)())
        yield
    finally:
        for module, name, hooks in kept:
            setattr(module, name, hooks)


def capture(model: nn.Module) -> fx.Graph:
    """The operations of ``model.forward`` in its present mode (training or evaluation).

    Raises
    ------
    TraceError
        The forward pass branches on data, or does what torch.fx cannot
        follow. The message names the module and the line.
    """
    tracer = _NamingTracer()
    try:
        return tracer.trace(model)
    except Exception as error:
        place = tracer.innermost or type(model).__name__
        frame = traceback.extract_tb(error.__traceback__)
        lines = [entry for entry in frame if "torch/fx" not in entry.filename.replace("\\", "/")]
        line = f" at {lines[-1].filename}:{lines[-1].lineno}" if lines else ""
        raise TraceError(
            f"{place} cannot be traced{line}: {error}. A forward pass that branches on the "
            "values of tensors has no fixed graph: move that part out of the model, or wrap it "
            "with torch.fx.wrap"
        ) from error


class _NamingTracer(fx.Tracer):
    """Remembers in which module a trace failed."""

    innermost = ""

    def call_module(self, m, forward, args, kwargs):
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.innermost = self.innermost or f"module {self.path_of_module(m)!r}"
            raise


def bind(graph: fx.Graph, model: nn.Module, traced: nn.Module) -> fx.GraphModule:
    """A graph traced on a copy, as a module that shares the modules and tensors of ``model``."""
    root: dict[str, object] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            root[node.target] = model.get_submodule(node.target)
        elif node.op == "get_attr":
            owner = model if _has_attribute(model, node.target) else traced
            root[node.target] = attribute(owner, node.target)
    module = fx.GraphModule(root, graph, class_name=type(model).__name__)
    module.training = model.training
    return module


def attribute(module: nn.Module, path: str) -> torch.Tensor:
    """The tensor at a dotted path."""
    value: object = module
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _has_attribute(module: nn.Module, path: str) -> bool:
    try:
        attribute(module, path)
    except AttributeError:
        return False
    return True
