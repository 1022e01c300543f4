"""Tensors that a module keeps without registering them: a removal leaves them as they are."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunekit

SHIFT = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)


class Plain(nn.Module):
    """Such tensors in sums, lists and indices, and one whose values the code reads."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.parts = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), [torch.rand(4, 6)]
        self.rows, self.strides = torch.tensor([4, 1, 0, 3]), torch.tensor([1, 2])
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first((x - self.mean) / SHIFT))[:, :, self.rows]
        x = torch.cat([x, x * self.parts[0]], dim=2)
        return self.last(F.avg_pool2d(x, self.strides.tolist()))


def test_a_network_with_plain_tensors_loses_filters():
    model, x = Plain().eval(), torch.rand(2, 3, 8, 8)
    remove = {"first": [0, 5]}
    small = prunekit.rebuild(model, x, remove)
    assert small.first.out_channels == 6
    assert torch.equal(small.mean, model.mean)
    assert small.mean is not model.mean
    torch.testing.assert_close(small(x), prunekit.mask(model, x, remove)(x), rtol=1e-4, atol=1e-4)
    assert torch.equal(prunekit.rebuild(model, x, {})(x), model(x))
