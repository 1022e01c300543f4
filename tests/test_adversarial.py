"""Soft masks: one step on paper, folded and removed from any network with batch norm."""

from __future__ import annotations

import copy
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models

from prunekit import insert_batch_norm, profile, rebuild, trace
from prunekit.adversarial import (
    Discriminator,
    Fista,
    SoftMasks,
    align,
    choose,
    discriminator_loss,
    game,
    pareto_front,
    soft_threshold,
    student_loss,
    unheld_fall,
)
from prunekit.models import (
    GoogLeNet,
    ResNet,
    TinySqueezeNet,
    mobilenet_v2,
    resnet20,
    vgg16_bn_half,
)

X = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@settings(max_examples=settings.default.max_examples // 4)
@given(st.floats(-2, 2), st.floats(0, 2), st.floats(0.05, 1), st.floats(0, 3))
def test_one_mask_comes_to_rest_where_it_should(goal, penalty, lr, start):
    """Where (m - goal)² / 2 + penalty m is least for m from zero up: max(0, goal - penalty)."""
    mask = nn.Parameter(torch.tensor(start, dtype=torch.double))
    fista = Fista([mask], lr, penalty)
    for _ in range(500):
        mask.grad = mask.detach() - goal
        fista.step()
    assert mask.item() == pytest.approx(max(0, goal - penalty), abs=1e-2)


def test_steps_on_paper():
    mask = nn.Parameter(torch.tensor([1.0, 0.2]))
    fista = Fista([mask], lr=0.5, penalty=0.2)
    mask.grad = torch.tensor([0.4, 0.4])
    fista.step()  # 1 - 0.2 - 0.1, and 0.2 - 0.2 - 0.1
    assert mask.tolist() == pytest.approx([0.7, 0])
    second, third = (1 + 5**0.5) / 2, (1 + (1 + 4 * ((1 + 5**0.5) / 2) ** 2) ** 0.5) / 2
    fista.step()  # ahead by a share of what the last step was
    assert mask[0].item() == pytest.approx(0.7 + (second - 1) / third * (0.7 - 1) - 0.3)
    before = mask[0].item()
    fista.param_groups[0]["lr"] = 0.05  # it has fallen: the first step again
    fista.step()
    assert mask[0].item() == pytest.approx(max(0, before - 0.02 - 0.01))
    assert soft_threshold(torch.tensor([-3.0, 3.0]), 1).tolist() == [-2, 2]


@given(st.lists(st.sampled_from([0.01, 0.003, 0.001]), min_size=1, max_size=60))
def test_a_mask_that_nothing_holds_falls_as_said(rates):
    rates = sorted(rates, reverse=True)
    mask = nn.Parameter(torch.tensor(1e3, dtype=torch.double))
    fista = Fista([mask], rates[0], penalty=0.5)
    for lr in rates:
        fista.param_groups[0]["lr"] = lr
        mask.grad = torch.zeros_like(mask)
        fista.step()
    assert 1e3 - mask.item() == pytest.approx(0.5 * unheld_fall(rates))


def test_the_law_of_an_unheld_fall_holds_for_many_steps():
    for steps, within in ((30, 0.3), (300, 0.04), (3000, 0.005)):
        assert unheld_fall([0.01] * steps) / (0.01 * steps**2 / 8) == pytest.approx(1, abs=within)


def randomly_masked(model: nn.Module, scope: str, x: torch.Tensor = X) -> SoftMasks:
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            module.running_mean.normal_(0, 0.1)
    masks = SoftMasks(model, trace(model, x), scope)
    with torch.no_grad():
        masks.factors.uniform_(-0.6, 1.4).clamp_min_(0)
    return masks


def inceptions() -> GoogLeNet:
    """Two modules of four branches, and a pooling between them."""
    return GoogLeNet(stages=(((8, 8, 16, 4, 8, 8),), ((8, 8, 16, 4, 8, 8),)), stem=16)


@pytest.mark.parametrize("scope", ["blocks", "everywhere"])
@pytest.mark.parametrize("make", [resnet20, mobilenet_v2, vgg16_bn_half, inceptions])
def test_a_masked_network_is_the_one_with_masks_folded_in_and_zeros_removed(make, scope):
    model = make().eval()
    masks = randomly_masked(model, scope)
    with torch.inference_mode():
        plain = model(X)
        with masks.on(model):
            masked = model(X)
        assert not torch.allclose(plain, masked, rtol=1e-2)
        assert torch.equal(model(X), plain)  # they are off again
        scale = masked.abs().max()
        assert (masks.folded(model)(X) - masked).abs().max() < 1e-4 * scale
        small = masks.removed(model, X)
        assert (small(X) - masked).abs().max() < 1e-4 * scale
    assert 0.2 < masks.pruned < 0.4
    assert profile(small, X).macs < 0.9 * profile(model, X).macs
    assert torch.equal(model(X), plain)


def test_expanded_channels_are_masked_behind_the_depthwise_convolution():
    masks = SoftMasks(model := mobilenet_v2(), trace(model, X))
    assert "features.4.body.4" in masks.norms and "features.4.body.1" not in masks.norms


def test_torchvision_and_inserted_batch_norms():
    model = models.resnet18(num_classes=10).eval()
    masks = randomly_masked(model, "everywhere", X)
    assert masks.removed(model, X).conv1.weight.shape[0] < 64
    bare = TinySqueezeNet().eval()
    with pytest.raises(ValueError, match=r"features\.0: no batch norm .*insert_batch_norm puts"):
        SoftMasks(bare, trace(bare, X))
    with pytest.raises(TypeError, match=r"graph must be what prunekit\.trace gives, not 5"):
        SoftMasks(bare, 5)
    normed = insert_batch_norm(bare, [X])
    masks = randomly_masked(normed, "blocks")
    assert masks.removed(normed, X).features[0].conv.weight.shape[0] < 16


def test_a_unit_whose_masks_are_all_zero_keeps_a_channel():
    model = ResNet(blocks=1).eval()
    masks = SoftMasks(model, trace(model, X))
    with torch.no_grad():
        masks.factors[:16] = 0
    assert masks.zeros() == {"layer1.0.conv1": list(range(1, 16))}
    assert masks.pruned == pytest.approx(15 / 112)
    assert masks.removed(model, X).layer1[0].conv1.weight.shape[0] == 1


def test_an_activation_that_makes_something_of_zero_is_noticed():
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sigmoid()),
        *(nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ).eval()
    masks = SoftMasks(model, trace(model, X))
    with torch.no_grad():
        masks.factors[:4] = 0
    with pytest.raises(ValueError, match="does not keep zero at zero"):
        masks.removed(model, X)


