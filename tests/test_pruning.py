"""The loop: its table, what ends it, and what it refuses."""

from __future__ import annotations

import copy

import pandas as pd
import pytest
import torch
from loops import FILTERS, assert_same_run, network, quickly
from torch import nn

import prunekit
from prunekit import profile, prune, rebuild, repair
from prunekit.pruning.loop import CHECKPOINT


def test_the_table_tells_what_is_left(noise):
    history = quickly(noise)
    table = history.table
    assert table["iteration"].tolist() == [0, 1, 2, 3]
    assert table["removed"].tolist() == [0, 40, 40, 12]  # the last takes no more than needed
    assert table["filters"].tolist() == [FILTERS, 144, 104, FILTERS // 2]
    assert history.stopped == "ratio"
    cost = profile(history.model, noise[0][0])
    last = table.iloc[-1]
    assert (last["parameters"], last["macs"], last["bytes"]) == (
        cost.parameters,
        cost.macs,
        cost.bytes,
    )
    assert (table["seconds"] > 0).all()
    assert (table["accuracy_before"] == table["accuracy_after"]).all()  # no fine-tuning


def test_the_pattern_counts_filters_by_layer(noise):
    history = quickly(noise)
    assert history.pattern.index.tolist() == [1, 2, 3]
    assert history.pattern.sum(axis=1).tolist() == [40, 40, 12]
    assert history.pattern.columns[0] == "features.0"
    assert "classifier.1" not in history.pattern
    kept = history.model.features[0].out_channels
    assert history.pattern["features.0"].sum() == 16 - kept


def test_the_model_given_is_untouched(noise):
    model = network().train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prune(model, noise, noise, "taylor", 0.2, 40, fine_tune={"epochs": 1}, progress=False)
    assert model.training
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_floor_ends_the_run_with_a_warning(noise):
    with pytest.warns(UserWarning, match="before the 95.0% asked for"):
        history = quickly(noise, ratio=0.95, min_filters=6)
    assert history.stopped == "floor"
    assert history.table["filters"].iloc[-1] == 10 * 6


def test_random_draws_anew_in_each_iteration_and_for_each_seed(noise):
    runs = [quickly(noise, criterion="random", seed=seed) for seed in (0, 0, 1)]
    assert runs[0].removed == runs[1].removed
    assert runs[0].removed != runs[2].removed
    # The first 40 of one draw, then the next 40, would be the lowest 80 of one draw.
    at_once = quickly(noise, criterion="random", per_iteration=80)
    counts = runs[0].pattern.iloc[:2].sum()
    assert counts.tolist() != at_once.pattern.iloc[0].tolist()


@pytest.mark.parametrize("method", ["least_squares", "moments"])
def test_a_repair_in_the_loop_is_the_one_after_each_removal(noise, method):
    kept = []
    options = {"ratio": 0.4, "report": lambda model, rows: kept.append(copy.deepcopy(model))}
    history = quickly(noise, repair=method, **options)
    model = network()
    for removed, after in zip(history.removed, kept[1:], strict=True):
        smaller = rebuild(model, noise[0][0], removed)
        model = repair(smaller, model, removed, noise, method=method, progress=False)
        for key, value in model.state_dict().items():
            torch.testing.assert_close(after.state_dict()[key], value)


def test_a_network_that_measures_slower_than_before_goes_on_with_its_first_criterion(
    noise, monkeypatch
):
    monkeypatch.setattr("prunekit.pruning.iterations.relative_latency", lambda *networks: 1.3)
    options = {"budget": "latency", "ratio": 0.5, "per_iteration": 100}
    with pytest.warns(UserWarning, match="before the 50"):
        history = quickly(noise, criterion=[(0, "weight_l1"), (0.2, "weight_l2")], **options)
    assert set(history.table["criterion"][1:]) == {"weight_l1"}


def test_excluded_layers_stay_whole(noise):
    history = quickly(noise, exclude=["features.2.*"])
    assert history.pattern.filter(like="features.2.").to_numpy().sum() == 0
    assert history.table["filters"].iloc[-1] == FILTERS // 2


def always(label: int, model: nn.Module) -> nn.Module:
    """Make a network give the same answer to every image."""
    nn.init.zeros_(model.classifier[1].weight)
    with torch.no_grad():
        model.classifier[1].bias.copy_(nn.functional.one_hot(torch.tensor(label), 10))
    return model


def test_an_accuracy_drop_ends_the_run_with_the_model_before_it(noise, tmp_path):
    def fine_tune(model, loader):
        always(0 if profile(model, noise[0][0]).layers["filters"].sum() > 120 else 1, model)

    model, zeros = always(0, network()), [(noise[0][0], torch.zeros(10).long())]
    options = {"ratio": 0.9, "per_iteration": 30, "fine_tune": fine_tune, "folder": tmp_path}
    options |= {"max_accuracy_drop": 0.5, "progress": False}
    history = prune(model, noise, zeros, "weight_l1", **options)
    assert history.stopped == "accuracy"
    assert history.table["accuracy_after"].tolist() == [1, 1, 1, 0]
    assert profile(history.model, noise[0][0]).parameters == history.table["parameters"].iloc[-2]
    assert_same_run(prune(model, noise, zeros, "weight_l1", **options), history)


def test_save_writes_the_tables_and_a_model_that_loads(noise, tmp_path):
    history = quickly(noise)
    history.save(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "model.safetensors",
        "pattern.csv",
        "table.csv",
    ]
    loaded = prunekit.load(tmp_path / "run" / "model.safetensors")
    x = noise[0][0]
    assert torch.allclose(loaded(x), history.model.eval()(x), atol=1e-6)
    pattern = pd.read_csv(tmp_path / "run" / "pattern.csv", index_col="iteration")
    pd.testing.assert_frame_equal(pattern, history.pattern)
    table = pd.read_csv(tmp_path / "run" / "table.csv")
    pd.testing.assert_frame_equal(table, history.table)
    text = (tmp_path / "run" / "pattern.csv").read_text("utf-8")
    assert text == history.pattern.to_csv(lineterminator="\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0}, "ratio must be above 0 and below 1, not 0"),
        ({"ratio": 1}, "ratio must be above 0 and below 1, not 1"),
        ({"ratio": float("nan")}, "ratio"),
        ({"per_iteration": 0}, "per_iteration"),
        ({"share_per_iteration": 0.1, "budget": "latency"}, "a share of latency"),
        (
            {"budget": "flops"},
            "budget must be one of filters, parameters, macs, latency, not 'flops'",
        ),
        ({"cost_aware": True}, "cost_aware needs a budget in parameters or macs, not in filters"),
        ({"max_accuracy_drop": 2}, "max_accuracy_drop"),
        ({"repair": "best"}, "repair must be one of least_squares, moments, batch_norm"),
        ({"criterion": "best"}, "no criterion is named 'best'"),
        ({"min_filters": 0}, "min_filters"),
        ({"round_to": 0}, "round_to"),
        ({"exclude": ["stem"]}, "no layer matches 'stem'"),
    ],
)
def test_bad_settings_are_named_and_write_nothing(noise, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        quickly(noise, folder=tmp_path / "run", **options)
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_a_network_that_can_lose_nothing_is_named(noise):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    with pytest.raises(ValueError, match="no filter of Sequential may be removed"):
        prune(model, noise, noise, "weight_l1", progress=False)


def test_no_iteration_takes_more_of_a_layer_than_it_may(noise):
    history = quickly(noise, ratio=0.3, per_layer={"*": 0.2, "features.0": 1})
    assert history.stopped == "ratio"
    layers = prunekit.trace(network(), noise[0][0]).layers
    widths = pd.Series({name: layer.filters for name, layer in layers.items()})
    for _, lost in history.pattern.iterrows():
        assert (lost <= 0.2 * widths[lost.index]).all() and lost["features.0"] <= 1
        widths = widths.sub(lost, fill_value=0)


def test_an_empty_loader_is_named(noise):
    with pytest.raises(ValueError, match="train_loader gave no batch"):
        prune(network(), [], noise)


def test_coupled_filters_are_pruned_in_a_residual_network():
    from networks import Residual, randomise

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        Residual(8, 6, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    batch = torch.randn(8, 3, 12, 12), torch.arange(8) % 4
    history = prune(
        randomise(model), [batch], [batch], "taylor", 0.4, 2, fine_tune=None, progress=False
    )
    # 8 pairs (stem and last) and 6 + 6 filters of their own (first and middle).
    assert history.table["filters"].iloc[0] == 8 + 6 + 6 + 8
    assert history.pattern["0"].tolist() == history.pattern["1.last"].tolist()
    assert history.table["filters"].iloc[-1] <= 0.6 * 28


class Scaled(nn.Sequential):
    """Its first layer has one scale a filter, so its last filter cannot be told from a number."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Conv2d(6, 5, 1))
        self.scale = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x):
        first, second, last = self
        return last(second(first(x) * self.scale)).mean((2, 3))


@pytest.mark.parametrize(
    "limits",
    [{"min_filters": {"0": 1, "1": 1}}, {"min_filters": 1, "per_layer": {"0": 0.9}}],
)
def test_a_layer_with_nothing_left_to_lose_ends_no_run(limits, noise):
    batches = [(x, y % 5) for x, y in noise]
    with pytest.warns(UserWarning, match="no more can be removed"):
        history = prune(
            Scaled(),
            batches,
            batches,
            "weight_l1",
            0.95,
            3,
            fine_tune=None,
            progress=False,
            **limits,
        )
    assert history.stopped == "floor"


def test_a_graph_that_is_at_hand_is_not_traced_again(noise, monkeypatch):
    model, x = network(), noise[0][0]
    graph = prunekit.trace(model, x)
    expected = prunekit.rank(model, noise, "taylor")
    remove = prunekit.select(expected, 30)
    small, masked = prunekit.rebuild(model, x, remove), prunekit.mask(model, x, remove)

    def refused(*args):
        raise AssertionError("traced again")

    monkeypatch.setattr("prunekit.surgery.trace", refused)
    monkeypatch.setattr("prunekit.criteria.ranking.trace", refused)
    for _ in range(2):  # and it is as good as new afterwards
        assert prunekit.rank(model, noise, "taylor", graph=graph).equals(expected)
        again = prunekit.rebuild(model, graph, remove)
        assert torch.equal(again.eval()(x), small.eval()(x))
        assert torch.equal(prunekit.mask(model, graph, remove).eval()(x), masked.eval()(x))
    for function, arguments in (
        (prunekit.rebuild, (small, graph, remove)),
        (prunekit.mask, (nn.Conv2d(3, 4, 3), graph, {})),
    ):
        with pytest.raises(ValueError, match=r"of another network than the model.*trace"):
            function(*arguments)
    with pytest.raises(ValueError, match="of another network than the model"):
        prunekit.rank(small, noise, "weight_l1", graph=graph)


@pytest.mark.parametrize("criterion", ["activation_l2", "combined", "output_l2"])
def test_a_graph_serves_a_copy_that_has_other_weights(criterion, noise):
    convolutions = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)
    traced = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    graph = prunekit.trace(traced, noise[0][0])
    other = copy.deepcopy(traced)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    traced.train()  # its running statistics would change with whatever passes through
    before = {name: tensor.clone() for name, tensor in traced.state_dict().items()}
    expected = prunekit.rank(other, noise, criterion)
    assert prunekit.rank(other, noise, criterion, graph=graph).equals(expected)
    assert not prunekit.rank(traced, noise, criterion).equals(expected)
    assert all(torch.equal(before[name], value) for name, value in traced.state_dict().items())
