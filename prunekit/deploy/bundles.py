"""One archive for a board: models, images, expected outputs, runners and instructions."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from string import Template

import numpy as np
import torch
from torch import Tensor, nn

from prunekit.data import IMAGENET_MEAN, IMAGENET_STD, ImageSet, Loader
from prunekit.deploy.engines import executorch_engine, onnx_engine, scores
from prunekit.deploy.export import export_executorch, export_onnx
from prunekit.deploy.toolchain import SOURCES, build_runner, needed_glibc
from prunekit.files import replacing, write_json

FORMAT = 1
ROOT = "bundle"
SCRIPTS = ("run.py", "classifier.py", "video.py", "rtmaps_component.py")
PRECISIONS = {"fp32": None, "int8": "int8"}
#: Largest difference of a score allowed on another machine, where it is not by size of the scores.
TOLERANCE = {"onnx": {"fp32": 1e-4}, "executorch": {"fp32": 1e-4, "int8": 0.0}}
ONNX_INT8_SHARE = 0.05


class BundleError(RuntimeError):
    """An archive is not a bundle, or a file in it is not the one that was written."""


def bundle(
    models: Mapping[str, nn.Module],
    images: tuple[Tensor, Tensor],
    out: str | Path,
    *,
    calibration: Tensor,
    classes: Sequence[str] = (),
    machines: Sequence[str] = ("aarch64",),
) -> dict:
    """Write one archive that holds everything a board needs to run and check some models.

    Each model goes in as float32 and int8, for ONNX Runtime and for
    ExecuTorch. The scores this machine computes for every image go with it,
    so that the board can say whether its own are right.

    Parameters
    ----------
    models
        Networks by name, such as ``{"original": ..., "pruned": ...}``.
    images
        A few normalised images of shape (images, 3, height, width) and their
        labels.
    out
        Name of the archive, a gzipped tar.
    calibration
        Training images for int8, as for :func:`prunekit.deploy.export_onnx`.
    classes
        Names of the classes in the order of the scores.
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
        There are no models or images, or a name would not do for a file.
    ExportError, ToolError
        A model cannot be exported, or a runner cannot be built.
    """
    x, y = images
    if not models or not len(x):
        raise ValueError("a bundle needs at least one model and one image")
    if len(x) != len(y):
        raise ValueError(f"{len(x)} images have {len(y)} labels")
    for name in models:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"use letters, digits, - and _ for a model's name, not {name!r}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / ROOT
        folder.mkdir()
        entries = [
            _write_model(folder, name, precision, model, x, calibration)
            for name, model in models.items()
            for precision in PRECISIONS
        ]
        x.numpy().astype("<f4").tofile(folder / "images.f32")
        write_runners(folder, machines)
        manifest = {
            "format": FORMAT,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machines": list(machines),
            "glibc": {m: ".".join(map(str, needed_glibc(folder / "bin" / m))) for m in machines},
            "classes": list(classes) or [str(i) for i in range(entries[0]["classes"])],
            "shape": [1, *x.shape[1:]],
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "labels": y.tolist(),
            "models": entries,
        }
        (folder / "plan.txt").write_text(plan(manifest), "utf-8")
        (folder / "README.md").write_text(_readme(manifest), "utf-8")
        manifest["files"] = {
            path.relative_to(folder).as_posix(): sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        write_json(manifest, folder / "manifest.json")
        listed = manifest["files"] | {"manifest.json": sha256(folder / "manifest.json")}
        lines = [f"{digest}  {name}\n" for name, digest in listed.items()]
        (folder / "SHA256SUMS").write_text("".join(lines), "utf-8")
        with replacing(out) as temporary, tarfile.open(temporary, "w:gz") as archive:
            archive.add(folder, ROOT)
    return manifest


def unpack(archive: str | Path, folder: str | Path) -> tuple[Path, dict]:
    """Unpack a bundle and check every file against its manifest.

    Returns
    -------
    The bundle's folder and its manifest.

    Raises
    ------
    BundleError
        The archive is damaged or no bundle, or a file was changed, added or
        left out; the message names it.
    """
    try:
        with tarfile.open(archive) as stored:
            _refuse_strangers(stored)
            stored.extraction_filter = getattr(tarfile, "data_filter", None)  # new in 3.11.4
            stored.extractall(folder)
        root = Path(folder) / ROOT
        manifest = json.loads((root / "manifest.json").read_text("utf-8"))
        files = manifest["files"]
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError) as error:
        if isinstance(error, FileNotFoundError) and not Path(archive).is_file():
            raise FileNotFoundError(f"there is no file {archive}") from None
        raise BundleError(f"{archive} is damaged or no bundle: {error}") from error
    if manifest.get("format") != FORMAT:
        raise BundleError(f"{archive} has format {manifest.get('format')}, this reads {FORMAT}")
    changed = [n for n, d in files.items() if not (root / n).is_file() or sha256(root / n) != d]
    if changed:
        raise BundleError(f"{archive}: {', '.join(changed)} changed since the bundle was written")
    return root, manifest


def _refuse_strangers(stored: tarfile.TarFile) -> None:
    """Nothing but files and folders of a bundle, so that none lands outside of it."""
    for member in stored:
        parts = PurePosixPath(member.name).parts
        plain = member.isfile() or member.isdir()
        if not plain or parts[:1] != (ROOT,) or ".." in parts:
            raise tarfile.TarError(f"it holds {member.name}")


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


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_model(
    folder: Path, name: str, precision: str, model: nn.Module, x: Tensor, calibration: Tensor
) -> dict:
    label = f"{name}-{precision}"
    entry = {"name": label, "model": name, "precision": precision}
    exporters: dict[str, tuple[Callable, Callable, str]] = {
        "onnx": (export_onnx, onnx_engine, f"models/{label}.onnx"),
        "executorch": (export_executorch, executorch_engine, f"models/{label}.pte"),
    }
    (folder / "models").mkdir(exist_ok=True)
    (folder / "expected").mkdir(exist_ok=True)
    for engine_name, (export, load, file) in exporters.items():
        quantize = PRECISIONS[precision]
        export(model, x[:1], folder / file, quantize, calibration=calibration if quantize else None)
        expected = scores(load(folder / file), x.numpy())
        target = f"expected/{label}.{engine_name}.f32"
        expected.astype("<f4").tofile(folder / target)
        allowed = TOLERANCE[engine_name].get(precision)
        entry["classes"] = expected.shape[1]
        entry[engine_name] = {
            "file": file,
            "bytes": (folder / file).stat().st_size,
            "expected": target,
            "tolerance": ONNX_INT8_SHARE * float(np.abs(expected).max())
            if allowed is None
            else allowed,
        }
    return entry


def write_runners(folder: Path, machines: Sequence[str]) -> None:
    """Put the board's scripts and the C++ runner for each machine into a bundle's folder."""
    for name in SCRIPTS:
        (folder / name).write_bytes((SOURCES / name).read_bytes())
    for machine in machines:
        built = build_runner(machine)
        for path in built.rglob("*"):
            if path.is_file():
                target = folder / "bin" / machine / path.relative_to(built)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
                target.chmod(0o755)


def plan(manifest: dict) -> str:
    """What the C++ runner reads, a line a fact, so that it needs no JSON parser."""
    lines = [
        f"images images.f32 {' '.join(map(str, manifest['shape']))}",
        f"labels {' '.join(map(str, manifest['labels']))}",
        f"classes {manifest['models'][0]['classes']}",
    ]
    for entry in manifest["models"]:
        one = entry["executorch"]
        lines.append(
            f"model {entry['name']} {entry['precision']} {one['file']} {one['expected']} "
            f"{one['tolerance']:g}"
        )
    return "\n".join(lines) + "\n"


def _readme(manifest: dict) -> str:
    rows = [
        f"| {entry['name']} | {entry['executorch']['bytes']:,} | {entry['onnx']['bytes']:,} |"
        for entry in manifest["models"]
    ]
    native = [
        f"    ./bin/{machine}/runner    # needs glibc {glibc} or newer"
        for machine, glibc in manifest["glibc"].items()
    ]
    return Template((SOURCES / "README.md").read_text("utf-8")).substitute(
        native="\n".join(native) or "    (this bundle holds no runner: use run.py)",
        images=len(manifest["labels"]),
        models="\n".join(rows),
    )
