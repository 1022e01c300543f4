"""The engines that can run a network here, behind one call: images in, scores or outputs out."""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from prunekit.checks.batches import Batches
from prunekit.extras import need

#: float32 images of shape (batch, 3, height, width) to float32 scores of shape (batch, classes);
#: of a network with several outputs, to all of them in order, as a tuple.
Engine = Callable[[np.ndarray], Any]


def torch_engine(model: nn.Module, *, compiled: bool = False) -> Engine:
    """PyTorch itself, layer by layer or through ``torch.compile``.

    The engine holds a copy of the model as it stands, as those of the other
    runtimes do, in evaluation mode.
    """
    model = copy.deepcopy(model).eval()
    run = torch.compile(model) if compiled else model

    def engine(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return _alone([leaf.numpy() for leaf in tree_leaves(run(torch.from_numpy(images)))])

    return engine


def _alone(outputs: Sequence[np.ndarray]) -> Any:
    """The only output, or all of them."""
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def onnx_engine(path: str | Path, threads: int = 1) -> Engine:
    """ONNX Runtime on the CPU."""
    session = onnx_session(path, threads)
    name = session.get_inputs()[0].name
    return lambda images: _alone(session.run(None, {name: images}))


def onnx_session(path: str | Path, threads: int = 1, profile_prefix: str | None = None) -> Any:
    """An ONNX Runtime session on so many threads, which writes a profile if a prefix is given."""
    ort = need("onnxruntime", "deploy")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile_prefix:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def executorch_engine(path: str | Path, threads: int = 1) -> Engine:
    """ExecuTorch. All programs of a process share one pool: the last count of threads holds."""
    need("executorch", "deploy")
    with _silent_stderr():
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        portable_lib._unsafe_reset_threadpool(threads)

        content = Path(path).read_bytes()
        program = Runtime.get().load_program(content)
    return _Executable(program.load_method("forward"), program, content)


@dataclass(frozen=True)
class _Executable:
    """A method reads its program and the program its bytes, and neither keeps them alive."""

    method: Any
    program: Any
    content: bytes

    def __call__(self, images: np.ndarray) -> Any:
        # The results lie in memory that the next call writes to.
        outputs = self.method.execute((torch.from_numpy(images),))
        return _alone([output.numpy().copy() for output in outputs])


def accuracy(engine: Engine, batches: Batches) -> float:
    """Share of images whose highest score is their label, one image at a time.

    Examples
    --------
    >>> always_first = lambda images: np.array([[1.0, 0.0]], np.float32)
    >>> accuracy(always_first, [(torch.zeros(4, 3, 2, 2), torch.tensor([0, 0, 1, 0]))])
    0.75
    """
    right = total = 0
    for images, labels in batches:
        for image, label in zip(images.numpy(), labels.tolist(), strict=True):
            right += int(engine(image[None]).argmax()) == label
            total += 1
    if not total:
        raise ValueError("there are no images to measure the accuracy on")
    return right / total


def outputs(engine: Engine, images: np.ndarray) -> np.ndarray:
    """All that a network gives, of shape (images, numbers), one image at a time.

    Several outputs lie one behind the other.
    """
    given = [tree_leaves(engine(image[None])) for image in images]
    rows = [np.concatenate([output.ravel() for output in of_image]) for of_image in given]
    return np.stack(rows).astype(np.float32)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """ExecuTorch's C++ part reports on the processor, through Python and from below it."""
    saved, void = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(void, 2)
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(void)
