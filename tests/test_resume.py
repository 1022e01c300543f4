"""Pruning runs that are killed, interrupted, or find a folder of another run."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from loops import (
    FILTERS,
    assert_same_run,
    bent_otherwise,
    digits_loaders,
    dropping_more,
    frozen,
    interrupted_at,
    network,
    on_digits,
    quickly,
    striding_less,
    written_before,
)
from torch import nn

import prunekit
from prunekit import prune
from prunekit.criteria import WeightNorm
from prunekit.models import TinySqueezeNet
from prunekit.pruning.loop import CHECKPOINT
from prunekit.training import Interrupted, fit

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits():
    return digits_loaders()


@pytest.fixture(scope="module")
def unbroken(one_thread, digits):
    return on_digits(digits)


def test_the_same_seed_gives_the_same_run_and_another_does_not(unbroken, digits):
    again, other = on_digits(digits), on_digits(digits, seed=4)
    assert_same_run(again, unbroken)
    assert not other.table["accuracy_after"].equals(unbroken.table["accuracy_after"])


def test_a_killed_run_ends_as_an_unbroken_one(unbroken, digits, tmp_path):
    script = "import loops, sys; loops.run_until_killed(sys.argv[1])"
    child = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=Path(__file__).parent)
    assert child.returncode == -signal.SIGKILL
    assert_same_run(on_digits(digits, tmp_path), unbroken)


@dataclass(frozen=True)
class InterruptedOnce:
    """A fine-tuning that Ctrl-C ends in its second call; what it did is noted in a file."""

    notes: Path

    def __call__(self, model, loader):
        with self.notes.open("a") as notes:
            notes.write("called\n")
        if self.calls() == 2:
            raise KeyboardInterrupt

    def calls(self) -> int:
        return len(self.notes.read_text().splitlines())


@pytest.mark.parametrize("learns", [True, False])
def test_biases_that_a_repair_gave_to_layers_without_one_are_read_back(noise, tmp_path, learns):
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, bias=False), nn.ReLU(), nn.Conv2d(16, 16, 3, bias=False)),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )
    model[2].requires_grad_(learns)
    options = {"criterion": "weight_l1", "ratio": 0.5, "per_iteration": 6, "progress": False}
    options |= {"repair": "least_squares", "fine_tune": {"epochs": 1, "lr": 0.1}}
    unbroken = prune(model, noise, noise, **options)
    assert unbroken.model[2].bias.requires_grad == learns

    with pytest.raises(KeyboardInterrupt):
        prune(model, noise, noise, folder=tmp_path, report=interrupted_at(3), **options)
    resumed = prune(model, noise, noise, folder=tmp_path, **options)
    assert resumed.model[2].bias.requires_grad == learns
    assert_same_run(resumed, unbroken)


def test_a_run_interrupted_while_fine_tuning_keeps_the_iterations_before(noise, tmp_path):
    fine_tune, folder = InterruptedOnce(tmp_path / "notes"), tmp_path / "run"
    with pytest.raises(Interrupted, match="in iteration 2") as raised:
        quickly(noise, fine_tune=fine_tune, folder=folder)
    assert raised.value.history.table["filters"].tolist() == [FILTERS, 144]
    assert prunekit.profile(raised.value.history.model, noise[0][0]).layers["filters"].sum() == 154
    history = quickly(noise, fine_tune=fine_tune, folder=folder)
    assert fine_tune.calls() == 4  # one done, one interrupted, two after that
    assert history.table["filters"].tolist() == [FILTERS, 144, 104, FILTERS // 2]
    finished = quickly(noise, fine_tune=fine_tune, folder=folder)
    assert fine_tune.calls() == 4
    assert_same_run(finished, history)


def test_ctrl_c_in_a_function_that_trains_ends_the_run(noise, tmp_path):
    """What is half trained must not be taken for an iteration."""

    class Interrupting(list):
        def __iter__(self):
            yield from super().__iter__()
            raise KeyboardInterrupt

    def fine_tune(model, loader):
        fit(model, Interrupting(loader), epochs=2, progress=False)

    with pytest.raises(KeyboardInterrupt):
        quickly(noise, fine_tune=fine_tune, folder=tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


class Weighed(WeightNorm):
    """A criterion of one's own, which holds a number that its base does not compare."""

    def __init__(self, sign):
        super().__init__(1)
        object.__setattr__(self, "sign", sign)

    def __call__(self, observation):
        return self.sign * super().__call__(observation)