def test_gradients_reach_masks():
    model = ResNet(blocks=1).train()
    masks = SoftMasks(model, trace(model, X))
    with masks.on(model):
        model(X).square().sum().backward()
    assert (masks.factors.grad != 0).float().mean() > 0.9


def test_a_mask_at_zero_is_drawn_as_if_it_stood_behind_the_relu():
    torch.manual_seed(0)
    x = X.double()
    model = ResNet(blocks=1).double().eval()
    masks = SoftMasks(model, trace(model, x)).double()

    def loss(at: float) -> torch.Tensor:
        with torch.no_grad():
            masks.factors[5] = at
        with masks.on(model):
            return model(x).square().sum()

    loss(0).backward()
    rise = (loss(1e-4) - loss(0)) / 1e-4
    assert masks.factors.grad[5].item() == pytest.approx(rise.item(), rel=1e-2) != 0


def test_losses_on_paper():
    sure = nn.Linear(1, 1, bias=False)
    nn.init.constant_(sure.weight, 1.0)

    def said(x):
        return sure(x).squeeze(1)

    teacher, student = torch.tensor([[2.0]]), torch.tensor([[-1.0]])
    expected = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))
    assert discriminator_loss(said, teacher, student).item() == pytest.approx(expected)
    loss = student_loss(said, teacher, student, mse_weight=0.5)
    assert loss.item() == pytest.approx(0.5 * 9 + math.log(1 + math.exp(1)))
    two = torch.zeros(3, 2)
    only = {"mse_weight": 0, "adversarial_weight": 0, "label_weight": 2}
    labels = torch.tensor([0, 1, 1])
    assert student_loss(None, two, two, labels, **only).item() == pytest.approx(2 * math.log(2))
    with pytest.raises(ValueError, match="adversarial_weight needs a discriminator"):
        student_loss(None, two, two)
    with pytest.raises(ValueError, match="label_weight needs labels"):
        student_loss(None, two, two, **only)


