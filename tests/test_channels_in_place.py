"""What a forward pass writes over, it writes over in the graph: under every name and in every view.

Each form stands beside the same network written out of place, by which the graph is judged.
"""

from __future__ import annotations

import pytest
import torch
from networks import some_of_every_layer
from torch import nn

import prunekit


class Steps(nn.Module):
    """Something between two convolutions, which may call a third of as many filters."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.first, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.second, self.last = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(6, 4, 1)

    def forward(self, x):
        y = self.inner(torch.tanh(self.first(x)))
        return self.last(torch.tanh(self.second(self.steps(self, y)))).mean((2, 3))


def ring(y):
    """One inside, zero at the border."""
    return torch.nn.functional.pad(torch.ones_like(y)[:, :, 2:-2, 2:-2], (2, 2, 2, 2))


def centred_with_skip(net, y):
    skip = y
    y -= y.mean((2, 3), keepdim=True)
    return torch.sin(y) + skip


def added_to_a_second_name(net, y):
    other = y
    y += net.inner(torch.tanh(y))
    return other


def a_view_scaled(net, y):
    view = y[:, :, 2:-2, 2:-2]
    view *= 20
    return y


def summed_up(net, y):
    total = y
    for _ in range(2):
        total += torch.tanh(y)
    return y


def kept_in_a_list(net, y):
    kept = [y]
    y -= 2 * y.mean((2, 3), keepdim=True)
    y = net.inner(y)
    y += kept[0]
    return y


def a_part_of_an_item(net, y):
    y[:, :, 2:-2, 2:-2] *= 20
    return y


def set_to_zero(net, y):
    y[:, :, 2:-2, 2:-2] = 0
    return y


def an_attribute_scaled(net, y):
    turned = y.mT
    turned *= -3
    return y


def divided_and_raised(net, y):
    other = y
    y /= 2
    y **= 2
    return y + other


def rounded(net, y):
    steps = (4 * y).detach()
    other = steps
    steps //= 0.5
    steps %= 3
    return y * other


def masked(net, y):
    mask = y > 0
    other = mask
    mask &= y < 1
    mask |= y > 2
    mask ^= y > 3
    return y * other


def shifted(net, y):
    bits = (8 * y).int()
    other = bits
    bits <<= 2
    bits >>= 1
    return y * other


def into_zeros(net, y):
    total = torch.zeros(2, 8, 6, 6)
    total += y
    total[:, :, 1:] += y[:, :, :-1]
    return total


def sizes(net, y):
    size = y.shape[2]
    longer = size
    longer += 3
    longer -= 3
    return y.view(y.shape[0], -1, size, longer)


def product_by_a_new_name(net, y):
    """``@=`` makes a new tensor."""
    other = y
    y @= y
    return y + other


def centred(y):
    return y - y.mean((2, 3), keepdim=True)


def turned(y):
    return y - 2 * y.mean((2, 3), keepdim=True)


def twice(y):
    y = y + torch.tanh(y)
    return y + torch.tanh(y)


FORMS = {
    centred_with_skip: lambda net, y: torch.sin(centred(y)) + centred(y),
    added_to_a_second_name: lambda net, y: y + net.inner(torch.tanh(y)),
    a_view_scaled: lambda net, y: y * (1 + 19 * ring(y)),
    summed_up: lambda net, y: twice(y),
    kept_in_a_list: lambda net, y: net.inner(turned(y)) + turned(y),
    a_part_of_an_item: lambda net, y: y * (1 + 19 * ring(y)),
    set_to_zero: lambda net, y: y * (1 - ring(y)),
    an_attribute_scaled: lambda net, y: -3 * y,
    divided_and_raised: lambda net, y: 2 * (y / 2) ** 2,
    rounded: lambda net, y: y * ((4 * y).detach() // 0.5 % 3),
    masked: lambda net, y: y * ((((y > 0) & (y < 1)) | (y > 2)) ^ (y > 3)),
    shifted: lambda net, y: y * (((8 * y).int() << 2) >> 1),
    into_zeros: lambda net, y: y + torch.nn.functional.pad(y[:, :, :-1], (0, 0, 1, 0)),
    sizes: lambda net, y: y,
    product_by_a_new_name: lambda net, y: y @ y + y,
}
FIXED = {into_zeros}  # as a tensor of written sizes holds the channels that enter it
X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(3))


def pair(form):
    torch.manual_seed(1)
    model = Steps(form).eval()
    plain = Steps(FORMS[form]).eval()
    plain.load_state_dict(model.state_dict())
    return model, plain


@pytest.fixture(params=FORMS, ids=lambda form: form.__name__)
def form(request):
    return request.param


@pytest.mark.parametrize("sized", [False, True])
def test_a_file_holds_the_network_that_was_saved(form, sized, tmp_path):
    model, plain = pair(form)
    prunekit.save(model, tmp_path / "model", example_inputs=X if sized else None)
    loaded = prunekit.load(tmp_path / "model")
    prunekit.save(loaded, tmp_path / "again", example_inputs=X if sized else None)
    with torch.inference_mode():
        torch.testing.assert_close(model(X), plain(X))
        for network in (loaded, loaded, prunekit.load(tmp_path / "again")):
            torch.testing.assert_close(network(X), model(X))


@pytest.mark.parametrize("criterion", ["taylor", "taylor_weight", "activation_l2"])
def test_filters_rank_as_in_the_network_written_out_of_place(form, criterion):
    batches = [(X, torch.tensor([1, 2]))]
    ours, theirs = (
        prunekit.rank(model, batches, criterion, normalize=False, progress=False)
        .set_index(["layer", "filter"])["score"]
        .sort_index()
        for model in pair(form)
    )
    layers = ours.index.get_level_values("layer")
    assert {"first", "second"} <= set(layers)
    assert ours.to_numpy() == pytest.approx(theirs[ours.index].to_numpy(), rel=1e-3, abs=1e-6)


def test_what_is_left_equals_what_is_masked(form):
    model, plain = pair(form)
    graph = prunekit.trace(model, X)
    assert ("inner" in graph.prunable) == (form not in FIXED)
    remove = some_of_every_layer(graph, 0.5, seed=2)
    small, masked_one = prunekit.rebuild(model, X, remove), prunekit.mask(model, X, remove)
    with torch.inference_mode():
        torch.testing.assert_close(small(X), masked_one(X))
        torch.testing.assert_close(masked_one(X), prunekit.mask(plain, X, remove)(X))


def test_a_number_with_a_default_value_is_no_tensor(tmp_path):
    class Scaled(nn.Module):
        def forward(self, x, scale=2.0):
            once = scale
            scale *= 3
            return x * scale + once

    prunekit.save(Scaled(), tmp_path / "model")
    torch.testing.assert_close(prunekit.load(tmp_path / "model")(X), X * 6 + 2)


def test_a_constant_that_is_written_over_is_refused(tmp_path):
    """The graph would hold one tensor, to which each pass adds more."""

    def counted(net, y):
        total = torch.arange(8.0)
        total += y.mean((0, 2, 3))
        return y + total.view(-1, 1, 1)

    for use in (lambda net: prunekit.trace(net, X), lambda net: prunekit.save(net, tmp_path / "m")):
        with pytest.raises(prunekit.TraceError, match=r"writes over .* constants.* torch\.zeros"):
            use(Steps(counted))