OTHER_BATCH = [(torch.zeros(10, 3, 32, 32), torch.arange(10))]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"criterion": Weighed(1)}, {"criterion": Weighed(-1)}, "criterion"),
        ({"fine_tune": lambda m, d: None}, {"fine_tune": lambda m, d: m.eval()}, "fine_tune"),
        ({}, {"train_loader": OTHER_BATCH}, "train_data"),
        ({}, {"val_loader": OTHER_BATCH}, "val_data"),
    ],
)
def test_what_has_the_same_name_is_told_apart(noise, tmp_path, first, second, message):
    given = {"model": network(), "train_loader": noise, "val_loader": noise, "folder": tmp_path}
    given |= {"criterion": "weight_l1", "ratio": 0.2, "per_iteration": 40, "fine_tune": None}
    given |= {"progress": False} | first
    assert_same_run(prune(**given), prune(**given))
    with pytest.raises(ValueError, match=rf"other settings: {message} \("):
        prune(**given | second)


def test_what_cannot_be_told_apart_is_refused_in_a_folder_only(noise, tmp_path):
    class Hidden:
        __slots__ = ("secret",)

        def __call__(self, model, loader):
            model.eval()

    with pytest.raises(ValueError, match=r"fine_tune holds .*Hidden.*use a plain class"):
        quickly(noise, fine_tune=Hidden(), folder=tmp_path)
    assert quickly(noise, fine_tune=Hidden()).stopped == "ratio"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.6}, r"ratio \(0.5 there, 0.6 here\)"),
        ({"criterion": WeightNorm(1), "seed": 5}, "criterion .*, seed "),
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


class Noisy(list):
    """Batches with noise that NumPy and Python draw."""

    def __iter__(self):
        for x, y in super().__iter__():
            factor = np.random.rand() + random.random()  # noqa: NPY002
            yield x * factor, y

    def fingerprint(self):
        return "noisy"


def test_data_augmented_by_numpy_and_python_are_the_same_after_a_stop(noise, tmp_path):
    options = {
        "train_loader": Noisy(noise),
        "fine_tune": {"epochs": 1, "lr": 0.01},
        "criterion": "taylor",
    }
    unbroken = quickly(noise, **options)
    with pytest.raises(KeyboardInterrupt):
        quickly(noise, folder=tmp_path, report=interrupted_at(2), **options)
    np.random.rand(), random.random()  # noqa: NPY002
    assert_same_run(quickly(noise, folder=tmp_path, **options), unbroken)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        *((dropping_more, "network"), (striding_less, "network"), (bent_otherwise, "network")),
        (frozen, "frozen"),
    ],
)
def test_a_folder_of_a_model_with_the_same_weights_is_refused_and_kept(
    noise, tmp_path, other, named
):
    quickly(noise, folder=tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(ValueError, match=rf"other settings: {named} \("):
        quickly(noise, model=other(network()), folder=tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_folder_from_before_networks_were_described_is_gone_on_with(noise, tmp_path):
    history = quickly(noise, folder=tmp_path)
    written_before(tmp_path / CHECKPOINT, "prunekit-run")
    assert_same_run(quickly(noise, folder=tmp_path), history)


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: data])
def test_a_damaged_file_is_named_and_kept(noise, tmp_path, damage):
    prunekit.save(network(), tmp_path / CHECKPOINT)  # whole, but no pruning run
    path = tmp_path / CHECKPOINT
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"{CHECKPOINT} is damaged, or no pruning run"):
        quickly(noise, folder=tmp_path)
    assert path.read_bytes() == before
