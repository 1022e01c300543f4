"""Networks that write over their inputs: the data of the caller stay as they are."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from prunekit import latency, peak_memory, profile, prune, rank
from prunekit.training import evaluate, fit


class Normalising(nn.Sequential):
    """A network that scales what it is given in place, as a first step."""

    def forward(self, x):
        return super().forward(x.sub_(0.5).div_(0.5))


def normalising() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Conv1d(8, 4, 1), nn.AdaptiveAvgPool1d(1)
    return Normalising(*layers, nn.Flatten()).eval()


USES = {
    "evaluate": lambda model, batches: evaluate(model, batches).loss,
    "fit": lambda model, batches: fit(
        copy.deepcopy(model), batches, teacher=model, teacher_weight=0.5, progress=False
    )["loss"].tolist(),
    "rank": lambda model, batches: rank(model, batches, "activation_l2", progress=False)[
        "score"
    ].tolist(),
    "prune": lambda model, batches: (
        prune(model, batches, batches, "weight_l1", 0.5, 2, fine_tune=None, progress=False)
        .table["accuracy_after"]
        .tolist()
    ),
    "profile": lambda model, batches: profile(model, batches[0][0]).macs,
    "latency": lambda model, batches: len(latency(model, batches[0][0]).times),
    "peak_memory": lambda model, batches: peak_memory(model, batches[0][0]),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_network_that_works_in_place_leaves_the_data_as_they_are(use):
    model = normalising()
    x = torch.rand(16, 1, 20)
    batches = [(x.clone(), torch.arange(16) % 4)]
    once, again = (use(model, batches) for _ in range(2))
    assert torch.equal(batches[0][0], x)
    assert once == again


def test_a_teacher_hears_of_the_inputs_what_its_student_was_given():
    """Both scale them in place: that of the one must not reach the other."""
    teacher, x = normalising(), torch.rand(16, 1, 20)
    answers = teacher(x.clone()).detach()
    settings = {"lr": 0.1, "teacher_weight": 1.0, "progress": False}
    one, other = normalising(), normalising()
    fit(one, [(x, torch.zeros(16).long())], teacher=[teacher, teacher], **settings)
    fit(other, [(x, torch.zeros(16).long(), answers)], **settings)
    torch.testing.assert_close(one[0].weight, other[0].weight)
