"""What a network costs: parameters, multiply-accumulates, bytes and time."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from prunekit.training import device_of, evaluation_mode

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
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
        A row for each layer that holds parameters, in order of execution:
        ``layer``, ``type``, ``input_shape`` and ``output_shape`` (of one
        example, without the batch), ``filters`` (0 where a layer has none),
        ``parameters`` and ``macs`` (of all its uses).
    """

    parameters: int
    macs: int
    bytes: int
    layers: pd.DataFrame


@dataclass(frozen=True)
class Latency:
    """Wall time of forward passes, in seconds, one array entry a pass."""

    times: np.ndarray

    @property
    def median(self) -> float:
        return float(np.median(self.times))

    @property
    def p95(self) -> float:
        """The time that 95 % of the passes stayed below."""
        return float(np.quantile(self.times, 0.95))


def profile(model: nn.Module, example_inputs: Tensor | tuple) -> Profile:
    """Count parameters, MACs and bytes by one forward pass in evaluation mode.

    Parameters
    ----------
    example_inputs
        A batch of shape (examples, ...), or a tuple of such. It may lie on
        the ``meta`` device if the model does: then nothing is computed.

    Raises
    ------
    ValueError
        The batch is empty.

    Notes
    -----
    Convolutions and linear layers that are modules are counted. A product
    written with ``torch.matmul`` or ``F.linear`` inside a forward method is
    not seen.

    Examples
    --------
    >>> one = nn.Conv2d(3, 8, kernel_size=3, padding=1)
    >>> cost = profile(one, torch.zeros(1, 3, 10, 10))
    >>> cost.parameters, cost.macs, cost.bytes
    (224, 21600, 896)
    """
    inputs = _on_device(model, example_inputs)
    examples = next(len(x) for x in inputs if isinstance(x, Tensor))
    if not examples:
        raise ValueError("example_inputs is an empty batch")
    rows: dict[nn.Module, dict] = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            own = sum(p.numel() for p in module.parameters(recurse=False))
            if own:
                row = {"layer": name, "type": type(module).__name__, "parameters": own, "macs": 0}
                counter = _counter(rows, row, examples)
                hook = module.register_forward_hook(counter, with_kwargs=True)
                stack.callback(hook.remove)
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(torch.inference_mode())
        model(*inputs)
    tensors = list(chain(model.parameters(), model.buffers()))
    return Profile(
        parameters=sum(p.numel() for p in model.parameters()),
        macs=sum(row["macs"] for row in rows.values()),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        layers=pd.DataFrame(list(rows.values()), columns=COLUMNS),
    )


def latency(
    model: nn.Module,
    example_inputs: Tensor | tuple,
    *,
    repeats: int = 20,
    warmup: int = 3,
    threads: int = 1,
) -> Latency:
    """Time forward passes in evaluation mode, on ``threads`` CPU threads.

    The thread count of the process is restored afterwards. One thread gives
    the steadiest numbers, and those nearest to a small board.

    Examples
    --------
    >>> timing = latency(nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 32, 32), repeats=5)
    >>> len(timing.times), timing.median <= timing.p95
    (5, True)
    """
    if repeats < 1 or warmup < 0 or threads < 1:
        raise ValueError(
            "repeats and threads must be at least 1 and warmup at least 0, "
            f"not {repeats}, {threads} and {warmup}"
        )
    inputs = _on_device(model, example_inputs)
    on_gpu = device_of(model).type == "cuda"
    threads_before = torch.get_num_threads()
    times = []
    try:
        torch.set_num_threads(threads)
        with evaluation_mode(model), torch.inference_mode():
            for _ in range(warmup + repeats):
                start = time.perf_counter()
                model(*inputs)
                if on_gpu:
                    torch.cuda.synchronize()
                times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads_before)
    return Latency(np.array(times[warmup:]))


def _counter(rows: dict[nn.Module, dict], row: dict, examples: int):
    def count(module: nn.Module, inputs: tuple, named: dict, output: Tensor) -> None:
        x = next(iter((*inputs, *named.values())), None)
        entry = rows.setdefault(module, row)
        entry["macs"] += _macs(module, x, output) // examples
        entry["filters"] = _filters(module)
        entry["input_shape"], entry["output_shape"] = _shape(x), _shape(output)

    return count


def _macs(module: nn.Module, x: Tensor, output: Tensor) -> int:
    """Each weight is used once at each position: of the input if transposed, else of the output."""
    if isinstance(module, TRANSPOSED):
        return module.weight.numel() * x.numel() // module.in_channels
    if isinstance(module, CONVOLUTIONS):
        return module.weight.numel() * output.numel() // module.out_channels
    if isinstance(module, nn.Linear):
        return module.weight.numel() * output.numel() // module.out_features
    return 0


def _filters(module: nn.Module) -> int:
    if isinstance(module, CONVOLUTIONS):
        return module.out_channels
    return module.out_features if isinstance(module, nn.Linear) else 0


def _shape(value: object) -> tuple[int, ...]:
    return tuple(value.shape[1:]) if isinstance(value, Tensor) else ()


def _on_device(model: nn.Module, example_inputs: Tensor | tuple) -> tuple:
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    device = device_of(model)
    return tuple(x.to(device) if isinstance(x, Tensor) else x for x in inputs)
