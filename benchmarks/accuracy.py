"""Accuracy at equal MACs after equal fine-tuning, against torch-pruning.

Both libraries begin with the same trained network and remove filters in the same number of
rounds, each round down to the same MACs, with the same fine-tuning by the same code between
rounds and at the end. They differ in what they remove. The ResNets lose filters inside their blocks
only (see ``networks.STAY``). Criteria are compared on validation; the test set is looked at once a
run.

Resumes: a run whose row stands in the table already is passed over.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice, product

import pandas as pd
import torch
import torch.nn.functional as F
from common import RESULTS, current_commit, in_process, record, show, versions
from networks import staying
from torch import nn
from torch_pruning import importance, pruner

from prunekit import load, profile, prune, trace
from prunekit.book import BOOK
from prunekit.data import Loader, load_dataset
from prunekit.models import CIFAR_MODELS, squeezenet
from prunekit.storage.provenance import machine
from prunekit.training import evaluate, fit


@dataclass(frozen=True)
class Setting:
    """What both libraries are given. ``start`` is a network recorded under book/results."""

    start: str
    pixels: int
    lr: float
    macs_left: float = 0.5
    rounds: int = 5
    epochs_each: float = 0.2
    epochs_last: float = 1.0
    batch: int = 128
    rank_batches: int = 8


SETTINGS = {
    "squeezenet": Setting("base_48px/base_48px-seed0", 48, lr=0.008),
    "resnet20": Setting("resnet20/resnet20-seed0", 32, 0.02, epochs_each=0.1, epochs_last=0.5),
    "resnet56": Setting("resnet56/resnet56-seed0", 32, 0.02, epochs_each=0.1, epochs_last=0.5),
}
SEEDS = range(3)
# What follows the name of a criterion of ours: how its scores are used.
HOW = {
    "": {},
    "per MAC": {"cost_aware": True},
    "by mean": {"normalize": "mean"},  # as torch-pruning does, so for the criteria of both
}
OURS = [f"{name} {how}".strip() for name in ("weight_l1", "taylor") for how in HOW]
OURS += ["combined", "combined per MAC"]
# Its Taylor criterion is of weights, ours of activation maps.
THEIRS = {
    "weight_l1": partial(importance.GroupMagnitudeImportance, p=1),
    "taylor": importance.GroupTaylorImportance,
    "lamp": importance.LAMPImportance,
}
RUNS = [("prunekit", name) for name in OURS] + [("torch-pruning", name) for name in THEIRS]
KEY = ["model", "library", "criterion", "seed"]
ALL_FILTERS = 10**6


def case(name: str, library: str, criterion: str, seed: int) -> dict[str, object]:
    setting = SETTINGS[name]
    torch.set_num_threads(1)
    data = load_dataset("cifar10", stand_in=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loader = partial(Loader, size=setting.pixels)
    train = loader(data.train.to(device), setting.batch, shuffle=True, augment=True)
    val, test = loader(data.val.to(device), 250), loader(data.test.to(device), 250)
    # As its class makes it: torch-pruning stumbles over the graph module that load returns.
    model = ({"squeezenet": squeezenet} | CIFAR_MODELS)[name](len(data.classes))
    trained = load(BOOK / "results" / setting.start / "model.safetensors")
    model.load_state_dict(trained.state_dict())
    model.to(device)
    x = torch.zeros(1, 3, setting.pixels, setting.pixels, device=device)
    whole = profile(model, x).macs
    stay = staying(name, trace(model, x))
    remove = by_prunekit if library == "prunekit" else by_torch_pruning
    for done in range(1, setting.rounds + 1):
        share = 1 - (1 - setting.macs_left) * done / setting.rounds
        of_round = 100 * seed + done
        torch.manual_seed(of_round)
        model = remove(model, train, criterion, share * whole, setting.rank_batches, stay)
        torch.manual_seed(of_round)  # prune has a seed of its own
        last = done == setting.rounds
        epochs = setting.epochs_last if last else setting.epochs_each
        fit(model, train, epochs=epochs, lr=setting.lr, label_smoothing=0.1, progress=False)
    cost = profile(model, x)
    return {
        "macs_left": cost.macs / whole,
        "parameters": cost.parameters,
        "val_accuracy": evaluate(model, val).accuracy,
        "test_accuracy": evaluate(model, test).accuracy,
    }


def by_prunekit(
    model: nn.Module, train: Loader, criterion: str, macs: float, batches: int, stay: list[str]
) -> nn.Module:
    images = list(islice(train, 1))  # prune wants to measure on something
    ratio = 1 - macs / profile(model, images[0][0][:1]).macs
    name, _, how = criterion.partition(" ")
    return prune(
        model,
        train,
        images,
        name,
        ratio,
        ALL_FILTERS,
        budget="macs",
        **HOW[how],
        exclude=stay,
        fine_tune=None,
        rank_batches=batches,
        seed=torch.initial_seed(),
        progress=False,
    ).model


def by_torch_pruning(
    model: nn.Module, train: Loader, criterion: str, macs: float, batches: int, stay: list[str]
) -> nn.Module:
    """In small steps over all layers, as its own examples go towards a number of MACs."""
    x = next(iter(train))[0][:1]
    model.eval()
    model.zero_grad()
    if criterion == "taylor":
        for images, labels in islice(train, batches):
            F.cross_entropy(model(images), labels).backward()
    graph = trace(model, x)
    by_steps = pruner.BasePruner(
        model,
        x,
        importance=THEIRS[criterion](),
        global_pruning=True,
        pruning_ratio=0.95,
        max_pruning_ratio=0.9,
        iterative_steps=400,
        ignored_layers=[
            model.get_submodule(name)
            for name in graph.layers
            if name not in graph.prunable or name in stay
        ],
    )
    while profile(model, x).macs > macs:
        by_steps.step()
    model.zero_grad()
    return model


def run(key: tuple[str, str, str, int]) -> dict[str, object]:
    done = in_process(__file__, "--case", *map(str, key), timeout=3 * 3600)
    if "error" in done:
        raise RuntimeError(f"{' '.join(map(str, key))}: {done['error']}")
    return dict(zip(KEY, key, strict=True)) | done


def finished(settings: dict[str, object]) -> list[dict[str, object]]:
    """The rows recorded so far; other settings are an error."""
    path = RESULTS / "accuracy.csv"
    if not path.is_file():
        return []
    recorded = json.loads(path.with_suffix(".json").read_text("utf-8"))["settings"]
    if differing := [name for name in recorded if recorded[name] != settings.get(name)]:
        raise SystemExit(
            f"{path} was recorded with other settings for {', '.join(differing)}: move it away"
        )
    return pd.read_csv(path).to_dict("records")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["squeezenet"], help=f"of {list(SETTINGS)}")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        name, library, criterion, seed = options.case
        print(json.dumps(case(name, library, criterion, int(seed))))
        return
    commit, at = current_commit(), machine()
    processor = at["accelerator"] or f"{at['processor']} ({at['instruction_set']})"
    by = {"processor": processor, "torch": versions()["torch"], "commit": commit}
    settings = {name: asdict(setting) for name, setting in SETTINGS.items()}
    rows = finished(settings)
    done = {tuple(row[name] for name in KEY) for row in rows}
    wanted = [(name, *of, seed) for name, seed, of in product(options.models, SEEDS, RUNS)]
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(run, [key for key in wanted if key not in done]):
            rows.append(row | by)
            record(rows, "accuracy", commit, **settings)
    show(rows)


if __name__ == "__main__":
    main()
