"""A tracer of torch.fx that knows sizes: each operation is run on the example inputs as it is met.

What the code asks of a size as a number, such as whether it is even, it is told, and the graph
checks that the answer stays. Sizes that are only handed on stay in the graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from prunekit.channels import drawing, proxies, rules
from prunekit.channels.calls import in_place
from prunekit.channels.counts import number, unwatched
from prunekit.channels.kinds import KINDS
from prunekit.channels.proxies import Known, Plain, opened
from prunekit.channels.refusals import TraceError
from prunekit.channels.shapes import RunsOnData, ShapesOnly
from prunekit.checks import remedy_for_types, shown

# No line of the user's network is in these files.
OURS = {__file__, drawing.__file__, proxies.__file__}
#: How torch.fx names the tensors that the forward pass makes of constants.
MADE = "_tensor_constant"
_WRITTEN_ANEW = {*drawing.IN_PLACE.values(), "copy_", "fill_", "zero_"}  # whatever there was
_MISSING = object()
# Made of layers that have rules, unlike the rest of torch.nn.
_COMPOSED = (
    *(nn.Transformer, nn.TransformerEncoder, nn.TransformerEncoderLayer),
    *(nn.TransformerDecoder, nn.TransformerDecoderLayer),
)
# They look at their arguments before fx does, and so would ask sizes that are only handed on.
_PARSING = (
    *(F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
    *(torch.zeros, torch.ones, torch.full, torch.empty, torch.eye, torch.arange, torch.linspace),
    *(torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.tensor),
)


class Tracer(fx.Tracer):
    """Remembers in which module a trace failed, and with ``inputs`` what each node gives."""

    innermost = ""
    proxy_buffer_attributes = True  # as parameters are: a buffer's methods become part of the graph

    def __init__(self, inputs: tuple | None, device: torch.device) -> None:
        super().__init__(autowrap_functions=(*rules.WRAPPED, *_PARSING))
        self._autowrap_search += [torch, F]  # where these are found
        self.inputs, self.device = inputs, device
        self.waiting = iter(inputs or ())
        self.running = False  # fx follows every call of a module, also those made here

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, RunsOnData) or type(m) in KINDS:
            return True
        return not isinstance(m, _COMPOSED) and super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        if self.running:
            return forward(*args, **kwargs)
        if isinstance(m, nn.TransformerEncoder):
            _refuse_nesting(m, self.path_of_module(m), args, kwargs)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.innermost = self.innermost or f"module {self.path_of_module(m)!r}"
            raise

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        tensors = itertools.chain(root.named_parameters(), root.named_buffers())
        # Held, since another object may take the identity of a tensor that the code replaces.
        self.held = {id(tensor): (name, tensor) for name, tensor in tensors}
        with drawing.Draws(self):
            return super().trace(root, concrete_args)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        if self.running:
            return attr_val
        if id(attr_val) not in self.held:
            return super().getattr(attr, attr_val, parameter_proxy_cache)
        # fx would look through all parameters for each that is read: their number squared.
        name, _ = self.held[id(attr_val)]
        if name not in parameter_proxy_cache:
            parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
        return parameter_proxy_cache[name]

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> tuple[Any, list[Any]]:
        root, proxies = super().create_args_for_root(*args, **kwargs)
        if self.inputs is not None:
            proxies = [opened(p, p.known) if isinstance(p, Known) else p for p in proxies]
        return root, proxies

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        if not self.root.training and _writes_over_constant(node):
            raise TraceError(
                f"{place(node)} writes over a tensor that it makes of constants, and of which a "
                "graph holds one for all passes: begin with torch.zeros, or write x + y, not x += y"
            )
        if self.inputs is not None:
            self.running = True
            try:
                node.meta["value"] = self._run(node)
            except Exception as error:
                raise TraceError(
                    f"{place(node)} fails on the example inputs: {self._said(error)}"
                    + remedy_for_types(self.root, self.inputs)
                ) from error
            finally:
                self.running = False
        return node

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Plain(node, self) if self.inputs is None else Known(node, self)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Without example inputs; fx takes it for a question about values."""
        raise TypeError("it goes through a tensor or sizes, and how many there are is not known")

    def _run(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["value"])
        target: Any = node.target
        if target is getattr and args[1] == "device" and isinstance(args[0], Tensor):
            return self.device
        if node.op == "call_method" or _is_of_torch(target):
            args, kwargs = fx.node.map_aggregate((args, kwargs), _on_meta)
        match node.op:
            case "placeholder":
                return self._input(target, *args)
            case "get_attr":
                return number(_without_data(attribute(self.root, target)))
            case "output":
                return args[0]
            case "call_module":
                module = self.root.get_submodule(target)
                with ShapesOnly(), unwatched(module):
                    return module(*args, **kwargs)
        with ShapesOnly():
            if node.op == "call_method":
                return getattr(args[0], target)(*args[1:], **kwargs)
            # Made in the forward pass, such as torch.ones(x.shape[1]).
            return _without_data(target(*args, **kwargs))

    def _said(self, error: Exception) -> str:
        """What an error says, with sizes where the code wrote of nodes."""
        said = str(error)
        for node in self.graph.nodes:
            if "value" in node.meta:
                said = said.replace(f"Proxy({node.name})", shown(node.meta["value"]))
        return said

    def _input(self, name: str, *default: Any) -> Any:
        if name.startswith("**"):
            return {}
        if name.startswith("*"):
            return tuple(self.waiting)
        value = next(self.waiting, *(default or (_MISSING,)))
        if value is _MISSING:
            raise ValueError(f"forward takes {name!r} too")
        return value


def _refuse_nesting(encoder: Any, name: str, args: tuple, kwargs: dict) -> None:
    """Refuse an encoder that packs padded sequences, by a mask, into a tensor without a shape."""
    padding = kwargs.get("src_key_padding_mask", args[2] if len(args) > 2 else None)
    nests = getattr(encoder, "use_nested_tensor", False) and not encoder.training
    if nests and padding is not None:
        raise TraceError(
            f"module {name!r} packs padded sequences into nested tensors, which have no sizes to "
            f"trace: set model.get_submodule({name!r}).use_nested_tensor = False. Where a sequence "
            "is padded, it then gives what it does in training, and no zeros"
        )


def _writes_over_constant(node: fx.Node) -> bool:
    if node.op not in ("call_function", "call_method") or node.target in _WRITTEN_ANEW:
        return False
    written = node.args[0] if node.args else None
    made = isinstance(written, fx.Node) and written.op == "get_attr" and written.target
    return str(made).startswith(MADE) and (node.target == "__setitem__" or in_place(node))


def _is_of_torch(function: Any) -> bool:
    return (getattr(function, "__module__", None) or "torch").startswith("torch")


def _on_meta(value: Any) -> Any:
    """Where tensors without data are, if code says where they are to be."""
    return torch.device("meta") if isinstance(value, torch.device) else value


def _without_data(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) and not value.is_meta else value


def place(node: fx.Node) -> str:
    """Which module an operation belongs to."""
    if node.op == "call_module":
        return f"module {node.target!r}"
    stack = node.meta.get("nn_module_stack")
    return f"module {list(stack)[-1]!r}" if stack else "the model's forward"


def attribute(module: nn.Module, path: str) -> Tensor:
    """The tensor at a dotted path."""
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name)
    return value


def has_attribute(module: nn.Module, path: str) -> bool:
    """Whether there is something at a dotted path."""
    try:
        attribute(module, path)
    except AttributeError:
        return False
    return True
