"""Prune a network by name on a folder of pictures, or look at what of it can go.

    python -m prunekit inspect --network torchvision:resnet18
    python -m prunekit prune --network torchvision:resnet18 --data pets --ratio 0.5 \\
        --out small.safetensors --onnx small.onnx

A network is ``torchvision:NAME``, ``timm:NAME`` or a file of prunekit.save;
pictures lie in DIR/train/CLASS and DIR/test/CLASS. A network by name gets as many
outputs as there are classes, and is trained before it is pruned. With --folder, a
run that was stopped goes on from there when it is called again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Any, get_args

import pandas as pd
import torch
from torch import Tensor, nn

import prunekit
from prunekit import checks
from prunekit.channels.units import units
from prunekit.checks.settings import Budget
from prunekit.criteria import CRITERIA
from prunekit.data import Dataset, ImageSet, Loader
from prunekit.data.datasets import load_for
from prunekit.deploy import export_onnx
from prunekit.execution import evaluation_mode
from prunekit.extras import need
from prunekit.models.by_name import is_by_name, named
from prunekit.training import evaluate, fit

SIZE = 224  # pixels, where neither the file of a network nor its user says otherwise
TRAINING = 3  # epochs, where outputs are new
COUNTS = ("filters", "can_go", "parameters", "macs")
COLUMNS = ["layer", "type", "filters", "can_go", "unit", "parameters", "macs"]


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.do(options)
    except (prunekit.PrunekitError, ValueError, ImportError, OSError) as error:
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    prog, text = "python -m prunekit", argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=text)
    commands = parser.add_subparsers(required=True, metavar="command")

    one = commands.add_parser("inspect", help="say what a network's layers cost, and which can go")
    _network(one)
    one.set_defaults(do=_inspect)

    two = commands.add_parser("prune", help="train where needed, prune, write a smaller network")
    _network(two)
    two.add_argument("--data", required=True, metavar="DIR", help="with train/CLASS, test/CLASS")
    two.add_argument("--ratio", type=float, required=True, help="share to remove, as 0.5")
    two.add_argument("--out", type=Path, required=True, metavar="FILE", help="for prunekit.load")
    two.add_argument("--onnx", type=Path, metavar="FILE", help="also write this file")
    two.add_argument("--folder", type=Path, metavar="DIR", help="keep the run here, and go on")
    two.add_argument(
        "--weights",
        default="pretrained",
        help="of a network by name: pretrained (downloaded), none, or a file of its state_dict "
        "for these classes: %(default)s",
    )
    two.add_argument("--criterion", choices=list(CRITERIA), default="combined", help="%(default)s")
    counted = [name for name in get_args(Budget) if name != "latency"]
    two.add_argument("--budget", choices=counted, default="filters", help="%(default)s")
    two.add_argument("--steps", type=int, default=5, help="iterations of pruning: %(default)s")
    two.add_argument("--epochs", type=float, default=1, help="after each iteration: %(default)s")
    two.add_argument(
        "--training", type=float, help=f"epochs before pruning: {TRAINING} where outputs are new"
    )
    two.add_argument("--lr", type=float, default=0.01, help="learning rate: %(default)s")
    two.add_argument("--batch-size", type=int, default=64, help="%(default)s")
    two.add_argument("--no-flip", action="store_true", help="mirrored pictures mean something else")
    two.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    two.add_argument("--seed", type=int, default=0)
    two.set_defaults(do=_prune)
    return parser


def _network(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--network", required=True, help="torchvision:NAME, timm:NAME or FILE.safetensors"
    )
    command.add_argument("--size", type=int, help=f"side of a picture in pixels: {SIZE}")


def _inspect(options: argparse.Namespace) -> None:
    stored = _stored(options.network)
    model = named(options.network, None, "none") if stored is None else stored
    x = torch.zeros(2, 3, *[_size(options, model)] * 2)
    table = layer_table(model, x)
    print(table.to_string(index=False, formatters=dict.fromkeys(COUNTS, "{:,}".format)))
    cost = prunekit.profile(model, x[:1])
    print(
        f"{table['can_go'].sum():,} of {table['filters'].sum():,} filters can go; "
        f"{cost.parameters:,} parameters, {cost.macs:,} MACs at {tuple(x.shape[1:])}"
    )


def layer_table(model: nn.Module, x: Tensor) -> pd.DataFrame:
    """A row for each convolution and linear layer, in order of execution.

    ``can_go`` counts filters that may be removed, ``unit`` names the layer
    with whose filters they go, or the layer itself.
    """
    graph = prunekit.trace(model, x)
    costs = prunekit.profile(model, x[:1]).layers.set_index("layer")
    in_units: dict[str, list[str]] = {name: [] for name in graph.layers}
    for unit in units(graph, "everywhere"):
        for name in unit.layers:
            in_units[name].append(unit.name)
    rows = [
        {
            "layer": name,
            "type": type(model.get_submodule(name)).__name__,
            "filters": layer.filters,
            "can_go": int((layer.groups != 0).sum()),
            "unit": ", ".join(in_units[name]),
            # What runs in training only costs nothing in use.
            "parameters": int(costs["parameters"].get(name, 0)),
            "macs": int(costs["macs"].get(name, 0)),
        }
        for name, layer in graph.layers.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _prune(options: argparse.Namespace) -> None:
    _look_over(options)
    torch.manual_seed(options.seed)
    stored = _stored(options.network)
    size = _size(options, stored)
    data = load_for(options.data, size)
    if data.notice:
        print(data.notice, file=sys.stderr)
    about = _about(stored)
    if isinstance(about.get("classes"), list):
        data = _in_order(data, [str(name) for name in about["classes"]], options.network)
    new = stored is None and options.weights in ("pretrained", "none")
    model = named(options.network, len(data.classes), options.weights) if stored is None else stored
    model.to(options.device)
    about = _about(model)
    shares = {name: about[name] for name in ("mean", "std") if {"mean", "std"} <= about.keys()}
    train, val, test = (
        Loader(images.to(options.device), options.batch_size, size=size, **shares)
        for images in (data.train, data.val, data.test)
    )
    train.shuffle, train.augment, train.flip = True, True, not options.no_flip
    x = next(iter(test))[0][:1]
    _refuse_unfit(options.network, model, x, data)
    epochs = options.training if options.training is not None else TRAINING * new
    if epochs:
        file = options.folder and options.folder / "training.safetensors"
        fit(model, train, epochs=epochs, lr=options.lr, checkpoint=file)
    history = prunekit.prune(
        model,
        train,
        val,
        options.criterion,
        options.ratio,
        share_per_iteration=options.ratio / options.steps,
        budget=options.budget,
        fine_tune={"epochs": options.epochs, "lr": options.lr} if options.epochs else None,
        seed=options.seed,
        folder=options.folder,
    )
    small = history.model.cpu().eval()
    about |= {"network": options.network, "classes": list(data.classes), "size": size}
    prunekit.save(small, options.out, about, example_inputs=x.cpu())
    if options.onnx is not None:
        export_onnx(small, x.cpu(), options.onnx)
    print(history.table.drop(columns="seconds").to_string(index=False, float_format="%.4f"))
    before, after = (evaluate(one, test).accuracy for one in (model, small.to(options.device)))
    print(f"accuracy on the {len(data.test)} test pictures: {before:.4f} before, {after:.4f} after")
    for file in filter(None, (options.out, options.onnx)):
        print(f"{file}: {file.stat().st_size:,} bytes")


def _look_over(options: argparse.Namespace) -> None:
    """What would otherwise show only once the network is trained and pruned."""
    checks.number("--ratio", options.ratio, above=0, below=1)
    for name in ("steps", "batch_size"):
        checks.whole(f"--{name.replace('_', '-')}", getattr(options, name), least=1)
    for name in ("epochs", "training"):
        if getattr(options, name) is not None:
            checks.number(f"--{name}", getattr(options, name), least=0, below=float("inf"))
    checks.number("--lr", options.lr, above=0, below=float("inf"))
    for name, check in (("out", checks.file), ("onnx", checks.file), ("folder", checks.folder)):
        checks.optional(check)(f"--{name}", getattr(options, name))
    if options.onnx is not None:
        for module in ("onnxscript", "onnxruntime"):
            need(module, "deploy")
    try:
        torch.zeros(1, device=options.device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts that it has it
        raise ValueError(f"--device {options.device}: {error}") from error


def _refuse_unfit(spec: str, model: nn.Module, x: Tensor, data: Dataset) -> None:
    """Refuse a network that cannot be traced or stored, or that is not of these classes."""
    prunekit.trace(model, x)
    with evaluation_mode(model), torch.inference_mode():
        output = checks.run(model, (x,), f"pictures of {x.shape[-1]} pixels", who=spec)
    classes = len(data.classes)
    if not isinstance(output, Tensor) or output.shape != (1, classes):
        given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"{spec} gives {given} for one picture, and {classes} scores are needed for the "
            f"classes of {data.name}"
        )
    with tempfile.TemporaryDirectory() as folder:
        prunekit.save(model, Path(folder) / "model.safetensors", example_inputs=x)


def _stored(spec: str) -> nn.Module | None:
    """The network of a file; None if it is one by name."""
    return None if is_by_name(spec) else prunekit.load(spec)


def _size(options: argparse.Namespace, model: nn.Module | None) -> int:
    if options.size is not None:
        return checks.whole("--size", options.size, least=1)
    return _about(model).get("size", SIZE)


def _about(model: nn.Module | None) -> dict[str, Any]:
    """What a network's file, or whoever made it by name, says of it."""
    about = getattr(model, "metadata", None)
    return dict(about) if isinstance(about, dict) else {}


def _in_order(data: Dataset, classes: list[str], spec: str) -> Dataset:
    """A data set whose classes have the numbers of a network's outputs."""
    if sorted(classes) != sorted(data.classes):
        theirs, own = (shorten(", ".join(names), 200) for names in (classes, data.classes))
        raise ValueError(
            f"{spec} says that its outputs are {theirs}; the classes of {data.name} are {own}: "
            "name the folders as its outputs, or save the network with metadata whose classes are "
            "the folders' names in the order of its outputs"
        )
    place = torch.tensor([classes.index(name) for name in data.classes])
    train, val, test = (
        ImageSet(part.images, place[part.labels]) for part in (data.train, data.val, data.test)
    )
    return replace(data, classes=tuple(classes), train=train, val=val, test=test)


if __name__ == "__main__":
    sys.exit(main())
