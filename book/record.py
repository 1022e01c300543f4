"""Run the experiments behind chapters 04 to 09 and record them under book/results.

    python book/record.py frozen        # ImageNet features held fixed, classifier trained
    python book/record.py fine_tuned    # all layers trained on from ImageNet weights
    python book/record.py scratch       # all layers trained from random weights

Each writes ``model.safetensors``, ``history.csv`` and ``provenance.json``.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from prunekit.data import Loader, load_dataset
from prunekit.models import freeze_features, squeezenet
from prunekit.provenance import current_commit, provenance, write_json
from prunekit.training import evaluate, fit

RESULTS = Path(__file__).parent / "results" / "squeezenet_cifar10"
SEED = 0
INPUT_SIZE = 96
BATCH_SIZE = 128
TRAINING = {
    "frozen": {"epochs": 5, "lr": 0.05, "weight_decay": 5e-4},
    "fine_tuned": {"epochs": 14, "lr": 0.03, "weight_decay": 5e-4},
    "scratch": {"epochs": 14, "lr": 0.03, "weight_decay": 5e-4},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=list(TRAINING))
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    train(options.experiment, options.seed)


def train(name: str, seed: int) -> None:
    start, commit = time.perf_counter(), current_commit()
    dataset = load_dataset("cifar10", stand_in=False)
    torch.manual_seed(seed)
    model = squeezenet(len(dataset.classes), pretrained=name != "scratch")
    if name == "frozen":
        freeze_features(model)
    history = fit(
        model,
        Loader(dataset.train, BATCH_SIZE, size=INPUT_SIZE, shuffle=True, augment=True),
        Loader(dataset.val, 250, size=INPUT_SIZE),
        label_smoothing=0.1,
        **TRAINING[name],
    )
    if history.attrs["interrupted"]:
        sys.exit("interrupted: nothing recorded")
    test = evaluate(model, Loader(dataset.test, 250, size=INPUT_SIZE))
    folder = RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    history.to_csv(folder / "history.csv", index=False)
    record = provenance(
        seed=seed,
        data=dataset.name,
        data_sha256=dataset.fingerprint(),
        command=shlex.join(["python", "book/record.py", name, "--seed", str(seed)]),
        seconds=time.perf_counter() - start,
        commit=commit,
    )
    record |= {
        "settings": TRAINING[name] | {"input_size": INPUT_SIZE, "batch_size": BATCH_SIZE},
        "weights": "random" if name == "scratch" else "ImageNet, SqueezeNet 1.1 (Caffe lineage)",
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
    }
    write_json(record, folder / "provenance.json")
    print(f"{name}: test accuracy {test.accuracy:.4f}")


if __name__ == "__main__":
    main()