def test_without_a_slope_the_discriminator_is_linear():
    torch.manual_seed(0)
    linear, bent = Discriminator(10).double(), Discriminator(10, slope=0.2).double()
    x = torch.randn(5, 10, dtype=torch.double)
    for one, same in ((linear, True), (bent, False)):
        for parameter in one.parameters():
            nn.init.normal_(parameter)
        assert torch.allclose(one(-x) + one(x), 2 * one(0 * x)) == same
    assert [layer.out_features for layer in linear.layers] == [128, 256, 128, 1]


def test_with_a_slope_the_discriminator_learns_in_time():
    """Clouds that lie apart; with the published weights nothing is told after as many steps."""
    torch.manual_seed(0)
    ends = []
    for judge in (Discriminator(10), Discriminator(10, slope=0.2)):
        sgd = torch.optim.SGD(judge.parameters(), lr=0.01, momentum=0.9)
        for _ in range(200):
            loss = discriminator_loss(judge, torch.randn(64, 10) + 1, torch.randn(64, 10) - 1)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
        ends.append(loss.item())
    assert ends[0] > 3 * math.log(3) - 2 * math.log(2) - 0.1  # as where nothing can be told
    assert ends[1] < 2 * math.log(2) + 0.1  # almost as where all can


TABLE = pd.DataFrame(
    {"pruned": [0.1, 0.4, 0.4, 0.7, 0.6, 0.9], "accuracy": [0.95, 0.94, 0.93, 0.9, 0.85, 0.5]}
)


def test_choices_on_paper():
    assert pareto_front(TABLE).index.tolist() == [0, 1, 3, 5]
    # Scaled: 0, 3/8, 6/8, 1 and 1, 44/45, 40/45, 0.
    assert choose(TABLE) == 3
    assert [choose(TABLE, rule) for rule in ("knee", "accuracy", "last")] == [3, 0, 5]
    costs = TABLE.assign(macs=[9, 6, 6, 3, 4, 1])
    # What is left is rows 3, 4 and 5, and 3 and 5 their front: the more accurate of its ends.
    assert [choose(costs, rule, most_macs=5) for rule in ("harmonic", "accuracy", "last")] == [
        *(3, 3, 5),
    ]
    assert choose(costs, most_macs=1) == 5
    assert choose(TABLE.set_index(pd.Index([7] * 6))) == 3  # positions, not labels


def test_a_front_of_joined_runs_is_that_of_their_rows():
    """Labels repeat, as after pd.concat: only positions tell rows apart."""
    one = pd.DataFrame({"pruned": [0.2, 0.6], "accuracy": [0.7, 0.8]})
    other = pd.DataFrame({"pruned": [0.3, 0.5], "accuracy": [0.9, 0.6]})
    joined = pd.concat([one, other])
    assert pareto_front(joined)["accuracy"].tolist() == [0.8, 0.9]
    assert choose(joined, "accuracy") == 2


FRONTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


