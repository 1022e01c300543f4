"""An alignment on disk: a file for each candidate, and one that an epoch replaces as it ends."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from prunekit.adversarial.game import Game
from prunekit.selection import Selection
from prunekit.storage.files import (
    beginning_with,
    detached_copies,
    put_back,
    read_state,
    tensors_of,
    write_tensors,
)

KEY = "prunekit-alignment"
Met = tuple[list[dict[str, Any]], list[nn.Module], list[Selection]]


def write(
    folder: Path,
    settings: dict[str, Any],
    game: Game,
    rows: list[dict[str, Any]],
    networks: list[nn.Module],
    removals: list[Selection],
) -> None:
    """Add the last candidate, then replace the state that the next epoch begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {"settings": settings}
    candidate = detached_copies(tensors_of(networks[-1]))
    write_tensors(candidate, _candidate(folder, len(rows)), {KEY: json.dumps(record)})
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for name, network in _networks(game).items():
        tensors |= {f"{name}.{key}": tensor for key, tensor in tensors_of(network).items()}
    for name, optimizer in game.optimizers().items():
        for place, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                of = tensors if isinstance(value, Tensor) else numbers
                of[f"{name}/{place}/{key}"] = value
    record |= {
        "rows": rows,
        "removed": [{"filters": dict(one), "groups": one.groups} for one in removals],
        "steps": game.steps,
        "numbers": numbers,
    }
    write_tensors(detached_copies(tensors), _state(folder), {KEY: json.dumps(record)})


def read(folder: Path, settings: dict[str, Any], game: Game) -> Met:
    """Bring ``game`` to where the folder's run stopped, and give what it had met by then.

    Raises
    ------
    ValueError
        A file is damaged, missing, or of an alignment with other settings.
    """
    if not _state(folder).is_file():
        return [], [], []
    record, tensors = read_state(_state(folder), settings, KEY, "alignment")
    for name, network in _networks(game).items():
        put_back(network, beginning_with(f"{name}.", tensors))
    found: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in game.optimizers()}
    for key, value in (tensors | record["numbers"]).items():
        if key.partition("/")[0] in found:
            name, place, entry = key.split("/")
            found[name].setdefault(int(place), {})[entry] = value
    for name, optimizer in game.optimizers().items():
        optimizer.load_state_dict(optimizer.state_dict() | {"state": found[name]})
    game.steps = record["steps"]
    networks = []
    for epoch in range(1, len(record["rows"]) + 1):
        candidate = copy.deepcopy(game.teacher).eval()
        stored = read_state(_candidate(folder, epoch), settings, KEY, "alignment")[1]
        put_back(candidate, stored)
        networks.append(candidate)
    removals = [Selection(one["filters"], one["groups"]) for one in record["removed"]]
    return record["rows"], networks, removals


def _networks(game: Game) -> dict[str, nn.Module]:
    return {"student": game.student, "masks": game.masks, "discriminator": game.discriminator}


def _candidate(folder: Path, epoch: int) -> Path:
    return folder / f"candidate-{epoch:04}.safetensors"


def _state(folder: Path) -> Path:
    return folder / "alignment.safetensors"
