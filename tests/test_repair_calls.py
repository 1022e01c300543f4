"""Layers that are given what they read by name, and more than that."""

import pytest
import torch
import torch.nn.functional as F
from networks import randomise
from repairs import pruned_pair
from torch import Tensor, nn

import prunekit
from prunekit import fold_batch_norm, insert_batch_norm, repair


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 8, 3, stride=2)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        size = [x.shape[2] + 1, x.shape[3] + 1]
        x = F.relu(self.norm(input=self.conv(input=x)))
        x = F.relu(self.up(output_size=size, input=x))
        return self.last(input=x.mean((2, 3)))


class Placed(Named):
    """The same, called the usual way."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        x = F.relu(F.pad(self.up(x), (0, 1, 0, 1)))
        return self.last(x.mean((2, 3)))


@pytest.mark.parametrize("method", ["least_squares", "moments", "batch_norm"])
def test_layers_called_by_name_are_repaired_as_others_are(method):
    torch.manual_seed(0)
    model, x = randomise(Named()).eval(), torch.randn(32, 3, 9, 9)
    nn.init.zeros_(model.up.bias)  # so that padding gives what an odd size gives
    small, remove = pruned_pair(model, x)
    placed = Placed().eval()
    placed.load_state_dict(model.state_dict())
    repaired = repair(small, model, remove, [x], method=method, progress=False)
    assert repaired(x).shape == model(x).shape
    expected = prunekit.rebuild(placed, x, remove)
    expected = repair(expected, placed, remove, [x], method=method, progress=False)
    for name in ("conv.weight", "norm.running_mean"):
        torch.testing.assert_close(repaired.state_dict()[name], expected.state_dict()[name])


def test_batch_norms_of_convolutions_called_by_name_come_and_go():
    model, x = randomise(Named()).eval(), torch.randn(32, 3, 9, 9)
    for changed in (fold_batch_norm(model), insert_batch_norm(fold_batch_norm(model), [x])):
        torch.testing.assert_close(changed(x), model(x), rtol=1e-4, atol=1e-4)
