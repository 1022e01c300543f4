"""One archive for a board: models, images, expected outputs, runners and instructions."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunekit.checks import run
from prunekit.data import IMAGENET_MEAN, IMAGENET_STD, ImageSet, Loader
from prunekit.deploy import manifest as manifests
from prunekit.deploy.archives import MANIFEST, ROOT, SUMS, compare, extract, opened, pack, survey
from prunekit.deploy.engines import executorch_engine, onnx_engine, outputs
from prunekit.deploy.export import export_executorch, export_onnx
from prunekit.deploy.manifest import FORMAT, NAME, NAME_LENGTH, PRECISIONS
from prunekit.deploy.toolchain import build_runner, needed_glibc
from prunekit.detection.boxes import SCALES
from prunekit.detection.suppression import OVERLAP
from prunekit.errors import PrunekitError
from prunekit.execution import evaluation_mode
from prunekit.storage.files import replacing, write_json

#: Largest difference of a number allowed on another machine, as a share of the largest that the
#: network gives or of 1.
TOLERANCE = {
    "onnx": {"fp32": 1e-4, "int8": 0.05},
    "executorch": {"fp32": 1e-4, "int8": 0.0},
}


class BundleError(PrunekitError, RuntimeError):
    """An archive is no bundle of this library's, or cannot be run; the message says why."""


class TargetError(BundleError):
    """The bundle could not be run there; the message says why and what to do."""


