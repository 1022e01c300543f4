"""A setting has one description in every process, and another one where it works differently."""

from __future__ import annotations

import functools
import subprocess
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch
from torch import fx, nn

from prunekit import prune, rank
from prunekit.criteria import FPGM, MapSimilarity, WeightNorm
from prunekit.data import Loader, load_dataset
from prunekit.storage.fingerprints import describe, digest_of_data

FACTOR = 2


def reads_a_global(x):
    return FACTOR * x


def calls_another(x):
    return reads_a_global(x) + 1


def closing_over(value):
    return lambda x: value * x


class Scaled(nn.Linear):
    def __init__(self, scale):
        torch.manual_seed(0)
        super().__init__(2, 2)
        self.scale = scale


class Holder:
    def __init__(self, value):
        self.value = value

    def method(self, x):
        return x


def function_of(source):
    module = types.ModuleType("somewhere")
    exec(source, module.__dict__)
    return module.f


DIFFERENT = {
    "numbers": (0.1, 0.2),
    "nested": ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}),
    "lambdas": (lambda x: x, lambda x: -x),
    "constants in code": (lambda x: x + 1, lambda x: x + 2),
    "sets in code": (lambda x: x in {1, 2}, lambda x: x in {1, 3}),
    "names in code": (lambda x: x.mean(), lambda x: x.sum()),
    "inner functions": (lambda: lambda: 1, lambda: lambda: 2),
    "defaults": (function_of("def f(x, y=1): pass"), function_of("def f(x, y=2): pass")),
    "closures": (closing_over(1), closing_over(2)),
    "globals": (function_of("K = 1\ndef f(): return K"), function_of("K = 2\ndef f(): return K")),
    "functions read": (
        function_of("def g(): return 1\ndef f(): return g()"),
        function_of("def g(): return 2\ndef f(): return g()"),
    ),
    "objects": (Holder(1), Holder(2)),
    "methods": (Holder(1).method, Holder(2).method),
    "criteria": (WeightNorm(1), WeightNorm(2)),
    "classes": (FPGM(), MapSimilarity()),
    "fields": (MapSimilarity(), MapSimilarity(centred=True)),
    "partials": (functools.partial(max, 1), functools.partial(max, 2)),
    "tensors": (torch.tensor([1.0]), torch.tensor([2.0])),
    "arrays": (np.arange(3), np.arange(3.0)),
    "layers": (nn.LeakyReLU(0.1), nn.LeakyReLU(0.2)),
    "attributes of layers": (Scaled(1), Scaled(2)),
    "traced networks": (
        fx.symbolic_trace(nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())),
        fx.symbolic_trace(nn.Sequential(nn.ReLU(), nn.Conv2d(1, 2, 1))),
    ),
}


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_is_described_differently(pair):
    one, other = pair
    assert describe(one, "it") == describe(one, "it")
    assert describe(one, "it") != describe(other, "it")


def test_a_function_that_reads_itself_or_its_class_has_a_description():
    class Child(Holder):
        def __init__(self):
            super().__init__(self)

    def again(n):
        return again(n - 1)

    assert describe(again, "it") == describe(again, "it")
    assert describe(Child(), "it") == describe(Child(), "it")


def test_descriptions_are_the_same_in_another_process():
    """Sets of strings, for one, are in another order there."""
    script = """
import json
from prunekit.storage.fingerprints import describe
class Mine:
    kinds = {"a", "b", "c", "d"}
    def __call__(self, x):
        return x in {"a", "b", "c", "d"} and helper(x)
def helper(x):
    return {"p", "q", "r"}
print(json.dumps(describe(Mine(), "it")))
"""
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_what_cannot_be_told_apart_is_refused_by_name():
    with pytest.raises(ValueError, match=r"fine_tune holds .*Generator.*no folder"):
        describe({"generator": torch.Generator()}, "fine_tune")


class Shuffled(torch.utils.data.Dataset):
    """Six images, augmented by the noise of some generator."""

    def __init__(self, noise, value=0.0):
        self.noise, self.value = noise, value

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.full((1, 2, 2), self.value + index) + self.noise(), index


@pytest.mark.parametrize("noise", [lambda: torch.rand(()).item(), np.random.rand])
def test_data_of_a_shuffled_loader_is_known_again(noise):
    def loader(value):
        return torch.utils.data.DataLoader(Shuffled(noise, value), batch_size=2, shuffle=True)

    state = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first = digest_of_data(loader(0.0), "loader")
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]  # noqa: NPY002
    torch.rand(3)
    assert digest_of_data(loader(0.0), "loader") == first
    assert digest_of_data(loader(1.0), "loader") != first


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, value=0.0):
        self.value = value

    def __iter__(self):
        for index in range(6):
            yield torch.full((3, 8, 8), self.value + index), index


def test_data_of_a_stream_without_a_length_is_known_again():
    def loader(value):
        return torch.utils.data.DataLoader(Stream(value), batch_size=2)

    first = digest_of_data(loader(0.0), "loader")
    assert digest_of_data(loader(0.0), "loader") == first
    assert digest_of_data(loader(1.0), "loader") != first
    assert first["batches"] is None


def test_a_network_is_ranked_and_pruned_on_a_stream_without_a_length(tmp_path):
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(Stream(), batch_size=2)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    as_list = rank(model, list(loader), "taylor", progress=False)
    pd.testing.assert_frame_equal(rank(model, loader, "taylor", progress=False), as_list)
    options = {"per_iteration": 2, "ratio": 0.25, "folder": tmp_path, "progress": False}
    history = prune(model, loader, loader, "taylor", **options)
    assert history.table["filters"].tolist() == [8, 6]
    assert prune(model, loader, loader, "taylor", **options).table.equals(history.table)


def test_data_that_is_never_the_same_is_refused():
    generator = np.random.default_rng()
    loader = torch.utils.data.DataLoader(Shuffled(generator.random), batch_size=2)
    with pytest.raises(ValueError, match=r"loader begins with another batch.*fingerprint\(\)"):
        digest_of_data(loader, "loader")


def test_a_loader_of_ours_tells_its_images_and_how_it_shows_them():
    digits = load_dataset("digits")
    loaders = [
        Loader(digits.val),
        Loader(digits.val[:50]),
        Loader(digits.val, size=16),
        Loader(digits.val, augment=True),
        Loader(digits.val, 64),
        Loader(digits.val, shuffle=True),
    ]
    said = [digest_of_data(loader, "loader") for loader in loaders]
    assert len({str(one) for one in said}) == len(loaders)
    assert digest_of_data(Loader(digits.val), "loader") == said[0]


def test_objects_that_hold_themselves_and_kinds_of_all_sorts_are_described():
    class Settings:
        pass

    one, other = Settings(), Settings()
    one.inner, one.kinds = one, {torch.float16, torch.float32}
    other.inner, other.kinds = other, {torch.float32, torch.float16}
    assert describe(one, "setting") == describe(other, "setting")
    other.kinds = {torch.float32}
    assert describe(one, "setting") != describe(other, "setting")
    assert describe(torch.device("cpu"), "setting") == "cpu"
    assert describe(np.float32(0.5), "setting") == "0.5"
    twice = describe([reads_a_global, reads_a_global], "setting")
    assert twice[0] == twice[1]
