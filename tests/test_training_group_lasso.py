"""Group lasso over dependency groups: by hand, and what training with it makes easy to remove."""

from __future__ import annotations

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from networks import randomise
from sklearn.datasets import load_digits
from torch import Tensor, nn

from prunekit import mask, rank, rebuild, select, trace
from prunekit.models import ResNet, TinySqueezeNet
from prunekit.training import GroupLasso, evaluate, fit

X = torch.zeros(2, 1, 2, 2)


def by_hand() -> nn.Module:
    """Two filters, a batch norm, and a layer that reads them: norms of 13 and 0 over all that."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model[0].weight[0], model[0].bias[0] = 2, 4
        model[1].weight[0], model[1].bias[0] = 5, 6
        model[2].weight[:, 0] = torch.tensor([8.0, 24**0.5]).view(2, 1, 1)
        model[2].bias.fill_(9)  # of the outputs, which must stay
    return model


def test_the_penalty_and_its_gradient_by_hand():
    model = by_hand()
    lasso = GroupLasso(trace(model, X), strength=0.5)
    assert lasso.norms(model)[1:].tolist() == pytest.approx([13, 0])
    assert lasso(model).item() == pytest.approx(0.5 * 13)
    assert lasso(model, done=0.2).item() == pytest.approx(0.2 * 0.5 * 13)
    lasso(model).backward()
    for parameter in model[:2].parameters():
        expected = 0.5 * parameter.detach() / 13
        torch.testing.assert_close(parameter.grad, expected)  # the empty group's is zero, not NaN
    torch.testing.assert_close(model[2].weight.grad, 0.5 * model[2].weight.detach() / 13)
    assert not model[2].bias.grad.any()


def test_the_norms_are_of_all_that_a_removal_takes():
    """Of each group by itself: what a network lacks without it, over residual sums and all."""
    torch.manual_seed(0)
    model = randomise(ResNet(blocks=1)).eval()
    x = torch.zeros(2, 3, 16, 16)
    graph = trace(model, x)
    norms = GroupLasso(graph, strength=1).norms(model)

    def squares(network: nn.Module) -> float:
        return sum(p.detach().double().square().sum().item() for p in network.parameters())

    for group in range(1, graph.count, 9):
        small = rebuild(model, graph, graph.members(group))
        assert norms[group].item() ** 2 == pytest.approx(squares(model) - squares(small), rel=1e-3)


class Looped(nn.Module):
    """The same convolution three times: each of its weights is read and written by one stream."""

    def __init__(self):
        super().__init__()
        self.stem, self.again = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = x + F.relu(self.again(x))
        return self.head(x)


def test_what_a_group_owns_from_both_sides_counts_once():
    torch.manual_seed(0)
    model = Looped()
    graph = trace(model, torch.zeros(2, 3, 8, 8))
    norms = GroupLasso(graph, strength=1).norms(model)
    for group in range(1, graph.count):
        gone = torch.zeros(6, dtype=torch.bool)
        gone[graph.members(group)["again"]] = True
        owned = [
            *(model.stem.weight[gone], model.stem.bias[gone], model.again.bias[gone]),
            *(model.again.weight[gone], model.again.weight[~gone][:, gone]),
            model.head.weight[:, gone],
        ]
        by_hand = sum(part.detach().square().sum().item() for part in owned)
        assert norms[group].item() ** 2 == pytest.approx(by_hand, rel=1e-5)


def test_a_graph_of_another_network_is_refused():
    model = TinySqueezeNet()
    graph = trace(model, torch.zeros(2, 3, 32, 32))
    lasso = GroupLasso(graph, strength=1e-3)
    small = rebuild(model, graph, {"features.0": [0]})
    for other in (small, by_hand()):
        with pytest.raises(ValueError, match=re.escape("trace the model again")):
            lasso(other)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"graph": nn.ReLU()}, TypeError, "graph must be what prunekit.trace gives"),
        ({"strength": 0}, ValueError, "strength must be above 0"),
    ],
)
def test_bad_settings_are_named(given, kind, message):
    with pytest.raises(kind, match=message):
        GroupLasso(**{"graph": trace(by_hand(), X), "strength": 1.0} | given)


class Residual(nn.Module):
    """Small, with a sum: the stem and ``second`` are coupled."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width))
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 2 * width, 3, stride=2)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.second(F.relu(self.first(x))))
        return self.head(F.relu(self.last(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def digits() -> list[tuple[Tensor, Tensor]]:
    """1,750 pictures of 8 by 8 pixels in batches of 50; the last seven are not learnt from."""
    given = load_digits()
    images = torch.tensor(given.images[:1750], dtype=torch.float32)[:, None] / 8 - 1
    return list(zip(images.split(50), torch.tensor(given.target[:1750]).split(50), strict=True))


def test_groups_fade_and_can_then_be_removed_at_no_cost(digits):
    train, val = digits[:-7], digits[-7:]
    x = torch.cat([images for images, _ in val])
    torch.manual_seed(0)
    start = Residual()
    graph = trace(start, x[:2])
    lasso = GroupLasso(graph, strength=0.03)
    changes, sums, faded = {}, {}, 0
    for name, penalty in (("with", lasso), ("without", None)):
        torch.manual_seed(1)
        model = copy.deepcopy(start)
        fit(model, train, epochs=12, lr=0.1, penalty=penalty, progress=False)
        model.eval()
        norms = lasso.norms(model).detach().numpy()
        sums[name] = norms.sum()
        low = int((norms[1:] < 0.01 * norms.max()).sum())
        if penalty is None:
            assert low == 0
        else:
            faded = low
        ranking = rank(model, val, "weight_l2", graph=graph, progress=False)
        weakest = select(ranking.assign(score=norms[ranking["group"]]), faded)
        with torch.inference_mode():
            whole, without = model(x), mask(model, graph, weakest)(x)
        changes[name] = ((without - whole).norm() / whole.norm()).item()
        assert evaluate(model, val).accuracy > 0.8
    assert faded > 6  # of 64
    assert sums["with"] < 0.8 * sums["without"]
    assert changes["with"] < 0.01 and changes["with"] < changes["without"] / 10


def test_a_penalty_is_told_how_much_of_the_training_is_done(digits):
    told = []

    def penalty(model: nn.Module, done: float) -> torch.Tensor:
        told.append(done)
        return sum(p.square().sum() for p in model.parameters())

    torch.manual_seed(0)
    fit(Residual(), digits[:3], epochs=2, penalty=penalty, progress=False)
    assert told == [step / len(told) for step in range(len(told))] and len(told) == 6


def test_a_penalty_that_is_no_number_is_refused_before_anything_changes(digits):
    model = Residual()
    before = copy.deepcopy(model.state_dict())
    for penalty in (lambda model, done: 0.1, lambda model, done: torch.ones(2)):
        with pytest.raises(TypeError, match="penalty must give a tensor of one number"):
            fit(model, digits[:2], penalty=penalty, progress=False)
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def test_an_interrupted_training_goes_on_only_with_the_same_penalty(digits, tmp_path):
    torch.manual_seed(0)
    model, loader = Residual(), digits[:3]
    start, file = copy.deepcopy(model), tmp_path / "training.safetensors"
    graph = trace(model, loader[0][0][:2])
    settings = {"epochs": 1, "checkpoint": file, "progress": False}
    fit(model, loader, penalty=GroupLasso(graph, 1e-3), **settings)
    again = copy.deepcopy(start)
    fit(again, loader, penalty=GroupLasso(graph, 1e-3), **settings)
    assert all(a.equal(b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(ValueError, match="other settings: penalty"):
        fit(copy.deepcopy(start), loader, penalty=GroupLasso(graph, 2e-3), **settings)
