"""A small bundle, for the tests of what happens to bundles, and ways to tamper with it."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import io
import json
import random
import sys
import tarfile
import time
import types
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunekit.deploy import bundle
from prunekit.deploy import manifest as manifests

BOARD = Path(__file__).parents[1] / "prunekit" / "deploy" / "board"


def plain_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(1),
    ).eval()


def some_batch(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def small_bundle(folder: Path) -> Path:
    """A bundle of one small network, for boards with Python."""
    path = folder / "plain.tar.gz"
    x, model = some_batch(), plain_network()
    labels = model(x).argmax(1)
    bundle({"plain": model}, (x, labels), path, calibration=x, classes=list("abcd"), machines=())
    return path


def repacked(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as stored:
        stored.add(folder, "bundle")
    return path


def contents(archive: Path) -> dict[str, bytes]:
    """The files of a bundle by name."""
    with tarfile.open(archive) as stored:
        return {
            member.name.removeprefix("bundle/"): stored.extractfile(member).read()
            for member in stored
            if member.isfile()
        }


def packed(files: dict[str, bytes], path: Path) -> Path:
    """An archive of these files."""
    with tarfile.open(path, "w:gz", compresslevel=1) as stored:
        for name, content in files.items():
            member = tarfile.TarInfo(f"bundle/{name}")
            member.size = len(content)
            stored.addfile(member, io.BytesIO(content))
    return path


def forged(files: dict[str, bytes], manifest: dict, path: Path) -> Path:
    """An archive in which everything agrees: texts and digests are those of a valid manifest."""
    files = files | manifests.texts(manifest)
    listed = {name: files[name] for name in files if name not in ("manifest.json", "SHA256SUMS")}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in listed.items()}
    text = json.dumps(manifest | {"files": digests}).encode()
    sums = manifests.digests(manifest | {"files": digests}, text)
    return packed(files | {"manifest.json": text, "SHA256SUMS": sums}, path)


ODD = (
    *(None, True, False, -1, 0, 1, 2, 10**30, 0.5, -0.5, 1e-300, float("nan"), float("inf"), ""),
    *("../x", "/etc/passwd", "a\nb", "\ud800", "x" * 300, [], {}, [[]], {"": 0}, "0" * 64),
)


def mutated(value: Any, chance: random.Random) -> Any:
    """A copy of some JSON in which one thing is missing, too many, or another."""
    value = copy.deepcopy(value)
    containers: list = []

    def walk(part: Any) -> None:
        if isinstance(part, dict | list) and part:
            containers.append(part)
            for child in part.values() if isinstance(part, dict) else part:
                walk(child)

    walk(value)
    part = chance.choice(containers)
    key = chance.choice(list(part) if isinstance(part, dict) else range(len(part)))
    kind = chance.choice(("odd", "odd", "near", "near", "drop", "add", "swap"))
    if kind == "odd":
        part[key] = chance.choice(ODD)
    elif kind == "near":
        part[key] = _near(part[key], chance)
    elif kind == "drop":
        del part[key]
    elif kind == "add" and isinstance(part, dict):
        part[f"{key}x"] = part[key]
    elif kind == "add":
        part.insert(key, part[key])
    else:
        other = chance.choice(list(part) if isinstance(part, dict) else range(len(part)))
        part[key], part[other] = part[other], part[key]
    return value


def _near(value: Any, chance: random.Random) -> Any:
    """Almost the same: another number, letter, or type."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return chance.choice((value + 1, value - 1, -value, float(value), str(value)))
    if isinstance(value, float):
        return chance.choice((value * 1.01, -value, 0.0, value * 1e30, str(value)))
    if isinstance(value, str) and value:
        place = chance.randrange(len(value))
        return value[:place] + chance.choice(("", "b", "1", "/", " ", "-")) + value[place + 1 :]
    return [value]


def running(process: int) -> bool:
    """Whether a process stays: one that was killed is given time to go."""
    end = time.monotonic() + 5
    try:
        while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            if time.monotonic() > end:
                return True
            time.sleep(0.02)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return False


def script(name: str):
    """A file of the board as a module."""
    spec = importlib.util.spec_from_file_location(name, BOARD / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stand_in_engine(monkeypatch) -> dict[str, list[str]]:
    """The part of RTMaps's interface that a component sees, as public components use it."""
    reports: dict[str, list[str]] = {"info": [], "error": []}

    class Output:
        def __init__(self):
            self.written = []

        def write(self, value, ts=None):
            self.written.append((value, ts))

    class BaseComponent:
        def __init__(self):
            self.inputs, self.outputs, self.properties = {}, {}, {}
            self.policy = None

        def force_reading_policy(self, policy):
            self.policy = policy

        def add_input(self, name, kind):
            self.inputs[name] = types.SimpleNamespace(kind=kind, ioelt=None)

        def add_output(self, name, kind, size=None):
            self.outputs[name] = Output()

        def add_property(self, name, default):
            self.properties[name] = types.SimpleNamespace(data=default)

    modules = {
        "rtmaps": {},
        "rtmaps.core": {
            "report_info": reports["info"].append,
            "report_error": reports["error"].append,
        },
        "rtmaps.types": {
            **{"IPL_IMAGE": 1, "TEXT_ASCII": 2, "FLOAT32": 3, "INTEGER32": 4},
            **{"Ioelt": types.SimpleNamespace, "IplImage": types.SimpleNamespace},
        },
        "rtmaps.reading_policy": {"SAMPLING": 4},
        "rtmaps.base_component": {"BaseComponent": BaseComponent},
    }
    # What another test imported was made for its own stand-in.
    monkeypatch.delitem(sys.modules, "rtmaps_bundled", raising=False)
    for name, content in modules.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    for name in modules:
        if "." in name:
            monkeypatch.setattr(sys.modules["rtmaps"], name.partition(".")[2], sys.modules[name],
                                raising=False)  # fmt: skip
    return reports
