"""The settings of a pruning run, and what they ask of an iteration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd
from torch import nn

from prunekit.checks import number
from prunekit.checks.batches import Batches, Loss
from prunekit.checks.settings import Budget, Cost, Floor, Method, Normalizer, PerLayer
from prunekit.criteria.registry import lookup
from prunekit.pruning.schedule import Criteria, criterion_at, described
from prunekit.storage.fingerprints import describe
from prunekit.training.evaluation import Judge
from prunekit.training.objective import refuse_beside

FineTune = Mapping[str, Any] | Callable[[nn.Module, Batches], None]
#: Budgets whose units have a price in tensors.
PRICED = ("parameters", "macs")


@dataclass(frozen=True)
class Plan:
    """How a run prunes; each setting as for :func:`prunekit.prune`.

    Raises
    ------
    ValueError
        Settings that each may be, but not together, or a criterion that does
        not exist.
    """

    criterion: Criteria
    loss: Loss | None
    evaluate: Judge | None
    ratio: float
    per_iteration: int | None
    share_per_iteration: float | None
    normalize: Normalizer
    repair: Method | None
    fine_tune: FineTune | None
    budget: Budget | Cost
    cost_aware: bool
    min_filters: Floor
    exclude: tuple[str, ...]
    round_to: int | None
    per_layer: PerLayer | None
    rank_batches: int | None
    max_accuracy_drop: float | None
    seed: int

    def __post_init__(self) -> None:
        lookup(criterion_at(self.criterion, 0))
        if self.max_accuracy_drop is not None:  # the numbers of one's own may be no fractions
            most = 1 if self.evaluate is None else math.inf
            number("max_accuracy_drop", self.max_accuracy_drop, least=0, below=most)
        smoothing = self.tuning.get("label_smoothing", 0)
        refuse_beside(self.tuning.get("loss"), self.tuning.get("teacher"), smoothing)
        if self.measured and self.share_per_iteration is not None:
            raise ValueError(
                f"a share of {self.column} an iteration cannot be planned: give a number of groups"
            )
        if self.cost_aware and self.budget not in PRICED:
            raise ValueError(
                f"cost_aware needs a budget in parameters or macs, not in {self.column}: it asks "
                "what each filter saves of it"
            )

    @property
    def column(self) -> str:
        """The column of the table that counts what the budget names."""
        return self.budget if isinstance(self.budget, str) else "cost"

    @property
    def measured(self) -> bool:
        """Whether the budget is known only once a network is there to be measured."""
        return self.budget not in ("filters", *PRICED)

    @property
    def tuning(self) -> dict[str, Any]:
        """The settings of :func:`prunekit.training.fit`, where it fine-tunes."""
        own = self.fine_tune if isinstance(self.fine_tune, Mapping) else {}
        return {"loss": self.loss, "evaluate": self.evaluate} | dict(own)

    @property
    def limits(self) -> dict[str, Any]:
        """What a selection may take, as arguments of :func:`prunekit.select`."""
        return {
            "min_filters": self.min_filters,
            "exclude": list(self.exclude),
            "round_to": self.round_to,
            "per_layer": self.per_layer,
        }

    def limits_of(self, ranking: pd.DataFrame) -> dict[str, Any]:
        """The limits of layers that still have filters to lose, as of one iteration."""
        layers = set(ranking["layer"])

        def here(pattern: str) -> bool:
            return any(fnmatchcase(layer, pattern) for layer in layers)

        def still(limit: Any) -> Any:
            by_name = isinstance(limit, Mapping)
            return {name: n for name, n in limit.items() if here(name)} if by_name else limit

        found = {name: still(limit) for name, limit in self.limits.items()}
        return found | {"exclude": [name for name in self.exclude if here(name)]}

    def most(self, removable: int) -> int:
        """How many groups an iteration may take, of those that can go."""
        return removable if self.per_iteration is None else min(self.per_iteration, removable)

    def goal(self, iteration: int) -> float:
        """The share of the budget that is to be gone after an iteration."""
        if self.share_per_iteration is None:
            return self.ratio
        return min(self.ratio, iteration * self.share_per_iteration)

    def described(self) -> dict[str, Any]:
        """All settings as JSON, the same in every process."""
        return {
            "criterion": described(self.criterion),
            "fine_tune": describe(self.fine_tune, "fine_tune"),
        } | {
            name: describe(value, name)
            for name, value in vars(self).items()
            if name not in ("criterion", "fine_tune")
        }
