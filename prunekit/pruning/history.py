"""What a pruning run did, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import nn

from prunekit.pruning.checkpoint import Run
from prunekit.selection import Selection
from prunekit.storage import save
from prunekit.storage.files import replacing


@dataclass
class PruningHistory:
    """What :func:`prune` did.

    Attributes
    ----------
    model : nn.Module
        The pruned network.
    table : DataFrame
        A row an iteration; row 0 is the network before pruning. ``removed``
        counts filters of this iteration; ``filters``, ``parameters``,
        ``macs`` (of one example) and ``bytes`` what is left; ``accuracy_before``
        and ``accuracy_after`` are fractions on the validation set, before
        and after fine-tuning, or in their place the numbers of ``evaluate``,
        the one that decides first; ``seconds`` is the iteration's wall time. A
        budget in latency adds ``latency``, a schedule of criteria adds
        ``criterion``, by which the filters of the iteration were ranked.
    removed : list of Selection
        The filters of each iteration, numbered as they stood at its start.
    pattern : DataFrame
        Filters removed: a row an iteration, a column a layer.
    stopped : str
        Why pruning ended: ``"ratio"`` was reached, ``"floor"``: nothing more
        may be removed, or ``"accuracy"`` fell by more than allowed.
    """

    model: nn.Module
    table: pd.DataFrame
    removed: list[Selection]
    pattern: pd.DataFrame
    stopped: str

    def save(self, folder: str | Path) -> None:
        """Write ``table.csv``, ``pattern.csv`` and ``model.safetensors``, each whole or not."""
        folder = Path(folder)
        with replacing(folder / "table.csv") as temporary:
            self.table.to_csv(temporary, index=False)
        with replacing(folder / "pattern.csv") as temporary:
            self.pattern.to_csv(temporary)
        save(self.model, folder / "model.safetensors")


def history_of(run: Run, layers: list[str]) -> PruningHistory:
    """A run as its caller gets it; ``layers`` are the columns of the pattern."""
    counts = [{name: len(filters) for name, filters in one.items()} for one in run.removed]
    iterations = pd.RangeIndex(1, len(counts) + 1, name="iteration")
    pattern = pd.DataFrame(counts, index=iterations, columns=layers).fillna(0).astype(int)
    table = pd.DataFrame(run.rows)
    return PruningHistory(run.model, table, run.removed, pattern, run.stopped)
