"""What a bundle is made of. Its manifest determines every file: the name, and of most the size."""

from __future__ import annotations

import hashlib
import math
from string import Template

from prunekit.deploy.rules import (
    each,
    exactly,
    items,
    loads,
    mapping,
    number,
    optional,
    printable,
    record,
    short,
    text,
    whole,
)
from prunekit.deploy.toolchain import LIBRARIES, SOURCES

FORMAT = 2
SCRIPTS = (
    *("run.py", "bundled.py", "classifier.py", "detector.py"),
    *("video.py", "rtmaps_bundled.py", "rtmaps_component.py", "rtmaps_detector.py"),
)
PRECISIONS = {"fp32": None, "int8": "int8"}
#: The engines, and how the names of their files end.
ENGINES = {"onnx": "onnx", "executorch": "pte"}
#: What a bundle may hold at most, in bytes where nothing else is said.
MANIFEST_BYTES = 4 << 20
FILE_BYTES = 1 << 30
TOTAL_BYTES = 4 << 30
IMAGES, CLASSES, MODELS, MACHINES, SIDE = 10_000, 100_000, 100, 8, 10_000
ANCHORS, OUTPUTS = 20_000, 10_000_000

NAME = r"\w[\w-]*"
NAME_LENGTH = 40
DIGEST = text(64, "[0-9a-f]{64}")
IN_ENGINE = record(
    file=printable, bytes=whole(1, FILE_BYTES), expected=printable, tolerance=number(0)
)
MANIFEST = record(
    format=exactly(FORMAT),
    created=text(40, r"[0-9T:.+-]+"),
    machines=items(text(32, r"\w+"), 0, MACHINES),
    glibc=mapping(printable, text(16, r"\d+(\.\d+)+"), MACHINES),
    classes=items(printable, 1, CLASSES),
    shape=each(exactly(1), exactly(3), whole(1, SIDE), whole(1, SIDE)),
    mean=items(number(-1e6, 1e6), 3, 3),
    std=items(number(1e-6, 1e6), 3, 3),
    images=whole(1, IMAGES),
    labels=optional(items(whole(0, CLASSES - 1), 1, IMAGES)),
    detector=optional(
        record(
            anchors=items(items(number(-10, 10), 4, 4), 1, ANCHORS),
            scales=items(number(1e-3, 1e3), 4, 4),
            overlap=number(0, 1),
        )
    ),
    models=items(
        record(
            name=text(NAME_LENGTH + 5, NAME),
            model=text(NAME_LENGTH, NAME),
            precision=text(4, "|".join(PRECISIONS)),
            outputs=whole(1, OUTPUTS),
            **dict.fromkeys(ENGINES, IN_ENGINE),
        ),
        1,
        MODELS,
    ),
    files=mapping(printable, DIGEST, 1000),
)


def read(content: bytes) -> dict:
    """The manifest in a file.

    Raises
    ------
    ValueError
        It is none of this format, or contradicts itself; the message says where.
    """
    manifest = loads(content)
    if isinstance(manifest, dict) and manifest.get("format", FORMAT) != FORMAT:
        raise ValueError(f"it has format {short(manifest['format'])}, this reads {FORMAT}")
    check(manifest)
    return manifest