def bundle(
    models: Mapping[str, nn.Module],
    images: tuple[Tensor, Tensor | None],
    out: str | Path,
    *,
    calibration: Tensor,
    classes: Sequence[str] = (),
    anchors: Tensor | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    precisions: Sequence[str] = tuple(PRECISIONS),
    machines: Sequence[str] = ("aarch64",),
) -> dict:
    """Write one archive that holds everything a board needs to run and check some models.

    Each model goes in as float32 and int8, or one of them, for ONNX Runtime
    and for ExecuTorch. The scores this machine computes for every image go with it,
    so that the board can say whether its own are right.

    Parameters
    ----------
    models
        Networks by name, such as ``{"original": ..., "pruned": ...}``.
    images
        A few normalised images of shape (images, 3, height, width) and their
        labels; None in place of the labels for a detector.
    out
        Name of the archive, a gzipped tar.
    calibration
        Training images for int8, as for :func:`prunekit.deploy.export_onnx`.
    classes
        Names of the classes in the order of the scores; of a detector without
        the background.
    anchors
        Of a detector, of shape (anchors, 4): its models give what
        :func:`prunekit.detection.detect` takes.
    mean, std
        How the images were normalised: what the board does to its camera's.
    precisions
        ``"fp32"``, ``"int8"`` or both.
    machines
        Architectures, as ``uname -m`` gives them, for which the C++ runner
        is built and put in. Empty: only ``run.py``, which needs Python with
        onnxruntime and numpy on the board.

    Returns
    -------
    The manifest: format, models with their files, sizes, tolerances, and the
    SHA-256 of every file.

    Raises
    ------
    ValueError
        There are no models or images, a name would not do for a file, or
        the bundle would be one that :func:`unpack` refuses.
    ExportError, ToolError
        A model cannot be exported, or a runner cannot be built.
    """
    if not precisions or set(precisions) - set(PRECISIONS):
        raise ValueError(f"precisions must be some of {', '.join(PRECISIONS)}, not {precisions!r}")
    x, y = images
    if not models or not len(x):
        raise ValueError("a bundle needs at least one model and one image")
    if (y is None) != (anchors is not None):
        raise ValueError("a bundle needs the images' labels or, of a detector, its anchors")
    if y is not None and len(x) != len(y):
        raise ValueError(f"{len(x)} images have {len(y)} labels")
    if y is not None and y.min() < 0:
        raise ValueError(f"labels are classes from 0, not {int(y.min())}")
    for name in models:
        if not re.fullmatch(NAME, name) or len(name) > NAME_LENGTH:
            raise ValueError(
                f"use up to {NAME_LENGTH} letters, digits, - and _ for a model's name, and no - "
                f"before the others, not {name!r}"
            )
    classes = _class_names(models, x, classes, anchors)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / ROOT
        folder.mkdir()
        # First: a compiler that is missing shows in seconds, an export takes minutes.
        for machine in machines:
            shutil.copytree(build_runner(machine), folder / "bin" / machine)
        entries = [
            _write_model(folder, name, precision, model, x, calibration)
            for name, model in models.items()
            for precision in dict.fromkeys(precisions)
        ]
        x.numpy().astype("<f4").tofile(folder / "images.f32")
        manifest = {
            "format": FORMAT,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machines": list(machines),
            "glibc": {m: ".".join(map(str, needed_glibc(folder / "bin" / m))) for m in machines},
            "classes": classes,
            "shape": [1, *x.shape[1:]],
            "mean": list(mean),
            "std": list(std),
            "images": len(x),
            "labels": None if y is None else y.tolist(),
            "detector": None if anchors is None else detector_facts(anchors),
            "models": entries,
        }
        for name, content in manifests.texts(manifest).items():
            (folder / name).write_bytes(content)
        manifest["files"] = {
            path.relative_to(folder).as_posix(): _sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        write_json(manifest, folder / MANIFEST)
        (folder / SUMS).write_bytes(manifests.digests(manifest, (folder / MANIFEST).read_bytes()))
        with replacing(out) as temporary:
            pack(folder, temporary)
            with opened(temporary) as file:
                _inspect(file)
    return manifest


def detector_facts(anchors: Tensor) -> dict[str, Any]:
    """What a manifest says of a detector: all that its boxes are made with.

    Parameters
    ----------
    anchors
        Of shape (anchors, 4), in shares of the picture.

    Examples
    --------
    >>> detector_facts(torch.tensor([[0.0, 0.0, 0.5, 1.0]]))
    {'anchors': [[0.0, 0.0, 0.5, 1.0]], 'scales': [10.0, 10.0, 5.0, 5.0], 'overlap': 0.6}
    """
    return {"anchors": anchors.tolist(), "scales": list(SCALES), "overlap": OVERLAP}


def _class_names(
    models: Mapping[str, nn.Module], x: Tensor, classes: Sequence[str], anchors: Tensor | None
) -> list[str]:
    """Names of the classes, by number where none are given; every model is found to suit them."""
    numbers = {}
    for name, model in models.items():
        with evaluation_mode(model), torch.inference_mode():
            given = tree_leaves(run(model, (x[:1].clone(),), "images", who=name))
        numbers[name] = sum(output.numel() for output in given)
    first = next(iter(numbers.values()))
    count = first if anchors is None else first // len(anchors) - 5
    named = list(classes) or [str(number) for number in range(count)]
    wanted = len(named) if anchors is None else len(anchors) * (1 + len(named) + 4)
    for name, found in numbers.items():
        if found != wanted:
            raise ValueError(
                f"{name} gives {found} numbers an image, and these classes "
                f"{'' if anchors is None else 'and anchors '}ask for {wanted}"
            )
    return named


def unpack(archive: str | Path, folder: str | Path) -> tuple[Path, dict]:
    """Unpack a bundle whose every file is the one that its manifest lists.

    Scripts and instructions must be this library's own, to the byte. Files
    that no manifest lists, links, and archives too large to be a bundle are
    refused before anything is written.

    Parameters
    ----------
    folder
        Where the folder ``bundle`` is made. A bundle that was unpacked there
        before is replaced.

    Returns
    -------
    The bundle's folder and its manifest.

    Raises
    ------
    BundleError
        The archive is damaged or no bundle, or a file was changed, added or
        left out, or another version of this library wrote it; the message
        names it.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise FileNotFoundError(f"there is no file {archive}")
    try:
        with opened(archive) as file:
            manifest, content, size = _inspect(file)
            root = folder / ROOT
            if root.exists() and not (root / MANIFEST).is_file():
                raise BundleError(f"{root} is there and no bundle: unpack into another folder")
            folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(folder).free < size:
                raise BundleError(f"{folder} has no room for {size:,} bytes of {archive}")
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                extract(file, manifest, content, Path(scratch) / ROOT)
                if root.exists():
                    root.rename(Path(scratch) / "older")
                (Path(scratch) / ROOT).rename(root)
    except ValueError as error:
        raise BundleError(f"{archive} is damaged or no bundle: {error}") from error
    return root, manifest


def _inspect(file: BinaryIO) -> tuple[dict, bytes, int]:
    """The manifest of an archive, also as it lies there, and the bytes of all its files.

    Everything is compared that can be before anything is written.
    """
    found, content = survey(file)
    manifest = manifests.read(content)
    compare(found, manifest, content)
    other = [
        name
        for name, content in manifests.texts(manifest).items()
        if manifest["files"][name] != hashlib.sha256(content).hexdigest()
    ]
    if other:
        raise ValueError(
            f"{', '.join(other)} is not what prunekit {metadata.version('prunekit')} writes: "
            "bundle again with this version"
        )
    return manifest, content, sum(found.values())


def some_images(images: ImageSet, count: int, size: int) -> tuple[Tensor, Tensor]:
    """So many normalised images, drawn with a fixed seed, and their labels.

    Examples
    --------
    >>> from prunekit.data import load_dataset
    >>> x, y = some_images(load_dataset("digits").train, 4, 32)
    >>> x.shape, y.shape
    (torch.Size([4, 3, 32, 32]), torch.Size([4]))
    """
    generator = torch.Generator().manual_seed(0)
    chosen = images[torch.randperm(len(images), generator=generator)[:count]]
    return next(iter(Loader(chosen, count, size=size)))


def tolerance(engine: str, precision: str, expected: np.ndarray) -> float:
    """How far a number may be off on another machine.

    Examples
    --------
    >>> expected = np.array([0.5, -20.0], np.float32)
    >>> tolerance("executorch", "int8", expected), round(tolerance("onnx", "int8", expected), 6)
    (0.0, 1.0)
    """
    return TOLERANCE[engine][precision] * max(1.0, float(np.abs(expected).max()))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_model(
    folder: Path, name: str, precision: str, model: nn.Module, x: Tensor, calibration: Tensor
) -> dict:
    label = f"{name}-{precision}"
    entry: dict[str, Any] = {"name": label, "model": name, "precision": precision}
    exporters: dict[str, tuple[Callable, Callable]] = {
        "onnx": (export_onnx, onnx_engine),
        "executorch": (export_executorch, executorch_engine),
    }
    (folder / "models").mkdir(exist_ok=True)
    (folder / "expected").mkdir(exist_ok=True)
    for engine_name, (export, load) in exporters.items():
        file, target = manifests.paths(label, engine_name)
        quantize = PRECISIONS[precision]
        export(model, x[:1], folder / file, quantize, calibration=calibration if quantize else None)
        expected = outputs(load(folder / file), x.numpy())
        expected.astype("<f4").tofile(folder / target)
        entry["outputs"] = expected.shape[1]
        entry[engine_name] = {
            "file": file,
            "bytes": (folder / file).stat().st_size,
            "expected": target,
            "tolerance": tolerance(engine_name, precision, expected),
        }
    return entry