@given(FRONTS)
def test_nothing_beats_the_front(pairs):
    table = pd.DataFrame(pairs, columns=["pruned", "accuracy"])
    front = pareto_front(table)

    def beats(one, other) -> bool:
        return (one >= other).all() and (one > other).any()

    rows = table.to_numpy()
    for place, row in enumerate(rows):
        beaten = any(beats(other, row) for other in rows)
        repeated = any((rows[:place] == row).all(axis=1))
        assert (place in front.index) == (not beaten and not repeated)
    for rule in ("harmonic", "knee"):
        assert choose(table, rule) in front.index


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: choose(TABLE, "best"), ValueError, "rule must be one of harmonic, knee"),
        (lambda: choose(TABLE.iloc[:0]), ValueError, "table is empty"),
        (lambda: choose(TABLE[["pruned"]]), TypeError, "with the columns pruned and accuracy"),
        (lambda: choose(TABLE * np.nan), ValueError, "pruned and accuracy must be finite"),
        (lambda: choose(TABLE, most_macs=1), ValueError, "the table has no column macs"),
        (
            lambda: choose(TABLE.assign(macs=5e6), most_macs=1e6),
            ValueError,
            "no network has at most 1,000,000 MACs: the least is 5,000,000",
        ),
        (lambda: Fista([nn.Parameter(X)], lr=0), ValueError, "lr must be above 0"),
        (lambda: Fista([nn.Parameter(X)], penalty=-1), ValueError, "penalty must be at least 0"),
        (lambda: Discriminator(0), ValueError, "a size of the discriminator must be at least 1"),
        (lambda: Discriminator(2, slope=-1), ValueError, "slope must be at least 0"),
        (
            lambda: SoftMasks(mobilenet_v2(), trace(resnet20(), X)),
            ValueError,
            "the graph is of another network",
        ),
        (lambda: align(resnet20(), [(X, X)], [], epochs=0), ValueError, "epochs must be at least"),
        (
            lambda: align(resnet20(), [(X, X)] * 99, [(X, X)], epochs=2),
            ValueError,
            r"masks would take no step: they take one every 200 batches .* 198 in 2 epochs",
        ),
        (lambda: align(resnet20(), iter([]), []), TypeError, "loader is an iterator"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_by_default_an_unheld_mask_is_at_zero_half_way_to_the_first_fall_of_the_rate(monkeypatch):
    """Nothing is held here: neither the outputs nor labels count."""
    batches = [(X[:, :, ::4, ::4], torch.tensor([0, 1, 2, 3]))] * 2
    monkeypatch.setattr(game, "student_loss", lambda *args, **weights: args[2].sum() * 0)
    # The rate falls behind the third of seven epochs: half way is in the middle of the second.
    options = {"adversarial_weight": 0.0, "mask_every": 1, "progress": False}
    found = align(ResNet(blocks=1), batches, batches, epochs=7, **options)
    most = (112 - 3) / 112  # each unit keeps a channel
    assert found.table["pruned"].tolist() == pytest.approx([0] + [most] * 6)


def test_a_penalty_that_brings_no_mask_to_zero_is_warned_of():
    batches = [(X[:, :, ::4, ::4], torch.tensor([0, 1, 2, 3]))] * 2
    options = {"epochs": 2, "mask_every": 1, "progress": False}
    with pytest.warns(UserWarning, match=r"hardly any channel will go: .* from 1 to 1 in the 4 st"):
        published = align(ResNet(blocks=1), batches, batches, penalty=1e-3, **options)
    assert published.table["pruned"].tolist() == [0, 0]
    enough = 1 / unheld_fall([0.01, 0.01, 0.001, 0.001])
    with warnings.catch_warnings(action="error"):
        align(ResNet(blocks=1), batches, batches, penalty=1.01 * enough, **options)
    with pytest.warns(UserWarning, match="hardly any channel"):
        align(ResNet(blocks=1), batches, batches, penalty=0.99 * enough, **options)


@pytest.mark.parametrize("weights", [{}, {"adversarial_weight": 0}, {"label_weight": 1}])
def test_an_alignment_gives_networks_to_choose_from(weights):
    torch.manual_seed(0)
    batches = [(X[:, :, ::2, ::2], torch.tensor([0, 1, 2, 3]))] * 4
    teacher = ResNet(blocks=1)
    before = copy.deepcopy(teacher.state_dict())
    options = {"epochs": 3, "penalty": 24, "mask_every": 2, "lr": 0.02, "progress": False}
    found = align(teacher, batches, batches, **options, **weights)
    assert all(torch.equal(t, before[key]) for key, t in teacher.state_dict().items())
    assert found.table["pruned"].iloc[-1] > 0
    assert found.table["discriminator_loss"].isna().all() == (weights == {"adversarial_weight": 0})
    best, x = choose(found.table, "last"), batches[0][0]
    small = rebuild(found.networks[best], x, found.removals[best])
    assert profile(small, x).macs == found.table["macs"].iloc[best] < profile(teacher, x).macs
    with torch.inference_mode():
        torch.testing.assert_close(small(x), found.networks[best](x), rtol=1e-3, atol=1e-4)
    again = align(teacher, batches, batches, **options, **weights)
    pd.testing.assert_frame_equal(
        again.table.drop(columns="seconds"), found.table.drop(columns="seconds")
    )
