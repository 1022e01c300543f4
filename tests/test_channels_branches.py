"""Forward passes that ask sizes: what the answer depends on stays, and other sizes are noticed."""

import math

import pytest
import torch
import torch.nn.functional as F
from networks import Between
from test_channels_sizes import X, check
from torch import nn

import prunekit
from prunekit.channels.capture import capture, meta_copy


def padded_to_even(x):
    """As attention over windows does it."""
    height, width = x.shape[-2:]
    if height % 4 or width % 4:
        x = F.pad(x, (0, -width % 4, 0, -height % 4))
    return x[:, :, :height, :width]


def square(x):
    """From tokens back to maps: the side is worked out."""
    tokens = x.flatten(2).transpose(1, 2)
    side = int(math.sqrt(tokens.size(1)))
    return tokens.transpose(1, 2).reshape(x.shape[0], -1, side, side)


def each_row(x):
    return torch.cat([x[:, :, row : row + 1] * (row + 1) for row in range(x.shape[2])], 2)


BRANCHES = {
    "a remainder": padded_to_even,
    "an integer of a root": square,
    "a loop": each_row,
    "a number of dimensions": lambda x: x if len(x.shape) == 4 and x.ndim == 4 else x.unsqueeze(0),
    "a batch": lambda x: torch.stack([one * 2 for one in x]) if len(x) > 1 else x,
    "shapes compared": lambda x: x if x.shape[2:] == x.relu().shape[2:] else x * 2,
    "a comparison of sizes": lambda x: x.mean((2, 3), keepdim=True) if x.shape[2] > 6 else x,
    "sizes in a loop": lambda x: F.interpolate(x, size=[2 * int(s) for s in x.shape[2:]])[
        ..., :6, :6
    ],
    "the largest size": lambda x: F.pad(x, (0, max(x.shape[2], 8) - x.shape[2]))[..., :6],
    "zeros of these sizes": lambda x: x + torch.zeros(x.shape[2], x.shape[3], device=x.device),
    "where it is": lambda x: x if x.device.type == "cpu" else x * 2,
    "a size as a float": lambda x: x * float(x.shape[2]) ** -0.5,
}
HELD = {
    "channels compared": lambda x: x if x.shape[1] == 8 else x * 2,
    "channels as a number": lambda x: x * int(x.shape[1]),
    "channels as a float": lambda x: x * float(x.shape[1]),
    "a loop over channels": lambda x: sum(x[:, c : c + 1] for c in range(x.shape[1])) + x,
    "channels in turn": lambda x: torch.stack([one.relu() for one in x.unbind(1)], 1),
    "the batch of a transpose": lambda x: x * len(x.transpose(0, 1)),
    "a shape compared": lambda x: x if x.shape == (2, 8, 6, 6) else x * 2,
}


@pytest.mark.parametrize("kind", BRANCHES)
def test_sizes_of_pictures_are_known(kind):
    check(Between(BRANCHES[kind]), X, {"first": 8, "second": 6})


@pytest.mark.parametrize("kind", HELD)
def test_channels_stay_where_their_number_decides(kind):
    check(Between(HELD[kind]), X, {"second": 6})


def test_the_small_network_takes_other_pictures():
    model = Between(padded_to_even).double().eval()
    small, masked = (f(model, X, {"first": [1, 2]}) for f in (prunekit.rebuild, prunekit.mask))
    for shape in ((1, 3, 6, 6), (3, 3, 8, 8), (2, 3, 5, 9)):
        x = torch.randn(shape, dtype=torch.double)
        torch.testing.assert_close(small(x), masked(x))


def test_the_graph_takes_other_batches_and_refuses_pictures_that_branch_otherwise():
    model = Between(padded_to_even).double().eval()
    module = prunekit.trace(model, X).bound_to(model)
    for shape in ((5, 3, 6, 6), (2, 3, 10, 10)):
        x = torch.randn(shape, dtype=torch.double)
        torch.testing.assert_close(module(x), model(x))
    with pytest.raises(
        AssertionError, match=r"other sizes than the example inputs.*trace the model"
    ):
        module(torch.randn(2, 3, 8, 8, dtype=torch.double))


def test_ranking_works_where_the_code_branches_on_sizes():
    model = Between(padded_to_even).double().eval()
    batches = [
        (torch.randn(n, 3, 6, 6, dtype=torch.double), torch.zeros(n, 6, 6).long()) for n in (4, 3)
    ]
    assert set(prunekit.rank(model, batches, "taylor")["layer"]) == {"first", "second"}


def test_a_branch_on_values_is_still_refused():
    model = Between(lambda x: x if x.max() > 0 else -x).double()
    with pytest.raises(prunekit.TraceError, match=r"cannot be traced at .*test_channels_branches"):
        prunekit.trace(model, X)


def test_what_the_forward_pass_notes_leaves_no_trace():
    class Cached(nn.Module):
        def __init__(self):
            super().__init__()
            self.cache, self.conv = {}, nn.Conv2d(3, 8, 1)
            self.scale = nn.Parameter(torch.ones(8, 1, 1))

        def forward(self, x):
            if "scale" not in self.cache:
                self.cache["scale"] = self.scale * 2
            self.last = self.conv(x) * self.cache["scale"]
            return self.last.mean(1)

    copy = meta_copy(Cached().double())
    capture(copy, (X.to("meta"),))
    assert copy.cache == {} and not hasattr(copy, "last")


def test_a_method_chosen_when_made_is_traced():
    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 1)
            self.forward = self.twice

        def twice(self, x):
            return 2 * self.conv(x)

    check(nn.Sequential(Chosen(), nn.Conv2d(8, 2, 1)), X, {"0.conv": 8})


def test_too_few_inputs_are_named():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(prunekit.TraceError, match="forward takes 'y' too"):
        prunekit.trace(Two(), X)


def test_what_code_says_of_sizes_that_it_refuses_names_them():
    class OfOneSize(nn.Module):
        def forward(self, x):
            height = x.shape[2]
            torch._assert(height == 32, f"wrong height: expected 32, got {height}")
            return x

    with pytest.raises(prunekit.TraceError, match=f"expected 32, got {X.shape[2]}"):
        prunekit.trace(OfOneSize(), X)
