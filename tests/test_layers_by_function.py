"""Layers that are called by functions are pruned as those that are called as modules."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunekit import prune, sensitivity, trace
from prunekit.adversarial import SoftMasks, align
from prunekit.widths import allocate, mean_magnitudes


class AsModules(nn.Module):
    """A convolution, one of each channel, and their batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.deep, self.last = nn.Conv2d(8, 8, 3, groups=8), nn.Linear(8, 4)
        self.deep_norm = nn.BatchNorm2d(8)
        for norm in (self.norm, self.deep_norm):
            nn.init.uniform_(norm.weight, 0.5, 2)
            norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu()
        return self.last(self.deep_norm(self.deep(x)).relu().mean((2, 3)))


class ByFunction(AsModules):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.conv2d(x, self.conv.weight, self.conv.bias)).relu()
        deep = self.deep
        x = self.deep_norm(F.conv2d(x, deep.weight, deep.bias, groups=deep.groups)).relu()
        return F.linear(x.mean((2, 3)), self.last.weight, self.last.bias)


class NormByFunction(AsModules):
    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        x = F.batch_norm(
            self.conv(x), norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
        return self.last(self.deep_norm(self.deep(x.relu())).relu().mean((2, 3)))


KINDS = [AsModules, ByFunction]
BATCH = torch.randn(8, 3, 8, 8), torch.arange(8) % 4


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def test_a_run_and_a_scan_count_their_filters():
    runs = [
        prune(made(kind), [BATCH], [BATCH], "weight_l1", 0.5, 3, fine_tune=None, progress=False)
        for kind in KINDS
    ]
    scans = [sensitivity(made(kind), [BATCH], progress=False) for kind in KINDS]
    not_alike = ["macs", "seconds"]  # a profile says that it does not see functions
    for pair in (runs, scans):
        tables = [of.table.drop(columns=not_alike, errors="ignore") for of in pair]
        pd.testing.assert_frame_equal(*tables)
    assert runs[1].table["filters"].iloc[-1] == runs[1].model.conv.out_channels * 2 == 8


@pytest.mark.parametrize("kind", [ByFunction, NormByFunction])
def test_folded_magnitudes_are_the_same(kind):
    x = BATCH[0]
    found = [
        mean_magnitudes(made(one), trace(made(one), x), "everywhere", folded=True)
        for one in (AsModules, kind)
    ]
    pd.testing.assert_series_equal(*found)


def test_masks_scale_the_batch_norms_behind_them():
    x, masked = BATCH[0], []
    for kind in KINDS:
        model = made(kind)
        masks = SoftMasks(model, trace(model, x))
        masks.factors.data[:3].zero_()
        with masks.on(model):
            masked.append(model(x))
        small = masks.removed(model, x)
        assert masks.norms == ["deep_norm"] and small.conv.out_channels == 5
        torch.testing.assert_close(small(x), masked[-1])
    torch.testing.assert_close(*masked)


def test_a_student_is_aligned():
    aligned = [
        align(made(kind), [BATCH], [BATCH], epochs=1, mask_every=1, progress=False)
        for kind in KINDS
    ]
    pd.testing.assert_frame_equal(*(of.table.drop(columns=["macs", "seconds"]) for of in aligned))


def test_without_a_batch_norm_masks_say_what_to_do():
    model = made(ByFunction)
    model.deep_norm = nn.Identity()
    with pytest.raises(ValueError, match=r"no batch norm .* behind layers that are called as mod"):
        SoftMasks(model, trace(model, BATCH[0]))


def test_a_budget_of_what_is_not_counted_is_refused():
    model = made(ByFunction)
    with pytest.raises(ValueError, match="no macs that profile counts: call its layers as modules"):
        prune(model, [BATCH], [BATCH], budget="macs", fine_tune=None, progress=False)
    with pytest.raises(ValueError, match="no macs that profile counts: call its layers as modules"):
        allocate(model, BATCH[0], {"conv": 1.0}, 0.5)
