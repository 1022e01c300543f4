"""Files that are written whole or not at all: to a temporary name, then renamed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from prunekit.execution import device_of

#: Settings that files from before do not hold: what held then, or None where that is not known and
#: they are not compared.
ADDED = {"network": None, "frozen": None, "precision": "mixed"}


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place if the block ends well.

    Folders on the way are made.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp and safetensors make files that only their owner can read.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def detached_copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: safetensors refuses tensors that share memory."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The state dictionary of a model, and behind it the buffers that this leaves out.

    A network computes with buffers that are not persistent as with any other.

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> model.register_buffer("scale", torch.ones(1), persistent=False)
    >>> list(tensors_of(model))
    ['weight', 'bias', 'scale']
    """
    saved = model.state_dict()
    return saved | {name: b for name, b in model.named_buffers() if name not in saved}


def put_back(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a model what :func:`tensors_of` found; older files hold a state dictionary alone."""
    saved, unsaved = model.state_dict().keys(), set()
    owners = dict(model.named_modules())
    for name, tensor in tensors.items():
        owner, _, own = name.rpartition(".")
        buffers = owners[owner]._buffers if owner in owners else {}
        if name in saved or own not in buffers:
            continue
        unsaved.add(name)
        if (buffer := buffers[own]) is None:  # at first, and filled by a forward pass
            buffers[own] = tensor.to(device_of(model))
        else:
            buffer.data = tensor.to(buffer.device)
    model.load_state_dict({name: t for name, t in tensors.items() if name not in unsaved})


def beginning_with(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, under what follows."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def write_tensors(tensors: dict[str, Tensor], path: str | Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file."""
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def read_state(
    path: Path, settings: dict[str, Any], key: str, writer: str
) -> tuple[dict, dict[str, Tensor]]:
    """Record and tensors of a file that :func:`write_tensors` wrote to go on from.

    Parameters
    ----------
    settings
        Those of the process that wants to go on; ``record["settings"]`` must
        be the same, as JSON.
    key
        Under which the metadata holds the record.
    writer
        What writes such files, for messages.

    Raises
    ------
    ValueError
        The file is damaged, or of a process with other settings.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            record = json.loads(stored.metadata()[key])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged, or no {writer} wrote it: {error}") from error
    here = json.loads(json.dumps(settings))
    before = {name: here.get(name) if had is None else had for name, had in ADDED.items()}
    there = before | record["settings"]
    differing = [
        f"{name} ({there.get(name)!r} there, {value!r} here)"
        for name, value in here.items()
        if there.get(name) != value
    ]
    if differing:
        raise ValueError(f"{path} is of a {writer} with other settings: {', '.join(differing)}")
    return record, tensors


def write_json(content: Any, path: str | Path) -> None:
    """Write JSON that a person can read."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a CSV without the index, the same bytes on every system."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
