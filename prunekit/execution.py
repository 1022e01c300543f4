"""How a network is run: on which device, in which precision, memory layout and mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunekit.checks.structures import arguments, examples_of, first_examples, moved

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def autocast(
    device: torch.device, precision: str = "mixed", models: Iterable[nn.Module] = ()
) -> AbstractContextManager:
    """bfloat16 autocast where it pays: on CUDA, and on CPUs with AVX-512; none if ``"full"``.

    None either where a weight of the ``models`` is in float16: its batch norms take no bfloat16.

    A CPU without AVX-512 emulates bfloat16: SqueezeNet at 64 px then takes
    over six times as long as in float32.
    """
    weights = (weight for model in models for weight in model.parameters())
    mixed = precision == "mixed" and not any(weight.dtype is torch.float16 for weight in weights)
    if device.type == "cpu":
        pays = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    else:
        pays = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=pays and mixed)


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter; the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def on_device(model: nn.Module, example_inputs: Tensor | tuple) -> tuple:
    """Example inputs as the arguments of ``forward``, moved to where the model is."""
    given = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    device = device_of(model)
    if device.type != "meta" and any(
        isinstance(x, Tensor) and x.is_meta for x in tree_leaves(given)
    ):
        raise ValueError("example_inputs lies on the meta device, and the model does not")
    return moved(given, device)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the time being; afterwards every module is in the mode it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def fastest_layout(model: nn.Module, x: Any) -> torch.memory_format:
    """Channels-last for images that the model takes so, the usual layout for all else.

    Convolutions are faster channels-last. A model that calls ``view`` on a
    map, as in ``x.view(len(x), -1)``, may ask for the usual layout: two
    examples of the inputs ``x`` tell. Torch's generators stay where they were.

    Examples
    --------
    >>> class Viewing(nn.Conv2d):
    ...     def forward(self, x):
    ...         return super().forward(x).view(len(x), -1)
    >>> x = torch.zeros(2, 3, 8, 8)
    >>> fastest_layout(nn.Conv2d(3, 4, 3), x), fastest_layout(Viewing(3, 4, 3), x)
    (torch.channels_last, torch.contiguous_format)
    """
    if not any(isinstance(part, Tensor) and part.dim() == 4 for part in tree_leaves(x)):
        return torch.contiguous_format
    try:
        few = first_examples(arguments(model, x, "the batch"), examples_of(x) or 0, 2)
        device = device_of(model)
        drawn_on = [device] if device.type == "cuda" else []
        with evaluation_mode(model), torch.inference_mode(), torch.random.fork_rng(drawn_on):
            model(*moved(few, device, torch.channels_last))
    except Exception:
        # If it is not the layout, the same error comes when the batch itself is run, and is told.
        return torch.contiguous_format
    return torch.channels_last


@contextmanager
def laid_out(model: nn.Module, layout: torch.memory_format) -> Iterator[None]:
    """The model's weights in a memory layout for the time being, afterwards as they were.

    Weights and buffers of other than four dimensions have no such layout, and stay. So do those
    that fill their memory in neither of the two, such as views.
    """
    tensors = [
        (tensor, tensor.stride())
        for tensor in (*model.parameters(), *model.buffers())
        if tensor.dim() == 4 and any(tensor.is_contiguous(memory_format=of) for of in LAYOUTS)
    ]
    for tensor, _ in tensors:
        # Not contiguous(), which leaves a 1x1 kernel its strides: last bits may hang on them.
        tensor.data = tensor.data.to(memory_format=layout)
    try:
        yield
    finally:
        for tensor, strides in tensors:
            tensor.data = tensor.new_empty_strided(tensor.shape, strides).copy_(tensor.data)
