"""What a network costs by counting: parameters, multiply-accumulates and bytes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.overrides import TorchFunctionMode

from prunekit.channels.functional import FUNCTIONS, arguments
from prunekit.channels.kinds import KINDS, kind_of
from prunekit.checks import checked, inputs, module, run
from prunekit.checks.structures import examples_of
from prunekit.execution import evaluation_mode, on_device

COLUMNS = ["layer", "type", "input_shape", "output_shape", "filters", "parameters", "macs"]


@dataclass(frozen=True)
class Profile:
    """The cost of one model for one example.

    Attributes
    ----------
    parameters : int
        Numbers that training changes; a tensor shared by two layers counts once.
    macs : int
        Multiply-accumulates of the convolution and linear layers for one
        example. Additions of biases and everything else are left out, as is
        usual in the literature; a MAC is two floating-point operations.
    bytes : int
        Size of parameters and buffers in the precision they have now.
    layers : DataFrame
        A row for each layer that holds parameters, or whose parametrizations
        do, in order of execution:
        ``layer``, ``type``, ``input_shape`` and ``output_shape`` (of one
        example, without the batch), ``filters`` (0 where a layer has none),
        ``parameters`` and ``macs`` (of all its uses).
    """

    parameters: int
    macs: int
    bytes: int
    layers: pd.DataFrame


@checked(model=partial(module, numbers=False), example_inputs=inputs)
def profile(model: nn.Module, example_inputs: Tensor | tuple) -> Profile:
    """Count parameters, MACs and bytes by one forward pass in evaluation mode.

    Parameters
    ----------
    example_inputs
        A batch of shape (examples, ...), or a tuple of the arguments of
        ``forward``: such batches, and lists and dictionaries of them. It may lie
        on the ``meta`` device if the model does: then nothing is computed.

    Raises
    ------
    ValueError
        The batch is empty.

    Notes
    -----
    Convolutions and linear layers that are modules are counted, and of a
    subclass what it computes with a weight of its shape, whatever it does to
    maps before and after. A product written with ``torch.matmul`` or
    ``F.linear`` inside the forward method of another module is not seen.

    Examples
    --------
    >>> one = nn.Conv2d(3, 8, kernel_size=3, padding=1)
    >>> cost = profile(one, torch.zeros(1, 3, 10, 10))
    >>> cost.parameters, cost.macs, cost.bytes
    (224, 21600, 896)
    """
    given = on_device(model, example_inputs)
    examples = examples_of(given) or 1
    rows: dict[nn.Module, dict] = {}
    with ExitStack() as stack:
        products = _Products()
        if any(map(_computes_its_own_way, model.modules())):
            stack.enter_context(products)
        inside = {part for m in model.modules() if is_parametrized(m) for part in _computing(m)}
        for name, module in model.named_modules():
            parts = [module, *(_computing(module) if is_parametrized(module) else ())]
            own = sum(p.numel() for part in parts for p in part.parameters(recurse=False))
            if module not in inside and (own or kind_of(module).filters):
                row = {"layer": name, "type": type(module).__name__, "parameters": own, "macs": 0}
                counter = _counter(rows, row, examples, products)
                if _computes_its_own_way(module):
                    stack.callback(module.register_forward_pre_hook(products.begin).remove)
                hook = module.register_forward_hook(counter, with_kwargs=True)
                stack.callback(hook.remove)
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(torch.inference_mode())
        run(model, given, "example_inputs")
    tensors = list(chain(model.parameters(), model.buffers()))
    return Profile(
        parameters=sum(p.numel() for p in model.parameters()),
        macs=sum(row["macs"] for row in rows.values()),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        layers=pd.DataFrame(list(rows.values()), columns=COLUMNS),
    )


class _Products(TorchFunctionMode):
    """Notes the MACs of layers' functions, and how large their weights are.

    For subclasses of layers, whose output need not be that of the product. It makes every call
    of torch slower, and is left out where all layers are torch's own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.Size, int]] = []
        self.begun: list[int] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        _, classes = FUNCTIONS.get(function, ((), ()))
        if classes and classes[0] in KINDS:
            given = arguments(function, args, kwargs or {})
            if isinstance(weight := given.get("weight"), Tensor):
                layer = SimpleNamespace(weight=weight)
                macs = KINDS[classes[0]].macs(layer, given["input"], output)
                self.seen.append((weight.shape, macs))
        return output

    def begin(self, module: nn.Module, inputs: tuple) -> None:
        """A module begins to run."""
        self.begun.append(len(self.seen))

    def end(self) -> list[tuple[torch.Size, int]]:
        """What it has computed, beside modules inside it."""
        begun = self.begun.pop()
        own, self.seen[begun:] = self.seen[begun:], []
        return own


def _counter(
    rows: dict[nn.Module, dict], row: dict, examples: int, products: _Products
) -> Callable[..., None]:
    def count(module: nn.Module, inputs: tuple, named: dict, output: Tensor) -> None:
        x = next(iter((*inputs, *named.values())), None)
        entry = rows.setdefault(module, row)
        own = products.end() if _computes_its_own_way(module) else []
        entry["macs"] += _macs(module, own, x, output) // examples
        entry["filters"] = _filters(module)
        entry["input_shape"], entry["output_shape"] = _shape(x), _shape(output)

    return count


def _computing(module: nn.Module) -> list[nn.Module]:
    """What computes the tensors of a module that is parametrised."""
    return list(module.get_submodule("parametrizations").modules())


def _computes_its_own_way(module: nn.Module) -> bool:
    known = next((known for known in type(module).__mro__ if known in KINDS), nn.Module)
    return bool(kind_of(module).filters) and type(module).forward is not known.forward


def _macs(module: Any, products: list[tuple[torch.Size, int]], x: Any, output: Any) -> int:
    """Those of one call: of a layer that makes filters, what it computed with weights like its own.

    Its output tells only where it did so by other functions than those known.
    """
    kind = kind_of(module)
    own = [macs for shape, macs in products if shape == module.weight.shape]
    return sum(own) or kind.macs(module, x, output)


def _filters(module: nn.Module) -> int:
    counted = kind_of(module).filters
    return getattr(module, counted) if counted else 0


def _shape(value: object) -> tuple[int, ...]:
    return tuple(value.shape[1:]) if isinstance(value, Tensor) else ()
