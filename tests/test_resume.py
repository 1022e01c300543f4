"""Pruning runs that are killed, interrupted, or find a folder of another run."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loops import FILTERS, assert_same_run, digits_loaders, network, on_digits, quickly

import prunekit
from prunekit import prune
from prunekit.criteria import WeightNorm
from prunekit.models import TinySqueezeNet
from prunekit.pruning import CHECKPOINT


@pytest.fixture(autouse=True)
def one_thread():
    """Sums over several threads may differ in the last bits from run to run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits():
    return digits_loaders()


@pytest.fixture(scope="module")
def unbroken(digits):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    history = on_digits(digits)
    torch.set_num_threads(threads)
    return history


def test_the_same_seed_gives_the_same_run_and_another_does_not(unbroken, digits):
    again, other = on_digits(digits), on_digits(digits, seed=4)
    assert_same_run(again, unbroken)
    assert not other.table["accuracy_after"].equals(unbroken.table["accuracy_after"])


def test_a_killed_run_ends_as_an_unbroken_one(unbroken, digits, tmp_path):
    script = "import loops, sys; loops.run_until_killed(sys.argv[1])"
    child = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=Path(__file__).parent)
    assert child.returncode == -signal.SIGKILL
    assert_same_run(on_digits(digits, tmp_path), unbroken)


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


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: data])
def test_a_damaged_file_is_named_and_kept(noise, tmp_path, damage):
    prunekit.save(network(), tmp_path / CHECKPOINT)  # whole, but no pruning run
    path = tmp_path / CHECKPOINT
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"{CHECKPOINT} is damaged, or no pruning run"):
        quickly(noise, folder=tmp_path)
    assert path.read_bytes() == before
