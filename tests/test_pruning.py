"""The loop: its table, its budgets, and runs that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

import prunekit
from prunekit import profile, prune
from prunekit.criteria import Random
from prunekit.data import Loader, load_dataset
from prunekit.models import TinySqueezeNet
from prunekit.pruning import CHECKPOINT

FILTERS = 184  # of TinySqueezeNet, the classifier's outputs left out


@pytest.fixture(autouse=True)
def one_thread():
    """Sums over several threads may differ in the last bits from run to run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network() -> nn.Module:
    torch.manual_seed(0)
    return TinySqueezeNet()


@pytest.fixture(scope="module")
def noise():
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(10, 3, 32, 32, generator=generator), torch.arange(10))]


def digits_loaders():
    dataset = load_dataset("digits")
    train = Loader(dataset.train[:160], 32, shuffle=True, augment=True, flip=False)
    return train, Loader(dataset.val, 64)


@pytest.fixture(scope="module")
def digits():
    return digits_loaders()


def quickly(noise, **options):
    """Prune by weights, without fine-tuning."""
    settings = {"criterion": "weight_l1", "ratio": 0.5, "per_iteration": 40, "fine_tune": None}
    return prune(network(), noise, noise, **(settings | {"progress": False} | options))


def on_digits(digits, folder=None, **options):
    """Three iterations with fine-tuning: the run that gets killed."""
    settings = {"ratio": 0.6, "per_iteration": 40, "fine_tune": {"epochs": 1, "lr": 0.02}}
    settings |= {"criterion": "combined", "rank_batches": 2, "progress": False, "seed": 3}
    return prune(network(), *digits, folder=folder, **(settings | options))


@pytest.fixture(scope="module")
def unbroken(digits):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    history = on_digits(digits)
    torch.set_num_threads(threads)
    return history


def assert_same_run(history, expected):
    columns = expected.table.columns.drop("seconds")
    pd.testing.assert_frame_equal(history.table[columns], expected.table[columns])
    pd.testing.assert_frame_equal(history.pattern, expected.pattern)
    assert history.removed == expected.removed
    assert history.stopped == expected.stopped
    weights = history.model.state_dict()
    assert weights.keys() == expected.model.state_dict().keys()
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(weights[name], tensor), name


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


def test_the_same_seed_gives_the_same_run_and_another_does_not(unbroken, digits):
    again, other = on_digits(digits), on_digits(digits, seed=4)
    assert_same_run(again, unbroken)
    assert not other.table["accuracy_after"].equals(unbroken.table["accuracy_after"])


def test_a_killed_run_ends_as_an_unbroken_one(unbroken, digits, tmp_path):
    script = "import sys, test_pruning; test_pruning.run_until_killed(sys.argv[1])"
    child = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=Path(__file__).parent)
    assert child.returncode == -signal.SIGKILL
    assert_same_run(on_digits(digits, tmp_path), unbroken)


def run_until_killed(folder):
    """What the child does: it dies while the second iteration is being written."""
    torch.set_num_threads(1)
    write, path = prunekit.runs.write_tensors, Path(folder) / CHECKPOINT

    def write_or_die(tensors, target, metadata):
        if path.is_file():
            path.with_suffix(".part").write_bytes(b"half a file")
            os.kill(os.getpid(), signal.SIGKILL)
        write(tensors, target, metadata)

    prunekit.runs.write_tensors = write_or_die
    on_digits(digits_loaders(), folder)


def test_a_run_interrupted_while_fine_tuning_keeps_the_iterations_before(noise, tmp_path):
    calls = []

    def fine_tune(model, loader):
        calls.append(model)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quickly(noise, fine_tune=fine_tune, folder=tmp_path)
    history = quickly(noise, fine_tune=fine_tune, folder=tmp_path)
    assert len(calls) == 4  # one done, one interrupted, two after that
    assert history.table["filters"].tolist() == [FILTERS, 144, 104, FILTERS // 2]
    finished = quickly(noise, fine_tune=fine_tune, folder=tmp_path)
    assert len(calls) == 4
    assert_same_run(finished, history)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.6}, r"ratio \(0.5 there, 0.6 here\)"),
        ({"criterion": Random(1), "seed": 5}, "criterion .*, seed "),
        ({"fine_tune": {"epochs": 1}}, "fine_tune"),
        ({"exclude": ["features.0"]}, "exclude"),
    ],
)
def test_a_folder_of_other_settings_is_refused_and_kept(noise, tmp_path, options, message):
    quickly(noise, folder=tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(ValueError, match=message):
        quickly(noise, folder=tmp_path, **options)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_folder_of_another_model_is_refused(noise, tmp_path):
    quickly(noise, folder=tmp_path)
    torch.manual_seed(1)
    with pytest.raises(ValueError, match="starting_weights"):
        prune(TinySqueezeNet(), noise, noise, "weight_l1", 0.5, 40, fine_tune=None, folder=tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: data])
def test_a_damaged_file_is_named_and_kept(noise, tmp_path, damage):
    prunekit.save(network(), tmp_path / CHECKPOINT)  # whole, but no pruning run
    path = tmp_path / CHECKPOINT
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"{CHECKPOINT} is damaged, or no pruning run"):
        quickly(noise, folder=tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0}, "ratio must lie between 0 and 1, not 0"),
        ({"ratio": 1}, "ratio must lie between 0 and 1, not 1"),
        ({"ratio": float("nan")}, "ratio"),
        ({"per_iteration": 0}, "per_iteration"),
        ({"per_iteration": 12.5}, "a number of groups, or a share of the budget .* not 12.5"),
        ({"per_iteration": 0.1, "budget": "latency"}, "a share of latency"),
        (
            {"budget": "flops"},
            "budget must be one of filters, parameters, macs, latency, not 'flops'",
        ),
        ({"max_accuracy_drop": 2}, "max_accuracy_drop"),
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
