"""Calls that must be refused: what is good in them, and how to see that nothing has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import prunekit
from prunekit import criteria, measure, selection, training, widths
from prunekit.channels.units import units
from prunekit.criteria import twins
from prunekit.data import ImageSet, Views
from prunekit.pruning import budgets, schedule

NAN, INF = float("nan"), float("inf")
X = torch.linspace(-1, 1, 4 * 3 * 8 * 8).view(4, 3, 8, 8)
Y = torch.tensor([0, 1, 2, 0])
BATCHES = [(X, Y)]
COLUMNS = {"layer": list("000033333"), "filter": [*range(4), *range(5)]}
RANKING = pd.DataFrame(COLUMNS | {"score": np.arange(9) / 10, "group": np.arange(1, 10)})
ALIKE = {"0": np.eye(4), "3": np.eye(5)}


def network() -> nn.Module:
    """Two convolutions of 4 and 5 filters, and three classes."""
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 5, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
    )


GRAPH = prunekit.trace(network(), X)
VIEWS = Views(ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1])))


class Segmenting(nn.Module):
    """Three classes at each position."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


class Two(nn.Module):
    """Two outputs, as GoogLeNet has in training; under names, as detectors have."""

    def __init__(self, named: bool = False) -> None:
        super().__init__()
        self.network, self.named = network(), named

    def forward(self, x: Tensor) -> Any:
        scores = self.network(x)
        return {"out": scores, "aux": scores} if self.named else (scores, scores)


#: For each function, arguments that it takes.
GOOD: dict[Callable, dict[str, Any]] = {
    prunekit.trace: {"example_inputs": X},
    prunekit.rebuild: {"example_inputs": X, "remove": {"0": [1]}},
    prunekit.mask: {"example_inputs": X, "remove": {"0": [1]}},
    prunekit.rank: {"loader": BATCHES, "criterion": "taylor"},
    prunekit.rank_all: {"loader": BATCHES, "criteria": ["taylor"]},
    prunekit.select: {"ranking": RANKING, "count": 1},
    selection.removable: {"ranking": RANKING},
    prunekit.profile: {"example_inputs": X},
    prunekit.latency: {"example_inputs": X, "repeats": 1, "warmup": 0},
    prunekit.compare: {"example_inputs": X, "repeats": 1, "warmup": 0},
    measure.latencies: {"example_inputs": X, "repeats": 1, "warmup": 0},
    prunekit.peak_memory: {"example_inputs": X},
    prunekit.prune: {"train_loader": BATCHES, "val_loader": BATCHES, "criterion": "weight_l1"}
    | {"ratio": 0.3, "per_iteration": 1, "fine_tune": None, "progress": False},
    training.fit: {"loader": BATCHES, "progress": False},
    training.evaluate: {"loader": BATCHES},
    training.answers: {"views": VIEWS, "progress": False},
    prunekit.repair: {"remove": {}, "loader": BATCHES, "progress": False},
    prunekit.insert_batch_norm: {"loader": BATCHES},
    prunekit.fold_batch_norm: {},
    units: {"graph": GRAPH},
    widths.layer_entropies: {"graph": GRAPH},
    widths.mean_magnitudes: {"graph": GRAPH},
    widths.select_widths: {"ranking": RANKING, "kept": {"0": 3}, "graph": GRAPH},
    budgets.left_after: {"example_inputs": X, "budget": "macs"},
    budgets.per_saving: {"ranking": RANKING, "example_inputs": X, "budget": "macs"},
    schedule.criterion_at: {"criterion": [(0, "taylor")], "removed": 0.0},
    twins.activation_maps: {"loader": BATCHES, "layer": "0"},
    twins.map_similarities: {"loader": BATCHES},
    twins.nearest: {"similarities": ALIKE},
    twins.closest_pairs: {"similarities": ALIKE, "count": 1},
    twins.twins_left: {"similarities": ALIKE, "ranking": RANKING, "ratios": [0.2], "threshold": 0},
    criteria.normalise: {"scores": torch.ones(3)},
}
WITHOUT_MODEL = (prunekit.select, selection.removable, schedule.criterion_at, criteria.normalise)
WITHOUT_MODEL += (twins.nearest, twins.closest_pairs, twins.twins_left)
WITHOUT_MODEL += (units, widths.select_widths)


def arguments(function: Callable, model: nn.Module, folder: Path) -> dict[str, Any]:
    """Good arguments of a function, on disk where it writes."""
    good = dict(GOOD[function])
    if function is prunekit.compare:
        good["models"] = {"whole": model}
    elif function is measure.latencies:
        good["models"] = [model]
    elif function is prunekit.repair:
        good |= {"pruned": model, "original": model}
    elif function is training.answers:
        good["teacher"] = model
    elif function not in WITHOUT_MODEL:
        good["model"] = model
    if function is prunekit.prune:
        good["folder"] = folder / "run"
    if function is training.fit:
        good["checkpoint"] = folder / "training.safetensors"
    return good


@contextmanager
def unchanged(model: nn.Module, folder: Path) -> Iterator[None]:
    """The model, the files of a folder and the state of torch are afterwards as they were."""
    before = _state(model, folder)
    yield
    for key, value in _state(model, folder).items():
        same = torch.equal if isinstance(value, Tensor) else lambda a, b: a == b
        assert same(value, before[key]), f"{key} has changed"


def _state(model: nn.Module, folder: Path) -> dict[str, Any]:
    tensors = {name: t for name, t in model.state_dict().items() if not t.is_meta}
    tensors = {name: t for name, t in tensors.items() if not nn.parameter.is_lazy(t)}
    state = {f"weights {name}": t.clone() for name, t in tensors.items()}
    return state | {
        "modes": [module.training for module in model.modules()],
        "gradients": [(p.requires_grad, p.grad is None) for p in model.parameters()],
        "hooks": [len(module._forward_hooks) for module in model.modules()],
        "random numbers": torch.get_rng_state(),
        "threads": torch.get_num_threads(),
        "gradients enabled": torch.is_grad_enabled(),
        "files": sorted(folder.rglob("*")),
    }


def refuses(
    function: Callable, bad: dict[str, Any], error: type[Exception], words: str, folder: Path
) -> None:
    """A call with one thing bad ends in this error, with these words, and has changed nothing."""
    torch.manual_seed(0)
    model = bad.get("model")
    model = model if isinstance(model, nn.Module) else network()
    options = arguments(function, model, folder) | bad
    with unchanged(model, folder), pytest.raises(error, match=words):
        function(**options)
