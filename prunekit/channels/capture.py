"""The network as a torch.fx graph, captured without touching the network."""

from __future__ import annotations

import copy
import traceback
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from prunekit.channels.kinds import KINDS
from prunekit.channels.labels import map_leaves, tensors_in
from prunekit.channels.refusals import Leaves, TraceError, is_leaf, refuse_unreadable
from prunekit.channels.shapes import RunsOnData
from prunekit.channels.tracer import MADE, OURS, Tracer, attribute, has_attribute
from prunekit.checks import shown

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_PLAINLY_COPIED = ("torch.nn.modules.", "torchvision.")
_WAYS_OF_ITS_OWN = ("__deepcopy__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__")
_CONTAINERS = {OrderedDict, dict, set}
_NOTES = {dict, list, set}
_PARTS = ("_parameters", "_buffers", "_modules")  # what a module holds
_VALUES = {type(None), bool, int, float, str}
#: Attributes of every module, and those that one made of a graph has beside them.
OF_MODULES = frozenset(dir(nn.Module()))
OF_GRAPHS = frozenset(dir(fx.GraphModule(nn.Module(), fx.Graph()))) - OF_MODULES


def meta_copy(model: nn.Module, leaves: Leaves = ()) -> nn.Module:
    """A copy with the same structure whose tensors have shapes but no data, and no hooks.

    Instances of ``leaves``, and of classes marked as such, are not looked into.
    """
    refuse_unreadable(model, leaves)
    memo: dict[int, object] = {}
    for module in model.modules():
        memo |= {id(getattr(module, name)): OrderedDict() for name in _HOOKS}
        if is_leaf(module, leaves):
            memo[id(module)] = RunsOnData(module)
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    return quick_deepcopy(model, memo)


def quick_deepcopy(model: nn.Module, memo: dict[int, object]) -> nn.Module:
    """What ``copy.deepcopy(model, memo)`` gives, in a fraction of its time.

    Every module has some thirty attributes, most of them numbers and empty
    dictionaries, and deepcopy looks at each with care. A module whose class
    has a way of its own to be copied is left to it; those of torch and
    torchvision only add what files of old versions lack.
    """
    for module in reversed(list(model.modules())):  # parts before what is made of them
        if id(module) in memo or not _is_copied_plainly(type(module)):
            continue
        memo[id(module)] = twin = type(module).__new__(type(module))
        for name, value in vars(module).items():
            if type(value) in _CONTAINERS and not value:
                value = type(value)()
            elif name in _PARTS and all(v is None or id(v) in memo for v in value.values()):
                value = type(value)((k, v if v is None else memo[id(v)]) for k, v in value.items())
            elif not _is_plain(value):
                value = copy.deepcopy(value, memo)
            vars(twin)[name] = value
    return copy.deepcopy(model, memo)


def _is_copied_plainly(kind: type[nn.Module]) -> bool:
    return kind.__module__.startswith(_PLAINLY_COPIED) or (
        all(getattr(kind, way, None) is getattr(nn.Module, way, None) for way in _WAYS_OF_ITS_OWN)
        and not any("__slots__" in vars(base) for base in kind.__mro__)
    )


def _is_plain(value: Any) -> bool:
    """Whether a value, such as a stride of (1, 1), never changes and so need not be copied."""
    kind = type(value)
    return kind in _VALUES or (kind is tuple and all(type(item) in _VALUES for item in value))


def capture(
    model: nn.Module, inputs: tuple | None = None, device: torch.device | None = None
) -> fx.Graph:
    """The operations of ``model.forward`` in its present mode (training or evaluation).

    Parameters
    ----------
    inputs
        Example inputs without data. With them sizes are known, and the forward pass may branch
        on them: the graph then raises an AssertionError where other inputs would branch otherwise.
        Each node holds in ``meta["value"]`` what it gave.
    device
        Where the code is to believe that its tensors are; the CPU by default.

    Raises
    ------
    TraceError
        The forward pass branches on data, or does what torch.fx cannot
        follow. The message names the module and the line.
    """
    tracer = Tracer(inputs, device or torch.device("cpu"))
    try:
        with _unchanged(model), torch.random.fork_rng(devices=()):  # what is drawn is given back
            graph = tracer.trace(model)
        for node in graph.nodes:
            # Code made of the graph would ask torch.fx to wrap this function by its dotted name,
            # and every later trace in the process would fail where it looks for that name.
            node.meta.pop("is_wrapped", None)
        return graph
    except TraceError:
        raise
    except Exception as error:
        place = tracer.innermost or type(model).__name__
        frame = traceback.extract_tb(error.__traceback__)
        lines = [entry for entry in frame if "torch/fx" not in entry.filename.replace("\\", "/")]
        lines = [entry for entry in lines if entry.filename not in OURS] or lines
        line = f" at {lines[-1].filename}:{lines[-1].lineno}" if lines else ""
        raise TraceError(
            f"{place} cannot be traced{line}: {error}. {_remedy(error, sized=inputs is not None)}"
        ) from error


