"""The checks of arguments: what they let pass, and whose fault an error is."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from torch import nn

from prunekit import select
from prunekit.checks import checked, file, run, whole


@checked(rounds=whole)
def repeat(word: str, rounds: int = 2) -> str:
    """The same again."""
    return word * rounds


def test_a_checked_function_is_called_and_read_as_it_was_written():
    assert repeat("a") == "aa" and repeat("a", np.int64(3)) == "aaa"
    assert str(inspect.signature(repeat)) == "(word: 'str', rounds: 'int' = 2) -> 'str'"
    assert repeat.__doc__ == "The same again." and repeat.__name__ == "repeat"


@pytest.mark.parametrize(
    ("arguments", "named", "words"),
    [
        ((), {}, "missing 1 required positional argument: 'word'"),
        (("a", 1, 2), {}, "takes from 1 to 2 positional arguments but 3 were given"),
        (("a",), {"times": 2}, "unexpected keyword argument 'times'"),
    ],
)
def test_arguments_too_few_or_too_many_are_told_as_python_tells_them(arguments, named, words):
    with pytest.raises(TypeError, match=rf"repeat\(\) .*{words}"):
        repeat(*arguments, **named)


def test_public_functions_keep_their_arguments():
    assert list(inspect.signature(select).parameters) == [
        "ranking",
        "count",
        "min_filters",
        "exclude",
        "round_to",
        "per_layer",
    ]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, torch.AcceleratorError])
def test_a_machine_that_gives_out_is_not_blamed_on_the_inputs(error):
    class GivesOut(nn.Module):
        def forward(self, x):
            raise error("the machine")

    with pytest.raises(error, match="the machine"):
        run(GivesOut(), (torch.zeros(1),), "example_inputs")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint must be a file, and .* is a folder"):
        file("checkpoint", tmp_path)
