"""Bundle, run and count from the command line: ``python -m prunekit.deploy --help``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from prunekit import storage
from prunekit.data.datasets import load_for
from prunekit.deploy.bundles import TargetError, bundle, some_images, unpack
from prunekit.deploy.emulation import CORES, count_instructions
from prunekit.deploy.processes import TIME_LIMIT
from prunekit.deploy.targets import RUNNERS, Settings, run
from prunekit.deploy.toolchain import install_tools
from prunekit.detection import BoxLoader, load_voc, ssd_anchors
from prunekit.errors import PrunekitError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m prunekit.deploy", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    one = commands.add_parser("bundle", help="write one archive for a board")
    one.add_argument("out", type=Path)
    one.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="NAME=FILE",
        help="a file of prunekit.save; give one for each model",
    )
    one.add_argument("--data", default="cifar10", help="dataset or folder of images")
    one.add_argument(
        "--boxes",
        metavar="CLASS,...",
        help="the models are detectors of these classes; --data is in the layout of PASCAL VOC",
    )
    one.add_argument("--size", type=int, default=96, help="side of an image in pixels")
    one.add_argument("--images", type=int, default=20)
    one.add_argument("--calibration", type=int, default=128, help="training images for int8")
    one.add_argument("--machine", action="append", help="default aarch64; also 'none'")
    one.set_defaults(do=_bundle)

    two = commands.add_parser("run", help="run a bundle and print what its runner says")
    two.add_argument("bundle", type=Path)
    two.add_argument("--target", default="local", help="local, emulated or ssh://user@host[:port]")
    two.add_argument("--runner", choices=RUNNERS, default="auto")
    two.add_argument("--cpu", choices=list(CORES), default="cortex-a72", help="core to emulate")
    two.add_argument("--only", help="run this model alone")
    two.add_argument("--threads", type=int, default=1)
    two.add_argument("--repeats", type=int, default=50)
    two.add_argument("--warmup", type=int, default=5)
    two.add_argument("--identity", type=Path, help="key file for ssh")
    two.add_argument("--known-hosts", type=Path, help="known hosts for ssh")
    two.add_argument("--folder", default="/tmp", help="where the board has room")
    two.add_argument("--time-limit", type=float, default=TIME_LIMIT, help="seconds for a step")
    two.set_defaults(do=_run)

    three = commands.add_parser("count", help="count the ARM instructions of one inference")
    three.add_argument("bundle", type=Path)
    three.set_defaults(do=_count)

    four = commands.add_parser("tools", help="install compiler and emulator with apt-get")
    four.set_defaults(do=lambda options: install_tools())

    options = parser.parse_args(arguments)
    try:
        options.do(options)
    except (PrunekitError, ValueError, ImportError, OSError) as error:
        print(f"{parser.prog}: {_one_line(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return 130
    return 0


def _one_line(message: str) -> str:
    """A message without what would move the cursor: some of it are words of a board."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))


def _bundle(options: argparse.Namespace) -> None:
    for name in ("size", "images", "calibration"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} must be at least 1, not {getattr(options, name)}")
    models = {}
    for given in options.model:
        name, equals, file = given.partition("=")
        if not equals:
            raise ValueError(f"--model takes NAME=FILE, not {given!r}")
        models[name] = storage.load(file)
    facts = _pictures(options, models) if options.boxes else _images(options)
    machines = [m for m in options.machine or ["aarch64"] if m != "none"]
    bundle(models, facts.pop("images"), options.out, machines=machines, **facts)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


def _images(options: argparse.Namespace) -> dict[str, Any]:
    """What a bundle of networks that classify is made of."""
    dataset = load_for(options.data, options.size)
    if dataset.notice:
        print(dataset.notice, file=sys.stderr)
    return {
        "images": some_images(dataset.val, options.images, options.size),
        "calibration": some_images(dataset.train, options.calibration, options.size)[0],
        "classes": dataset.classes,
    }


def _pictures(options: argparse.Namespace, models: dict[str, Any]) -> dict[str, Any]:
    """What a bundle of detectors is made of. Their files say which maps they have."""
    without = [name for name, model in models.items() if "maps" not in model.metadata]
    if without:
        raise ValueError(
            f"{', '.join(without)} is no detector whose anchors are known: save it with the "
            "metadata {'maps': model.maps}"
        )
    maps = {tuple(model.metadata["maps"]) for model in models.values()}
    if len(maps) > 1:
        raise ValueError("the detectors have different anchors: make a bundle of each")
    classes = options.boxes.split(",")
    parts = {}
    for part, count in {"val": options.images, "train": options.calibration}.items():
        pictures = load_voc(options.data, part, classes=classes, size=options.size)
        chosen = torch.linspace(0, len(pictures) - 1, min(count, len(pictures))).long()
        parts[part] = next(iter(BoxLoader(pictures[chosen], count)))[0]
    half = (0.5, 0.5, 0.5)  # as BoxLoader normalises
    return {
        "images": (parts["val"], None),
        "calibration": parts["train"],
        "classes": classes,
        "anchors": ssd_anchors(maps.pop()),
        "mean": half,
        "std": half,
    }


def _run(options: argparse.Namespace) -> None:
    settings = Settings(
        options.runner, options.only, options.threads, options.repeats, options.warmup
    )
    result = run(
        options.bundle,
        options.target,
        settings=settings,
        cpu=options.cpu,
        identity=options.identity,
        known_hosts=options.known_hosts,
        folder=options.folder,
        time_limit=options.time_limit,
    )
    print(json.dumps(result, indent=1))
    wrong = [model["name"] for model in result["models"] if not model["correct"]]
    if wrong:
        raise TargetError(f"outputs differ from the expected ones: {', '.join(wrong)}")


def _count(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder, manifest = unpack(options.bundle, scratch)
        for entry in manifest["models"]:
            for cpu in CORES:
                count = count_instructions(folder, entry["name"], cpu)
                print(f"{entry['name']:24} {cpu:12} {count:>14,}")


if __name__ == "__main__":
    sys.exit(main())
