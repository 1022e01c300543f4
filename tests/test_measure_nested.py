"""Arguments of ``forward`` that are lists or dictionaries of tensors are measured as others are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from prunekit import compare, latency, peak_memory, profile, prune
from prunekit.pruning.budgets import left_after


class Pair(nn.Module):
    """Maps of two pictures, added up."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.last((self.conv(left) + self.conv(right)).relu().mean((2, 3)))


class Listed(Pair):
    def forward(self, views: list[Tensor]) -> Tensor:
        return super().forward(*views)


class Named(Pair):
    def forward(self, views: dict[str, Tensor]) -> Tensor:
        return super().forward(**views)


PICTURES = {side: torch.randn(8, 3, 6, 6) for side in ("left", "right")}
LABELS = torch.arange(8) % 4
PLAIN = tuple(PICTURES.values())
NESTED = [(Listed, (list(PLAIN),)), (Named, (PICTURES,))]


def made(kind):
    torch.manual_seed(0)
    return kind().eval()


@pytest.mark.parametrize(("kind", "x"), NESTED)
def test_the_same_is_counted_and_measured(kind, x):
    expected, model = profile(made(Pair), PLAIN), made(kind)
    assert profile(model, x).layers.equals(expected.layers)
    assert peak_memory(model, x) == peak_memory(made(Pair), PLAIN)
    assert latency(model, x, repeats=2).median > 0
    assert compare({"nested": model}, x, repeats=2)["macs"].tolist() == [expected.macs]
    assert left_after(model, x, "macs")({}) == expected.macs


# How much time is saved is the machine's affair.
@pytest.mark.filterwarnings("ignore:pruning ended at .* of latency")
@pytest.mark.parametrize(("kind", "x"), NESTED)
@pytest.mark.parametrize("budget", ["filters", "macs", "latency"])
def test_a_run_takes_them(kind, x, budget):
    options = {"budget": budget, "fine_tune": None, "progress": False}
    history = prune(made(kind), [(x, LABELS)], [(x, LABELS)], "taylor", 0.3, 4, **options)
    assert 2 <= history.model.conv.out_channels < 8


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (([],), TypeError, "a tuple of the arguments of forward with a tensor among them"),
        (list(PLAIN), TypeError, "must be a tensor, or a tuple of the arguments of forward"),
        (([torch.tensor(1.0)],), ValueError, r"must be a batch of shape \(examples, ...\)"),
        (([torch.zeros(0, 3, 6, 6)] * 2,), ValueError, "is an empty batch"),
        (([picture.to("meta") for picture in PLAIN],), ValueError, "lies on the meta device"),
    ],
)
@pytest.mark.parametrize("measure", [profile, latency, peak_memory])
def test_what_is_wrong_further_in_is_named(measure, x, error, message):
    with pytest.raises(error, match=f"example_inputs.*{message}"):
        measure(made(Listed), x)
