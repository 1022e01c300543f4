"""In which precision a training computes, and that it can be chosen."""

from __future__ import annotations

import copy

import pytest
import torch
from loops import written_before
from torch import nn

from prunekit import prune
from prunekit.grafting import fit_grafted
from prunekit.training import fit


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten())


@pytest.fixture
def batches():
    torch.manual_seed(1)
    return [(torch.randn(8, 1, 3, 3), torch.arange(8) % 4)]


def fitted(batches, precision, **settings):
    model = network()
    fit(model, batches, lr=0.1, precision=precision, progress=False, **settings)
    return model


def taught(batches, precision):
    teacher = network()
    with torch.no_grad():
        teacher[0].weight.mul_(7)
    return fitted(batches, precision, teacher=teacher, teacher_weight=1.0)


def pruned(batches, precision):
    tuning = {"lr": 0.1, "precision": precision}
    options = {"ratio": 0.5, "fine_tune": tuning, "progress": False}
    return prune(network(), batches, batches, "weight_l1", **options).model


def grafted(batches, precision):
    model, options = network(), {"calibration": 0, "progress": False}
    fit_grafted([model], batches, training={"precision": precision}, **options)
    return model


def pays(monkeypatch, whether: bool) -> None:
    """Let bfloat16 pay on this machine, or not."""
    said = "AVX512" if whether else "DEFAULT"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: said)


@pytest.mark.parametrize("train", [fitted, taught, pruned, grafted])
def test_bfloat16_is_used_where_it_pays_unless_full_precision_is_asked_for(
    monkeypatch, batches, train
):
    pays(monkeypatch, False)
    slow = train(batches, "mixed")[0].weight
    pays(monkeypatch, True)
    assert torch.equal(train(batches, "full")[0].weight, slow)
    assert not torch.equal(train(batches, "mixed")[0].weight, slow)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision_is_trained_in_it(monkeypatch, kind):
    """A batch norm in float16 takes no bfloat16, which its convolution would give."""
    pays(monkeypatch, True)
    x, seen = torch.randn(8, 1, 8, 8, dtype=kind), set()

    def half():
        body = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 6)]
        return nn.Sequential(*body, nn.Flatten()).to(kind)

    model, teacher = half(), half()
    teacher[0].register_forward_hook(lambda layer, given, output: seen.add(output.dtype))
    before = copy.deepcopy(model.state_dict())
    history = fit(model, [(x, torch.arange(8) % 4)], teacher=teacher, lr=0.1, progress=False)
    assert history["loss"].isna().sum() == 0 and seen == {kind}
    assert {weight.dtype for weight in model.parameters()} == {kind}
    assert not torch.equal(model[0].weight, before["0.weight"])


def test_in_full_precision_the_loss_is_the_true_one(monkeypatch):
    pays(monkeypatch, True)
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    nn.init.ones_(model[0].weight)
    x = torch.full((8, 1, 4, 4), 1000.3)  # no number of bfloat16
    settings = {"loss": lambda out, y: (out - y).square().mean((1, 2, 3)), "lr": 1e-9}
    full, mixed = (
        fit(copy.deepcopy(model), [(x, x.clone())], precision=one, progress=False, **settings)
        for one in ("full", "mixed")
    )
    assert full["loss"].item() == 0 < mixed["loss"].item()


@pytest.mark.parametrize(("precision", "other"), [("mixed", "full"), ("full", "mixed")])
def test_a_checkpoint_goes_on_in_its_own_precision_only(batches, tmp_path, precision, other):
    options = {"loader": batches, "checkpoint": tmp_path / "it.safetensors", "progress": False}
    fit(network(), precision=precision, **options)
    with pytest.raises(ValueError, match=rf"precision \('{precision}' there, '{other}' here\)"):
        fit(network(), precision=other, **options)


def test_a_checkpoint_from_before_there_was_a_choice_is_of_mixed_precision(batches, tmp_path):
    options = {"loader": batches, "checkpoint": tmp_path / "it.safetensors", "progress": False}
    fit(network(), **options)
    written_before(options["checkpoint"], "prunekit-training")
    assert len(fit(network(), **options)) == 1
    with pytest.raises(ValueError, match=r"precision \('mixed' there, 'full' here\)"):
        fit(network(), precision="full", **options)
