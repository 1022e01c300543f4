"""What a network costs: parameters, multiply-accumulates, bytes, memory and time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from prunekit.checks import checked, inputs, module, modules, named_modules, run, whole
from prunekit.execution import device_of, evaluation_mode
from prunekit.memory import MemoryMeter

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
TIMING = {
    "example_inputs": inputs,
    "repeats": partial(whole, least=1),
    "warmup": partial(whole, least=0),
    "threads": partial(whole, least=1),
}
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


@checked(model=partial(module, numbers=False), example_inputs=inputs)
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
    given = _on_device(model, example_inputs)
    examples = next(len(x) for x in given if isinstance(x, Tensor))
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
        run(model, given, "example_inputs")
    tensors = list(chain(model.parameters(), model.buffers()))
    return Profile(
        parameters=sum(p.numel() for p in model.parameters()),
        macs=sum(row["macs"] for row in rows.values()),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        layers=pd.DataFrame(list(rows.values()), columns=COLUMNS),
    )


@checked(model=module, **TIMING)
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
    return latencies([model], example_inputs, repeats=repeats, warmup=warmup, threads=threads)[0]


@checked(models=modules, **TIMING)
def latencies(
    models: Sequence[nn.Module],
    example_inputs: Tensor | tuple,
    *,
    repeats: int = 20,
    warmup: int = 3,
    threads: int = 1,
) -> list[Latency]:
    """As :func:`latency` for several models, which take turns.

    In each of ``warmup + repeats`` rounds every model runs once, so that a
    machine that slows down for a while slows all of them alike.
    """
    given = [_on_device(model, example_inputs) for model in models]
    threads_before = torch.get_num_threads()
    times: list[list[float]] = [[] for _ in models]
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, threads_before)
        torch.set_num_threads(threads)
        stack.enter_context(torch.inference_mode())
        for model in models:
            stack.enter_context(evaluation_mode(model))
        for _ in range(warmup + repeats):
            for model, x, own in zip(models, given, times, strict=True):
                start = time.perf_counter()
                run(model, x, "example_inputs")
                if device_of(model).type == "cuda":
                    torch.cuda.synchronize()
                own.append(time.perf_counter() - start)
    return [Latency(np.array(own[warmup:])) for own in times]


@checked(models=named_modules, **TIMING)
def compare(
    models: Mapping[str, nn.Module],
    example_inputs: Tensor | tuple,
    *,
    repeats: int = 20,
    warmup: int = 3,
    threads: int = 1,
) -> pd.DataFrame:
    """What several models should cost by their counts, beside what they do cost.

    Fewer multiply-accumulates do not always save time: small layers keep a
    machine waiting for memory, and odd widths keep its vector units half
    empty.

    Returns
    -------
    DataFrame with a row a model: ``parameters``, ``macs`` and ``bytes`` as
    in :class:`Profile`; ``peak_memory`` in bytes; ``ms`` and ``ms_p95``, the
    median and the 95 % quantile of milliseconds a forward pass on these
    inputs, timed in turns; ``predicted`` and ``measured``, the MACs and the
    median time as shares of the first model's.

    Examples
    --------
    >>> from prunekit.models import TinySqueezeNet, squeezenet
    >>> wide, narrow = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 2, 3)
    >>> table = compare({"wide": wide, "narrow": narrow}, torch.zeros(1, 3, 9, 9), repeats=3)
    >>> table[["parameters", "macs", "predicted"]]
            parameters   macs  predicted
    wide           224  10584       1.00
    narrow          56   2646       0.25
    """
    timings = latencies(
        list(models.values()), example_inputs, repeats=repeats, warmup=warmup, threads=threads
    )
    rows = {}
    for (name, model), timing in zip(models.items(), timings, strict=True):
        cost = profile(model, example_inputs)
        rows[name] = {
            "parameters": cost.parameters,
            "macs": cost.macs,
            "bytes": cost.bytes,
            "peak_memory": peak_memory(model, example_inputs),
            "ms": 1000 * timing.median,
            "ms_p95": 1000 * timing.p95,
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["predicted"] = table["macs"] / table["macs"].iloc[0]
    table["measured"] = table["ms"] / table["ms"].iloc[0]
    return table


@checked(model=partial(module, numbers=False), example_inputs=inputs)
def peak_memory(model: nn.Module, example_inputs: Tensor | tuple) -> int:
    """The most bytes that tensors take at one moment of a forward pass in evaluation mode.

    Counted are parameters, buffers, inputs, and every activation from the
    operation that makes it until nothing refers to it any more. What an
    operation takes for itself while it runs is not seen.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(1000, 10, bias=False), nn.Linear(10, 500, bias=False))
    >>> weights, activations = 4 * (1000 * 10 + 10 * 500), 4 * (1000 + 10 + 500)
    >>> peak_memory(model, torch.zeros(1, 1000)) == weights + activations
    True
    """
    given = _on_device(model, example_inputs)
    tensors = (x for x in given if isinstance(x, Tensor))
    known = chain(model.parameters(), model.buffers(), tensors)
    with evaluation_mode(model), torch.inference_mode(), MemoryMeter(known) as meter:
        run(model, given, "example_inputs")
    return meter.peak


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


def _on_device(model: nn.Module, example_inputs: tuple) -> tuple:
    device = device_of(model)
    if device.type != "meta" and any(isinstance(x, Tensor) and x.is_meta for x in example_inputs):
        raise ValueError("example_inputs lies on the meta device, and the model does not")
    return tuple(x.to(device) if isinstance(x, Tensor) else x for x in example_inputs)
