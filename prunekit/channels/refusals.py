"""Models that cannot be read as they are, parts that must not be, and what to pass instead."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from prunekit.errors import PrunekitError

Leaves = tuple[type[nn.Module], ...]

_MARK = "_prunekit_leaf"
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


class TraceError(PrunekitError, ValueError):
    """The network cannot be traced; the message names the module and what to do."""


def leaf(kind: type[nn.Module]) -> type[nn.Module]:
    """Mark a class of modules that tracing must not look into, wherever a model has one.

    Use it as a decorator, for what branches on values or does what prunekit
    has no rule for. The channels that enter or leave such a part all stay,
    and so do the filters of layers inside it; the rest of the network is
    pruned. For one graph only, pass the class in ``leaves`` of
    :func:`prunekit.trace`.

    Examples
    --------
    >>> from prunekit import trace
    >>> @leaf
    ... class Sharpen(nn.Module):
    ...     def forward(self, x):
    ...         return x if x.mean() > 0 else -x
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), Sharpen())
    >>> list(trace(model, torch.zeros(1, 3, 8, 8)).prunable)
    ['0']
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise TypeError(f"leaf takes a class of modules, not {kind!r}")
    setattr(kind, _MARK, True)
    return kind


def is_leaf(module: nn.Module, leaves: Leaves = ()) -> bool:
    """Whether tracing must not look into a module."""
    return isinstance(module, leaves) or hasattr(type(module), _MARK)


def refuse_unreadable(model: nn.Module, leaves: Leaves = ()) -> None:
    """Raise an error for a model that wraps another, or whose tensors are not its own.

    Raises
    ------
    TypeError
        The model is not a module.
    TraceError
        A module, named, is wrapped, compiled, scripted, quantised or not yet
        initialised, or computes its weights. The message says what to pass.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"the model must be a torch.nn.Module, not a {type(model).__name__}")
    modules = dict(model.named_modules())
    inside = {part for m in modules.values() if is_leaf(m, leaves) for part in m.modules()}
    for name, module in modules.items():
        path = f"model.get_submodule({name!r})" if name else "model"
        reason = None if module in inside else _reason(module, path, bool(name))
        if reason:
            raise TraceError(f"module {name!r} {reason}" if name else f"the model {reason}")


def _reason(module: nn.Module, path: str, part: bool) -> str | None:
    kind = type(module)
    if isinstance(module, _WRAPPERS):
        return f"is a {kind.__name__} around the network: pass {path}.module"
    if "_orig_mod" in module._modules:
        return f"was compiled by torch.compile: pass {path}._orig_mod, and compile the result"
    if module._compiled_call_impl is not None:
        return "was compiled in place: pass it as it was before .compile(), and compile the result"
    if isinstance(module, torch.jit.ScriptModule):
        return "is TorchScript: pass the module that it was scripted or traced from"
    if isinstance(module, fx.GraphModule) and _is_exported(module.graph):
        return "was exported: pass the module that it was exported from"
    if kind.__module__.startswith("torch.ao."):
        return f"is quantised, a {kind.__name__}: prune first and quantise the result"
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        return "has no sizes yet: run the model once on example inputs"
    if "forward" in vars(module) and not (part and _is_own_method(module, "forward")):
        return "has a forward that was set on the object: define it in the class"
    return _computed(module, path)


def _is_own_method(module: nn.Module, name: str) -> bool:
    """Whether an attribute is one of the module's methods, as in ``self.forward = self.fast``."""
    return getattr(vars(module)[name], "__self__", None) is module


def _computed(module: nn.Module, path: str) -> str | None:
    """What to call where a tensor of the module is computed from others."""
    utils = "torch.nn.utils"
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            return f"has a weight norm: call {utils}.remove_weight_norm({path}, {hook.name!r})"
        if isinstance(hook, SpectralNorm):
            return f"has a spectral norm: call {utils}.remove_spectral_norm({path}, {hook.name!r})"
        if isinstance(hook, BasePruningMethod):
            tensor = hook._tensor_name
            return f"has a mask on its {tensor}: call {utils}.prune.remove({path}, {tensor!r})"
    if parametrize.is_parametrized(module):
        tensor = next(iter(module.get_submodule("parametrizations")._modules))
        call = f"{utils}.parametrize.remove_parametrizations({path}, {tensor!r})"
        return f"computes its {tensor} by a parametrization: call {call}"
    for tensor, value in module._parameters.items():
        if value is not None and type(value) is not nn.Parameter:
            kind = type(value).__name__
            return f"holds its {tensor} as a {kind}: prune the model with plain tensors"
    return None


def _is_exported(graph: fx.Graph) -> bool:
    return any(isinstance(node.target, torch._ops.OpOverload) for node in graph.nodes)
