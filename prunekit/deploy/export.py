"""Writing a network in the two formats that boards run: ONNX and ExecuTorch.

Nothing is believed: each file is loaded again by the engine that will run it
and its outputs are compared with PyTorch's. Only then does it get its name.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunekit.deploy.engines import Engine, executorch_engine, onnx_engine, torch_engine
from prunekit.deploy.quantizing import INPUT, quantize_onnx, quantize_program
from prunekit.errors import PrunekitError
from prunekit.execution import evaluation_mode
from prunekit.extras import need
from prunekit.storage.files import replacing

TOLERANCE = {None: 1e-4, "int8": 0.25}
OUTPUT = "scores"


class ExportError(PrunekitError, RuntimeError):
    """A file could not be written, or it does not compute what the model computes."""


def export_onnx(
    model: nn.Module,
    example_inputs: Tensor,
    path: str | Path,
    quantize: str | None = None,
    *,
    calibration: Tensor | None = None,
    tolerance: float | None = None,
) -> float:
    """Write ``model`` as one ONNX file with a fixed input shape.

    Its output is called ``scores``. A network may also give several tensors,
    as a detector does: they are ``output_0``, ``output_1``, ... in order.

    Parameters
    ----------
    example_inputs
        Normalised images of shape (batch, channels, height, width), which
        becomes the shape of the input.
    quantize
        None for float32, or ``"int8"``: static quantisation in QDQ form,
        weights to int8 by output channel, activations to uint8.
    calibration
        Training images of shape (images, channels, height, width), from
        which int8 takes the range of every activation.
    tolerance
        Largest relative error allowed of any output, in the L2 norm over all
        inputs checked: by default 1e-4 in float32 and 0.25 in int8. The latter only
        catches a broken file: measure the accuracy on the validation set.

    Returns
    -------
    The relative error found, against PyTorch in float32: that of the worst
    output.

    Raises
    ------
    ExportError
        The model cannot be exported, or the error is above ``tolerance``.
        No file is left, and an older one stays as it was.
    ValueError
        ``quantize`` is unknown, or int8 was asked for without ``calibration``.
    TypeError
        ``example_inputs`` is not one tensor: networks of several inputs are not exported.
    ImportError
        The ``deploy`` extra is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from prunekit.models import TinySqueezeNet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "tiny.onnx"
    ...     error = export_onnx(TinySqueezeNet().eval(), torch.zeros(1, 3, 32, 32), path)
    ...     error < 1e-4, path.stat().st_size > 10_000
    (True, True)
    """
    typical = _for_quantizing(example_inputs, quantize, calibration)
    need("onnxscript", "deploy")
    need("onnxruntime", "deploy")
    with replacing(path) as temporary, _prepared(model), _quiet():
        with _failures_named(model, path):
            torch.onnx.export(
                model,
                (example_inputs,),
                temporary,
                dynamo=True,
                input_names=[INPUT],
                output_names=_names(model, example_inputs),
                external_data=False,
                verbose=False,
            )
            if typical is not None:
                quantize_onnx(temporary, typical, len(example_inputs))
            engine = onnx_engine(temporary)
        return _check(model, engine, example_inputs, calibration, quantize, tolerance, path)


def export_executorch(
    model: nn.Module,
    example_inputs: Tensor,
    path: str | Path,
    quantize: str | None = None,
    *,
    calibration: Tensor | None = None,
    tolerance: float | None = None,
) -> float:
    """Write ``model`` as an ExecuTorch program (``.pte``) for the XNNPACK backend.

    Arguments, result and errors are those of :func:`export_onnx`. Int8 means
    symmetric weights by output channel and static int8 activations. A model
    of which XNNPACK cannot run every operation is refused: the board's runner
    carries no other kernels.

    Examples
    --------
    >>> import tempfile
    >>> from prunekit.models import TinySqueezeNet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "tiny.pte"
    ...     error = export_executorch(TinySqueezeNet().eval(), torch.zeros(1, 3, 32, 32), path)
    >>> error < 1e-4
    True
    """
    typical = _for_quantizing(example_inputs, quantize, calibration)
    with _quiet():
        need("executorch.exir", "deploy")
    with replacing(path) as temporary, _prepared(model), _quiet():
        with _failures_named(model, path):
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
                XnnpackPartitioner,
            )
            from executorch.exir import to_edge_transform_and_lower

            program = torch.export.export(model, (example_inputs,))
            if typical is not None:
                program = quantize_program(program, typical, example_inputs)
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            executable = lowered.to_executorch()
            left = {
                str(node.target)
                for node in executable.exported_program().graph.nodes
                if node.op == "call_function" and "getitem" not in str(node.target)
            } - {"executorch_call_delegate"}
            if left:
                raise ExportError(f"XNNPACK has no kernel for {', '.join(sorted(left))}")
            temporary.write_bytes(executable.buffer)
            engine = executorch_engine(temporary)
        return _check(model, engine, example_inputs, calibration, quantize, tolerance, path)


def _for_quantizing(
    example_inputs: Tensor, quantize: str | None, calibration: Tensor | None
) -> Tensor | None:
    """The images from which int8 takes its ranges, None for float32."""
    if not isinstance(example_inputs, Tensor):
        raise TypeError(
            f"example_inputs must be one tensor, not a {type(example_inputs).__name__}: only "
            "networks of one input are exported"
        )
    if quantize not in TOLERANCE:
        raise ValueError(f'quantize must be None or "int8", not {quantize!r}')
    if quantize and (calibration is None or len(calibration) < max(1, len(example_inputs))):
        raise ValueError(
            "int8 needs calibration images, at least a batch: pass a few hundred of training"
        )
    if calibration is not None and calibration.shape[1:] != example_inputs.shape[1:]:
        raise ValueError(
            f"calibration images have the shape {tuple(calibration.shape[1:])}, "
            f"example_inputs {tuple(example_inputs.shape[1:])}"
        )
    return calibration if quantize else None


def _check(
    model: nn.Module,
    engine: Engine,
    example_inputs: Tensor,
    calibration: Tensor | None,
    quantize: str | None,
    tolerance: float | None,
    path: str | Path,
) -> float:
    """The relative error over example inputs, noise, and calibration images in float32 and int8."""
    limit = TOLERANCE[quantize] if tolerance is None else tolerance
    noise = torch.randn(example_inputs.shape, generator=torch.Generator().manual_seed(0))
    batches = [example_inputs, noise.to(example_inputs)]
    if calibration is not None:
        # Noise is no image: int8 has no range for it.
        batches = [] if quantize else batches
        batches += calibration[: max(32, len(example_inputs))].split(len(example_inputs))
    batches = [batch for batch in batches if len(batch) == len(example_inputs)]
    wanted, found = (_outputs(run, batches) for run in (torch_engine(model), engine))
    shapes = [[output.shape for output in outputs] for outputs in (found, wanted)]
    if shapes[0] != shapes[1]:
        raise ExportError(f"{path}: gives the shapes {shapes[0]}, PyTorch {shapes[1]}")
    errors = [
        float(np.linalg.norm(one - other)) / max(float(np.linalg.norm(other)), 1e-12)
        for one, other in zip(found, wanted, strict=True)
    ]
    error = math.nan if any(map(math.isnan, errors)) else max(errors)
    if not error <= limit:
        raise ExportError(
            f"{path}: its outputs differ from PyTorch's by {error:.2g} (relative), more than "
            f"{limit:g} allowed: not written"
        )
    return error


def _outputs(engine: Engine, batches: list[Tensor]) -> list[np.ndarray]:
    """Each output of an engine over all batches."""
    given = [tree_leaves(engine(batch.clone().numpy())) for batch in batches]
    return [np.concatenate(parts) for parts in zip(*given, strict=True)]


def _names(model: nn.Module, example_inputs: Tensor) -> list[str]:
    outputs = tree_leaves(model(example_inputs.clone()))
    return [OUTPUT] if len(outputs) == 1 else [f"output_{n}" for n in range(len(outputs))]


@contextlib.contextmanager
def _prepared(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients, as the model will run."""
    with evaluation_mode(model), torch.no_grad():
        yield


@contextlib.contextmanager
def _failures_named(model: nn.Module, path: str | Path) -> Iterator[None]:
    try:
        yield
    except (ExportError, ImportError):
        raise
    except Exception as error:
        raise ExportError(
            f"{path}: {type(model).__name__} cannot be exported: {str(error).strip()[:500]}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters talk at length about themselves; errors still arrive as exceptions."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
