"""Networks trained side by side in a ring."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from rings import assert_same, ring_of, states
from torch import nn

from prunekit.grafting import fit_grafted, learning_rates
from prunekit.grafting import training as grafted_training
from prunekit.models import ResNet
from prunekit.training import Interrupted
from prunekit.training.optimisation import falling


def test_learning_rates_on_paper():
    assert learning_rates(2) == pytest.approx([0.05, 0.1])
    assert learning_rates(4, 1.0) == pytest.approx(
        [(1 + math.cos(math.pi * (4 - i) / 4)) / 2 for i in (1, 2, 3, 4)]
    )


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(32) % 4
    x = torch.randn(32, 3, 16, 16, generator=generator) + 2 * y.view(-1, 1, 1, 1)
    return [(x[:16], y[:16]), (x[16:], y[16:])]


def network() -> nn.Module:
    return ResNet(blocks=1)


def without_learning_filters() -> nn.Module:
    model = network()
    model.conv1.requires_grad_(False)
    return model


def trained(
    batches, count: int = 2, make=network, **options
) -> tuple[list[nn.Module], pd.DataFrame]:
    models = ring_of(count, make)
    defaults = {"epochs": 3, "lr": 0.05, "calibration": 32, "progress": False}
    return models, fit_grafted(models, batches, batches, **defaults | options)


def test_a_ring_learns(batches):
    _, table = trained(batches, epochs=12, lr=0.1)
    assert table["val_accuracy"].iloc[-2:].min() > 0.7
    assert table["network"].tolist() == [0, 1] * 12 and table["epoch"].iloc[-1] == 12
    assert table["lr"].iloc[:2].tolist() == pytest.approx([0.05, 0.1])


def test_one_network_alone_is_trained_by_itself(batches):
    plain, table = trained(batches, 1)
    others = [trained(batches, 1, mode=mode)[0][0] for mode in ("conv_only", "separate")]
    for other in others:
        assert_same([other], states(plain))
    assert len(table) == 3 and table["lr"].iloc[0] == 0.05


def test_steps_and_cosine():
    assert [round(falling("steps", epoch / 200), 6) for epoch in (0, 59, 60, 119, 120, 180)] == [
        *(1, 1, 0.1, 0.1, 0.01, 0.001),
    ]
    assert [falling("cosine", done) for done in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])


def test_statistics_are_those_of_the_mixed_network(batches):
    (model, _), _ = trained(batches, epochs=1, calibration=32)
    (mixed, _), _ = trained(batches, epochs=1, calibration=0)
    assert torch.equal(model.conv1.weight, mixed.conv1.weight)
    with torch.inference_mode():
        maps = model.conv1(torch.cat([x for x, _ in batches]))
    torch.testing.assert_close(model.bn1.running_mean, maps.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(mixed.bn1.running_mean, maps.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)


def test_a_run_that_was_stopped_goes_on(batches, tmp_path, monkeypatch):
    models, table = trained(batches)
    stopping = iter([False] * 3 + [True])
    real = grafted_training.fit

    def fit(*args, **options):
        if next(stopping):
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(grafted_training, "fit", fit)
    with pytest.raises(Interrupted, match="in epoch 2") as stopped:
        trained(batches, folder=tmp_path)
    assert stopped.value.history["epoch"].tolist() == [1, 1]
    monkeypatch.undo()
    resumed, again = trained(batches, folder=tmp_path)
    assert_same(resumed, states(models))
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), table.drop(columns="seconds"))
    with pytest.raises(ValueError, match="of a grafted training with other settings: mode"):
        trained(batches, folder=tmp_path, mode="follow")
    with pytest.raises(ValueError, match=r"other settings: frozen \(\[\[\], \[\]\] there"):
        trained(batches, folder=tmp_path, make=without_learning_filters)


def test_each_network_has_its_own_order(batches):
    seen: list[list[int]] = []

    class Shuffled(list):
        def __iter__(self):
            order = torch.randperm(8).tolist()
            seen.append(order)
            return super().__iter__()

    models = ring_of(2, lambda: ResNet(blocks=1))
    options = {"epochs": 1, "calibration": 0, "lr": 0.01, "progress": False}
    fit_grafted(models, Shuffled(batches), **options)
    first, second = seen[-2:]
    assert first != second
    fit_grafted(models, Shuffled(batches), same_order=True, **options)
    assert seen[-1] == seen[-2]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0.5}, TypeError, "epochs must be a whole number"),
        ({"schedule": "one_cycle"}, ValueError, "schedule must be one of cosine, steps"),
        ({"calibration": -1}, ValueError, "calibration must be at least 0"),
        ({"training": {"lr": 1}}, TypeError, "training has no setting 'lr'; there are momentum"),
        ({"training": {"momentum": 2}}, ValueError, "training: momentum must be at least 0 and"),
        ({"training": None}, TypeError, "training must be a dictionary of settings of fit"),
        ({"mode": "all"}, ValueError, "mode must be one of conv_only"),
        ({"same_order": 1}, TypeError, "same_order must be True or False"),
    ],
)
def test_trainings_that_are_refused(batches, options, error, message):
    models = ring_of(2)
    before = states(models)
    with pytest.raises(error, match=message):
        fit_grafted(models, batches, progress=False, **options)
    assert_same(models, before)
