"""Layers whose tensors the forward pass reads by itself: what is changed in them changes more."""

import pytest
import torch
import torch.nn.functional as F
from networks import randomise
from repairs import pruned_pair
from torch import Tensor, nn

from prunekit import fold_batch_norm, insert_batch_norm, repair


class Trident(nn.Module):
    """One kernel at two dilations, once as a module and once by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.last(F.relu(self.conv(x)) + F.relu(self.dilated(x)))

    def dilated(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.conv.weight, self.conv.bias, 1, 2, 2)


class NormedTrident(Trident):
    """The same with a batch norm behind the module."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.last(F.relu(self.norm(self.conv(x))) + F.relu(self.dilated(x)))


class NormTwice(NormedTrident):
    """A batch norm that is a module in one place, and in another a function of its tensors."""

    def dilated(self, x: Tensor) -> Tensor:
        norm, x = self.norm, x.repeat(1, 2, 1, 1)[:, :8]
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


class Penalised(NormedTrident):
    """The scales of a batch norm are an output too, for a penalty on them."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.norm(self.conv(F.relu(self.stem(x)))))
        return self.last(x), self.norm.weight.abs().sum()


class BiasAgain(Trident):
    """The bias of a convolution, added once more."""

    def dilated(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.conv.bias.view(1, -1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.dilated(F.relu(self.stem(x)))))


@pytest.mark.parametrize("kind", [NormedTrident, NormTwice, Penalised])
def test_a_batch_norm_stays_where_a_tensor_is_read_elsewhere(kind):
    model, x = randomise(kind()).eval(), torch.randn(4, 3, 8, 8)
    folded = fold_batch_norm(model)
    assert isinstance(folded.norm, nn.BatchNorm2d)
    torch.testing.assert_close(folded(x), model(x))


@pytest.mark.parametrize("kind", [Trident, BiasAgain])
def test_no_batch_norm_is_inserted_where_a_tensor_is_read_elsewhere(kind):
    model, x = randomise(kind()).eval(), torch.randn(4, 3, 8, 8)
    normed = insert_batch_norm(model, [x])
    assert isinstance(normed.conv, nn.Conv2d)
    assert not isinstance(normed.stem, nn.Conv2d)
    torch.testing.assert_close(normed(x), model(x), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="reads the weight or bias of conv by itself"):
        insert_batch_norm(model, [x], layers=["conv"])


@pytest.mark.parametrize("method", ["least_squares", "moments"])
@pytest.mark.parametrize("kind", [Trident, BiasAgain])
def test_repair_leaves_a_layer_whose_tensors_are_read_elsewhere(kind, method):
    model, x = randomise(kind()).eval(), torch.randn(32, 3, 8, 8)
    small, remove = pruned_pair(model, x)
    repaired = repair(small, model, remove, [x], method=method, progress=False)
    assert torch.equal(repaired.conv.weight, small.conv.weight)
    assert torch.equal(repaired.conv.bias, small.conv.bias)
    assert not torch.equal(repaired.last.weight, small.last.weight)
