"""Networks as scripts that a page computes: what is written is what comes back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunekit import rebuild
from prunekit.book import in_page
from prunekit.detection import ssdlite_mobilenet_v2
from prunekit.models import remove_final_relu, squeezenet

X = torch.zeros(1, 3, 10, 10)


@pytest.mark.parametrize("final_relu", [True, False])
def test_a_pruned_network_comes_back_as_written_but_for_the_rounding(tmp_path, final_relu):
    torch.manual_seed(0)
    model, x = squeezenet().eval(), torch.randn(2, 3, 96, 96)
    nn.init.normal_(model.classifier[1].bias)  # zeros would say nothing of its place in the file
    if not final_relu:
        remove_final_relu(model)
    remove = {"features.0": [1, 5], "features.3.squeeze": [0], "features.12.expand3x3": [7, 9, 200]}
    small = rebuild(model, x, remove)
    in_page.write(small, tmp_path / "network.js", x, {"name": 3}, {"features.0": [0, 2]})
    shown, content = in_page.read(tmp_path / "network.js")
    assert content["name"] == 3 and content["layers"][0]["kept"] == [0, 2]
    with torch.inference_mode():
        exact, rounded = small(x), shown(x)
    assert 0 < (exact - rounded).abs().max() < 0.02 * exact.abs().max()
    assert (rounded < 0).any() != final_relu


def test_a_detector_comes_back_with_its_batch_norms_in_the_convolutions(tmp_path):
    torch.manual_seed(0)
    model = ssdlite_mobilenet_v2(size=64)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.1, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.1, 0.5)
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d):  # a filter of whole numbers, of which none is rounded
            step = conv.weight.detach().flatten(1).abs().amax(1).view(-1, 1, 1, 1) / 127
            conv.weight = nn.Parameter((conv.weight / step).round() * step)
    x = torch.randn(2, 3, 64, 64)
    in_page.write(model, tmp_path / "network.js", x, {"name": "whole"})
    assert all(module.training for module in model.modules())  # as it was
    shown, content = in_page.read(tmp_path / "network.js")
    ops = [step["op"] for step in content["steps"]]
    assert set(ops) == {"conv", "add"} and ops.count("conv") == len(content["layers"])
    with torch.inference_mode():
        for exact, computed in zip(model.eval()(x), shown(x), strict=True):
            assert exact.shape == computed.shape
            assert (exact - computed).abs().max() < 1e-4 * exact.abs().max()


def test_rounding_moves_a_weight_by_half_a_step_at_most():
    torch.manual_seed(0)
    weight = torch.randn(5, 4, 3, 3) * torch.logspace(-4, 2, 5).view(-1, 1, 1, 1)
    whole, scale = in_page.rounded(weight)
    step = scale.view(-1, 1, 1, 1)
    assert (whole * step - weight).abs().le(0.5001 * step).all()


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.Sigmoid(), "1, which is Sigmoid"),
        (nn.Conv2d(4, 4, 3, groups=2), "1, which is Conv2d"),
        (nn.Conv2d(4, 8, 3, groups=4), "1, which is Conv2d"),
        (nn.Conv2d(4, 4, (1, 3)), "1, which is Conv2d"),
        (nn.Conv2d(4, 4, 3, padding="same"), "1, which is Conv2d"),
        (nn.AvgPool2d(2), "1, which is AvgPool2d"),
    ],
)
def test_what_the_page_cannot_compute_is_refused_by_name(tmp_path, layer, named):
    with pytest.raises(ValueError, match=f"the page cannot compute {named}"):
        in_page.write(nn.Sequential(nn.Conv2d(3, 4, 3), layer), tmp_path / "network.js", X, {})
    assert list(tmp_path.iterdir()) == []


class Summed(nn.Module):
    """A ReLU that is not the convolution's own: of a sum, or of what the sum takes unchanged."""

    def __init__(self, *, before: bool) -> None:
        super().__init__()
        self.conv, self.relu, self.before = nn.Conv2d(3, 3, 1), nn.ReLU(), before

    def forward(self, x):
        y = self.conv(x)
        return self.relu(y) + y if self.before else self.relu(y + x)


@pytest.mark.parametrize(
    "model",
    [
        Summed(before=True),
        Summed(before=False),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2)),
        nn.Sequential(nn.Conv2d(3, 4, 3, dilation=2)),
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=(2, 1))),
    ],
)
def test_what_the_page_would_compute_otherwise_is_not_written(tmp_path, model):
    with pytest.raises(ValueError, match="something else than this network"):
        in_page.write(model, tmp_path / "network.js", X, {})
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_refused(tmp_path):
    (tmp_path / "network.js").write_text("alert(1)")
    with pytest.raises(ValueError, match="no network of the lab"):
        in_page.read(tmp_path / "network.js")