def _remedy(error: Exception, sized: bool) -> str:
    """What to do where a trace ends; with ``sized``, example inputs have been passed."""
    remedy = (
        "move that part out of the model, or put it into a module of its own and register its "
        "class with prunekit.channels.leaf"
    )
    if isinstance(error, fx.proxy.TraceError):  # as where code asks a tensor whether it is true
        why = "A forward pass that branches on the values of tensors has no fixed graph"
        asks = "" if sized else ". Where it only asks sizes, pass example_inputs"
        return f"{why}: {remedy}{asks}"
    if sized:
        return remedy[0].upper() + remedy[1:]
    return f"Where it asks sizes, pass example_inputs, with which they are known; else {remedy}"


def has_shapes_of(model: nn.Module, skeleton: nn.Module, tensors: Iterable[str]) -> bool:
    """Whether a model has the parameters of a copy without data, and these tensors, as large."""
    leaves = [name for name, m in skeleton.named_modules() if isinstance(m, RunsOnData)]
    outside = {
        name: tensor.shape
        for name, tensor in model.named_parameters(remove_duplicate=False)
        if not any(name.startswith(f"{leaf}.") for leaf in leaves)  # the copy does not show those
    }
    expected = skeleton.named_parameters(remove_duplicate=False)
    return outside == {name: tensor.shape for name, tensor in expected} and all(
        has_attribute(model, name)
        and attribute(model, name).shape == attribute(skeleton, name).shape
        for name in tensors
    )


def without_data(example_inputs: Any) -> tuple:
    """The positional arguments of a forward pass, their tensors without data.

    Raises
    ------
    TypeError
        There is no tensor among them, or an array of NumPy, which layers do not take.
    """

    def one(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            raise TypeError(
                f"example_inputs must hold tensors, not {shown(value)}: pass "
                "torch.from_numpy(array)"
            )
        return value.detach().to("meta") if isinstance(value, Tensor) else value

    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    given = map_leaves(inputs, one)
    if not tensors_in(given):
        raise TypeError(
            "example_inputs must be a tensor, or a tuple of the arguments of forward with a tensor "
            f"among them, not {shown(example_inputs)}"
        )
    return given


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Take back what the forward pass notes in attributes, such as a cache: it holds no numbers."""
    before = [
        (vars(m), {k: copy.copy(v) if type(v) in _NOTES else v for k, v in vars(m).items()})
        for m in model.modules()
        if type(m) not in KINDS
    ]
    try:
        yield
    finally:
        for now, was in before:
            # Tensors made on the way, which torch.fx keeps under such names, belong to the graph.
            made = {k: v for k, v in now.items() if k.startswith(MADE)}
            now.clear()
            now.update(was | made)


def bind(graph: fx.Graph, model: nn.Module, traced: nn.Module) -> fx.GraphModule:
    """A graph traced on a copy, as a module that shares the modules and tensors of ``model``.

    Raises
    ------
    TraceError
        A module or tensor has a name by which torch.fx calls something of its own.
    """
    root: dict[str, object] = {}
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr") and node.target.partition(".")[0] in OF_GRAPHS:
            raise TraceError(
                f"{type(model).__name__} has {node.target!r}, and its first word already means "
                "something else in every network that torch.fx makes of a graph: rename it"
            )
        if node.op == "call_module":
            root[node.target] = model.get_submodule(node.target)
        elif node.op == "get_attr":
            owner = model if has_attribute(model, node.target) else traced
            root[node.target] = attribute(owner, node.target)
    module = fx.GraphModule(root, graph, class_name=type(model).__name__)
    module.training = model.training
    return module
