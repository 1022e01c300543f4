"""The registry of criteria: whatever is registered can be ranked by, drawn, and read about."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
import torch
from networks import randomise
from paper import Paper, batches, output_of_class
from torch import Tensor, nn

from prunekit import criteria, rank, rank_all
from prunekit.book.plots.criteria import colour_of, label_of, looks_of
from prunekit.criteria import (
    CRITERIA,
    ActivationL2,
    Combined,
    CombinedRanks,
    Criterion,
    Observation,
    Taylor,
    WeightNorm,
    about,
    overview,
    register,
)
from prunekit.criteria.base import Needs

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


@pytest.fixture
def registry(monkeypatch):
    """A registry that forgets what a test registers."""
    for name in ("CRITERIA", "_ABOUT"):
        known = getattr(criteria.registry, name)
        monkeypatch.setattr(criteria.registry, name, dict(known))
    # Figures have looked the dictionary up already.
    monkeypatch.setattr("prunekit.book.plots.criteria.CRITERIA", criteria.registry.CRITERIA)
    return criteria.registry.CRITERIA


def tiny() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3)),
        *(nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    )
    return randomise(model).eval()


@pytest.mark.parametrize("name", CRITERIA)
def test_all_that_is_registered_can_be_ranked_by_drawn_and_read_about(name):
    label, source = about(name)
    assert label and source
    assert label_of(name) == label
    assert colour_of(name).startswith("#")
    assert set(overview().loc[name, "needs"].split(", ")) <= set(get_args(Needs))
    assert f"`{name}`" in README, "the list of criteria in the README lacks it"
    kind = type(CRITERIA[name]).__name__
    assert getattr(criteria, kind) is type(CRITERIA[name]) and kind in criteria.__all__
    ranking = rank(tiny(), [(torch.randn(4, 3, 8, 8), torch.arange(4) % 3)], name)
    assert ranking["layer"].value_counts().to_dict() == {"0": 5, "3": 4}
    assert ranking["score"].min() < ranking["score"].max()


def test_a_criterion_needs_no_more_than_it_says():
    """One that needs weights or batch norms alone reads one batch, and no label of it."""
    for name, needs in overview()["needs"].items():
        if "gradients" in needs:
            continue
        rank(tiny(), [(torch.randn(2, 3, 8, 8), "no label")], name)


def test_one_is_registered_by_a_decorator(registry):
    @register("largest_value", source="nobody's paper")
    class LargestValue(Criterion):
        needs = "activations"

        def __call__(self, seen: Observation) -> Tensor:
            return seen.activation.amax(dim=2).mean(dim=0)

    ranking = rank(Paper(), batches(2), "largest_value", normalize=False)
    assert ranking["score"].tolist() == [(1 + 1) / 2, (3 + 0) / 2, (2 + 2) / 2]
    assert about("largest_value") == ("largest value", "nobody's paper")
    assert overview().loc["largest_value", "needs"] == "activations"
    looks = looks_of(registry)
    assert sum(look.colour == looks["largest_value"].colour for look in looks.values()) == 1


def test_a_cell_that_is_run_again_registers_again_and_no_name_is_taken_twice(registry):
    def cell(order: int) -> None:
        @register("mine", label=f"mine {order}", order=order)
        class Mine(WeightNorm):
            pass

    cell(1)
    cell(2)
    assert registry["mine"].order == 2 and label_of("mine") == "mine 2"
    with pytest.raises(ValueError, match="a criterion is named 'taylor' already"):
        register("taylor")(WeightNorm)
    assert isinstance(registry["taylor"], Taylor)


def test_what_is_no_criterion_is_not_registered(registry):
    names = list(registry)
    with pytest.raises(
        TypeError, match=r'by a name, @register\("mine"\), not the class WeightNorm'
    ):
        register(WeightNorm)
    with pytest.raises(TypeError, match="with a __call__ of its own"):
        register("idle")(type("Idle", (Criterion,), {}))
    assert list(registry) == names


def test_combined_is_a_criterion_of_two_or_more_others():
    assert isinstance(Combined(), Criterion) and isinstance(CombinedRanks(), Criterion)
    parts = {"activation_l2": ActivationL2(), "taylor": Taylor(), "weight_l1": WeightNorm(1)}
    options = {"loss": output_of_class}
    single = rank_all(Paper(), batches(2), list(parts), **options)
    three = rank(Paper(), batches(2), Combined(tuple(parts.values())), **options)
    columns = pd.concat([ranking["score"] for ranking in single.values()], axis=1)
    assert three["score"].tolist() == pytest.approx(columns.sum(axis=1).tolist())
    ranks = rank(Paper(), batches(2), CombinedRanks(tuple(parts.values())), **options)
    assert ranks["score"].tolist() == [1 + 1 + 1, 2 + 2 + 1, 3 + 3 + 2]


def test_a_part_may_be_combined_itself():
    nested = Combined((CombinedRanks((ActivationL2(), Taylor())), WeightNorm(1)))
    ranking = rank(Paper(), batches(2), nested, loss=output_of_class)
    size = 6**0.5  # of the weights 1, 1 and 2
    assert ranking["score"].tolist() == pytest.approx([2 + 1 / size, 4 + 1 / size, 6 + 2 / size])


def test_a_combination_of_ones_own_says_how():
    class Product(Combined):
        def combine(self, scores):
            return scores[0] * scores[1]

    parts = ActivationL2(), WeightNorm(1)
    first, second = (rank(Paper(), batches(2), part)["score"] for part in parts)
    ranking = rank(Paper(), batches(2), Product(parts))
    assert ranking["score"].tolist() == (first * second).tolist()
    with pytest.raises(TypeError, match=r"each part of a combined one, .* not 'taylor'"):
        rank(Paper(), batches(2), Combined((Combined(("taylor",)), Taylor())))