def check(manifest: dict) -> None:
    """Refuse, with a ValueError, a manifest that breaks a rule or contradicts itself."""
    MANIFEST(manifest, "manifest")
    machines, models, labels = manifest["machines"], manifest["models"], manifest["labels"]
    if len(set(machines)) < len(machines) or set(manifest["glibc"]) != set(machines):
        raise ValueError("manifest.machines and manifest.glibc must name the same machines, once")
    if len({entry["name"] for entry in models}) < len(models):
        raise ValueError("manifest.models has a name twice")
    for entry in models:
        name = entry["name"]
        if name != f"{entry['model']}-{entry['precision']}":
            raise ValueError(f"manifest.models: {name} is not the name of model and precision")
        if entry["outputs"] != (wanted := outputs(manifest)):
            raise ValueError(f"{name} gives {entry['outputs']} numbers an image, not {wanted}")
        for engine in ENGINES:
            if (entry[engine]["file"], entry[engine]["expected"]) != paths(name, engine):
                raise ValueError(f"manifest.models: {name} has other files than {name}'s")
    _check_labels(labels, manifest)
    known = sizes(manifest)
    missing, strange = known.keys() - manifest["files"], manifest["files"].keys() - known
    if missing or strange:
        raise ValueError(
            f"manifest.files must list {min(missing)}"
            if missing
            else f"manifest.files lists {min(strange)}, which is no file of a bundle"
        )
    said = {name: size for name, size in known.items() if size is not None}
    largest = max(said, key=said.__getitem__)
    if said[largest] > FILE_BYTES or sum(said.values()) > TOTAL_BYTES:
        raise ValueError(
            f"its files have {sum(said.values()):,} bytes, {largest} {said[largest]:,}: more "
            f"than {TOTAL_BYTES:,} in all or {FILE_BYTES:,} each"
        )


def _check_labels(labels: list[int] | None, manifest: dict) -> None:
    count = len(manifest["classes"])
    if (labels is None) != (manifest["detector"] is not None):
        raise ValueError("a manifest has labels or a detector, and not both")
    if labels is None:
        return
    if len(labels) != manifest["images"]:
        raise ValueError(f"{manifest['images']} images have {len(labels)} labels")
    if max(labels) >= count:
        raise ValueError(f"label {max(labels)} has no name, there are {count} classes")


def outputs(manifest: dict) -> int:
    """Numbers that a model gives for one image: a score a class, or for each anchor of a detector
    a score a class and for the background, and four offsets."""
    classes, detector = len(manifest["classes"]), manifest["detector"]
    return classes if detector is None else len(detector["anchors"]) * (1 + classes + 4)


def paths(name: str, engine: str) -> tuple[str, str]:
    """Where the file of a model for an engine lies, and its expected scores.

    Examples
    --------
    >>> paths("pruned-int8", "executorch")
    ('models/pruned-int8.pte', 'expected/pruned-int8.executorch.f32')
    """
    return f"models/{name}.{ENGINES[engine]}", f"expected/{name}.{engine}.f32"


def sizes(manifest: dict) -> dict[str, int | None]:
    """Every file that a manifest lists, with its bytes; None for the native runners'."""
    images, numbers = manifest["images"], outputs(manifest)
    found: dict[str, int | None] = {n: len(content) for n, content in texts(manifest).items()}
    found["images.f32"] = 4 * images * math.prod(manifest["shape"])
    for entry in manifest["models"]:
        for engine in ENGINES:
            file, expected = paths(entry["name"], engine)
            found |= {file: entry[engine]["bytes"], expected: 4 * images * numbers}
    for machine in manifest["machines"]:
        libraries = (f"lib/lib{name}.so" for name in LIBRARIES)
        found |= {f"bin/{machine}/{part}": None for part in ("runner", *libraries)}
    return found


def texts(manifest: dict) -> dict[str, bytes]:
    """The files that are this library's own, filled in from the manifest where that is needed."""
    scripts = {name: (SOURCES / name).read_bytes() for name in SCRIPTS}
    return scripts | {
        "plan.txt": plan(manifest).encode(),
        "README.md": _readme(manifest).encode(),
    }


def digests(manifest: dict, content: bytes) -> bytes:
    """What ``sha256sum -c`` reads on the board: every file and the manifest's own content."""
    listed = manifest["files"] | {"manifest.json": hashlib.sha256(content).hexdigest()}
    return "".join(f"{digest}  {name}\n" for name, digest in listed.items()).encode()


def plan(manifest: dict) -> str:
    """What the C++ runner reads, a line a fact, so that it needs no JSON parser."""
    lines = [
        f"images images.f32 {' '.join(map(str, manifest['shape']))}",
        f"count {manifest['images']}",
        f"outputs {manifest['models'][0]['outputs']}",
    ]
    if manifest["labels"] is not None:
        lines.append(f"labels {' '.join(map(str, manifest['labels']))}")
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
        images=manifest["images"],
        models="\n".join(rows),
    )
