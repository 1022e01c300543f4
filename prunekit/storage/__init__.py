"""A model in one file: safetensors plus a JSON description, no pickle.

The description is the model's inference graph: its layers with their sizes,
and the operations between them. Loading needs ``prunekit`` alone, not the
class the model was built from, and runs no code from the file: layers,
functions and methods are looked up in tables, and names must be names. What a
network computes, and how long that takes, is up to who wrote the file. Those
who have the class get an object of it back, if they hand one over to be filled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, overload

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from prunekit.channels.capture import TraceError, capture, meta_copy, without_data
from prunekit.checks import file as check_file
from prunekit.checks import module as check_module
from prunekit.storage.files import detached_copies, write_tensors
from prunekit.storage.graph import build, describe
from prunekit.storage.into import fill
from prunekit.storage.values import DEPTH
from prunekit.storage.written import call_layers

# Version 1 had neither the digest nor tied tensors.
VERSION = 2
_DESCRIPTION, _DIGEST = "prunekit", "sha256"
Network = TypeVar("Network", bound=nn.Module)


def save(
    model: nn.Module,
    path: str | Path,
    metadata: Any = None,
    *,
    example_inputs: Tensor | tuple | None = None,
) -> None:
    """Write ``model`` to one safetensors file, whole or not at all.

    The file holds the operations of evaluation mode. What ``forward`` draws by
    torch is drawn anew in each pass, as it was; what it draws by Python's
    ``random`` or by NumPy becomes the number that came up while it was saved.

    Parameters
    ----------
    metadata
        Anything JSON can hold, such as class names; :func:`load` puts it on
        the loaded model as ``.metadata``.
    example_inputs
        As for :func:`prunekit.trace`, for a network whose forward pass branches on
        sizes. The loaded model then raises an AssertionError at inputs that branch otherwise.

    Raises
    ------
    TraceError
        The model cannot be traced.
    ValueError
        Naming the layer, operation or forward hook that a file cannot hold, or what in
        the metadata JSON cannot hold; or ``path`` is a folder.
    TypeError
        The metadata holds an object, ``example_inputs`` no tensor, or ``path`` is no path.

    Examples
    --------
    >>> import tempfile
    >>> from prunekit.models import TinySqueezeNet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(TinySqueezeNet(), Path(folder) / "tiny.safetensors")
    ...     loaded = load(Path(folder) / "tiny.safetensors")
    >>> loaded(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """
    path = check_file("path", path)
    metadata = {} if metadata is None else metadata
    _check_metadata(metadata)
    remedy = ". Change that, or keep its state_dict with its class"
    inputs = None if example_inputs is None else without_data(example_inputs)
    with _one_error(f"{type(model).__name__} cannot be saved", remedy):
        traced = meta_copy(model).eval()
        _refuse_hooks(model)
        words, tensors = describe(model, capture(traced, inputs), traced)
        text = json.dumps({"prunekit": VERSION, **words, "metadata": metadata}, allow_nan=False)
        _check_data(tensors)
        build(json.loads(text), {key: t.detach().to("meta") for key, t in tensors.items()})
    tensors = detached_copies(tensors)
    write_tensors(tensors, path, {_DESCRIPTION: text, _DIGEST: digest(text, tensors)})


@overload
def load(path: str | Path) -> nn.Module: ...


@overload
def load(path: str | Path, into: Network) -> Network: ...


def load(path: str | Path, into: nn.Module | None = None) -> nn.Module:
    """Read a model that :func:`save` wrote. It comes in evaluation mode, on the CPU.

    No code from the file is run, neither now nor when the model is.

    A file holds the operations of evaluation mode. After ``.train()`` the layers of a loaded
    model are in training mode, its dropout layers and batch norms among them. What the code
    itself does in training only, such as ``F.dropout(x, p, self.training)``, is not in the
    file, and the model trains without: to train with it, load ``into`` an object of its class.

    Parameters
    ----------
    into
        An object of the class that was saved, of any width, with any weights:
        ``MyNetwork()``. It is given the sizes and tensors of the file, and
        returned. Its layers are compared with those of the file; what its
        ``forward`` does between them is up to its class. By default a network
        is made of the operations that the file describes, which has the
        layers under their names and no other methods.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, or was not written by :func:`save`; or a layer
        of ``into`` is missing, of another class, has other settings than
        widths, or has parameters that the file lacks, as those of layers that
        run in training only. ``into`` is then left as it was.
    TraceError
        ``into`` must be unwrapped first, as from a ``DataParallel``.

    Examples
    --------
    >>> import tempfile
    >>> from prunekit import rebuild
    >>> from prunekit.models import TinySqueezeNet
    >>> small = rebuild(TinySqueezeNet(), torch.zeros(1, 3, 32, 32), {"features.0": [0, 1]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(small, Path(folder) / "small.safetensors")
    ...     again = load(Path(folder) / "small.safetensors", into=TinySqueezeNet())
    >>> type(again).__name__, again.features[0].out_channels
    ('TinySqueezeNet', 14)
    """
    if into is not None:
        check_module("into", into)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if not path.is_file():
        raise ValueError(f"{path} is no file but a folder or device: name the model file in it")
    with _one_error(f"{path} is damaged or not a safetensors file"), safe_open(path, "pt") as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _DESCRIPTION not in header:
        raise ValueError(f"{path} holds tensors but no prunekit description: use prunekit.save")
    with _one_error(f"{path} cannot be loaded"):
        words = json.loads(header[_DESCRIPTION])
        version = words["prunekit"]
        if version not in (1, VERSION):
            raise ValueError(f"it has format version {version}, this prunekit reads 1 to {VERSION}")
        loaded = build(words, tensors)
        signed = version > 1 or _DIGEST in header
        if signed and header.get(_DIGEST) != digest(header[_DESCRIPTION], tensors):
            raise ValueError("it is damaged, as its digest is that of other contents")
        metadata = words["metadata"]
        if into is None:
            call_layers(loaded)
    module: nn.Module = loaded
    if into is not None:
        with _one_error(f"{path} cannot be loaded into {type(into).__name__}"):
            fill(into, words, loaded)
        module = into.eval()
    module.metadata = metadata
    return module


def digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a description, and of every tensor's name, type, shape and numbers."""
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _check_metadata(metadata: Any) -> None:
    """Refuse what JSON cannot hold, or would bring back as something else."""
    inside = [(metadata, 0)]
    while inside:
        value, depth = inside.pop()
        if depth > DEPTH:
            raise ValueError(f"metadata is nested more than {DEPTH} deep, or holds itself")
        if isinstance(value, dict):
            odd = [key for key in value if not isinstance(key, str)]
            if odd:
                raise TypeError(f"metadata has the key {odd[0]!r}: keys in JSON are strings")
            inside += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, (list, tuple)):
            inside += [(item, depth + 1) for item in value]
    try:
        json.dumps(metadata, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise type(error)(f"metadata must be what JSON can hold: {error}") from error


def _refuse_hooks(model: nn.Module) -> None:
    """Refuse what may change the output and is no operation of the forward pass."""
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            whose = f"module {name!r}" if name else "the model"
            raise ValueError(
                f"{whose} has a forward hook, which is code that no file can hold: call remove() "
                "of what registering it gave, and write what it does into a forward method"
            )


def _check_data(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are no plain arrays of numbers, or of numbers that no file can hold."""
    for name, tensor in tensors.items():
        if tensor.is_meta or tensor.is_quantized or tensor.layout is not torch.strided:
            kind = "without data" if tensor.is_meta else f"{tensor.layout}, {tensor.dtype}"
            raise ValueError(f"the tensor {name!r} is no plain array of numbers ({kind})")
    for dtype in {tensor.dtype for tensor in tensors.values()}:
        try:
            safetensors.torch.save({"": torch.empty(0, dtype=dtype)})
        except KeyError:
            raise ValueError(f"safetensors cannot hold numbers of {dtype}") from None


@contextmanager
def _one_error(said: str, remedy: str = "") -> Iterator[None]:
    """Whatever goes wrong in the block, as one ``ValueError``.

    torch, torch.fx and safetensors refuse what makes no sense to them with
    exceptions of many types, and a file can hold any nonsense.
    """
    try:
        yield
    except TraceError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{said}: {reason[:500]}{remedy}") from error
