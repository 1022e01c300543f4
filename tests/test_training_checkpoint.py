"""Training that was stopped goes on as if it had not been, and only where it was the same."""

import copy
import random

import numpy as np
import pytest
import torch
from loops import bent_otherwise, dropping_more, frozen, striding_less, written_before
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from prunekit.models import TinySqueezeNet
from prunekit.repair import insert_batch_norm
from prunekit.storage.fingerprints import digest_of
from prunekit.training import fit


class StopsIn:
    """A loader that is interrupted in one of its passes."""

    def __init__(self, batches, last):
        self.batches, self.left = batches, last

    def __len__(self):
        return len(self.batches)

    def fingerprint(self):
        return digest_of({str(n): x for n, (x, _) in enumerate(self.batches)})

    def __iter__(self):
        if not self.left:
            raise RuntimeError("killed")
        self.left -= 1
        order = torch.randperm(len(self.batches))
        return iter([self.batches[i] for i in order])


AVERAGED = {"schedule": "cosine", "warm_up": 1.0, "average": 0.8, "decay_all": False}


@pytest.mark.parametrize("more", [{}, AVERAGED], ids=["plain", "averaged"])
def test_training_that_was_killed_ends_with_the_weights_of_an_unbroken_one(tmp_path, more):
    torch.manual_seed(0)
    batches = [(torch.randn(8, 3, 32, 32), torch.arange(8)) for _ in range(4)]
    untrained = insert_batch_norm(TinySqueezeNet(), batches)
    settings = {"epochs": 3, "lr": 0.02, "progress": False} | more
    whole, broken = copy.deepcopy(untrained), copy.deepcopy(untrained)
    torch.manual_seed(1)
    fit(whole, StopsIn(batches, 3), **settings)
    path = tmp_path / "training.safetensors"
    torch.manual_seed(1)
    with pytest.raises(RuntimeError, match="killed"):
        fit(broken, StopsIn(batches, 2), checkpoint=path, **settings)
    resumed = copy.deepcopy(untrained)
    torch.manual_seed(5)
    history = fit(resumed, StopsIn(batches, 1), checkpoint=path, **settings)
    assert history["epoch"].tolist() == [1, 2, 3]
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


class Augmented(StopsIn):
    """As :class:`StopsIn`, with noise on the images."""

    def __init__(self, noise, batches, last):
        super().__init__(batches, last)
        self.noise = noise

    def __iter__(self):
        return iter([(x + self.noise(), y) for x, y in super().__iter__()])


ON_THE_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize(
    "noise",
    [
        np.random.standard_normal,
        random.random,
        lambda: random.gauss(0, 1),
        pytest.param(lambda: torch.randn((), device="cuda").item(), marks=ON_THE_GPU),
    ],
    ids=["numpy", "python", "gauss", "cuda"],
)
def test_a_resumed_training_draws_the_numbers_of_an_unbroken_one(tmp_path, noise):
    torch.manual_seed(0)
    batches = [(torch.randn(8, 3, 6, 6), torch.arange(8)) for _ in range(3)]
    untrained = nn.Sequential(nn.Flatten(), nn.Linear(108, 10))
    if torch.cuda.is_available():
        untrained.cuda()
    settings = {"epochs": 3, "lr": 0.02, "progress": False}
    whole, broken, resumed = (copy.deepcopy(untrained) for _ in range(3))

    def seeded():
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)

    seeded()
    fit(whole, Augmented(noise, batches, 3), **settings)
    seeded()
    path = tmp_path / "training.safetensors"
    with pytest.raises(RuntimeError, match="killed"):
        fit(broken, Augmented(noise, batches, 2), checkpoint=path, **settings)
    noise()
    fit(resumed, Augmented(noise, batches, 1), checkpoint=path, **settings)
    assert torch.equal(whole[1].weight, resumed[1].weight)


def test_a_finished_training_taken_up_again_leaves_the_generators_where_it_ended(tmp_path):
    def shuffled():
        torch.manual_seed(0)
        images = TensorDataset(torch.randn(12, 3, 6, 6), torch.arange(12) % 10)
        return DataLoader(images, batch_size=4, shuffle=True)

    untrained = nn.Sequential(nn.Flatten(), nn.Linear(108, 10))
    path, drawn = tmp_path / "training.safetensors", []
    for _ in range(2):
        fit(copy.deepcopy(untrained), shuffled(), epochs=2, checkpoint=path, progress=False)
        drawn.append(torch.randn(()).item())
    assert drawn[0] == drawn[1]


@pytest.fixture
def trained(tmp_path):
    """What a training was given, its checkpoint among it."""
    torch.manual_seed(0)
    batches = [(torch.randn(8, 3, 32, 32), torch.arange(8))]
    path = tmp_path / "training.safetensors"
    given = {"model": TinySqueezeNet(), "loader": batches, "teacher": TinySqueezeNet()}
    given |= {"teacher_weight": 0.0, "checkpoint": path, "progress": False}
    fit(**given | {"model": copy.deepcopy(given["model"])})
    return given


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda given: {"lr": 0.02}, r"lr \(0.01 there, 0.02 here\)"),
        (lambda given: {"model": TinySqueezeNet()}, "starting_weights"),
        (lambda given: {"loader": [(given["loader"][0][0] + 1, torch.arange(8))]}, "data"),
        (lambda given: {"val_loader": given["loader"]}, "val_data"),
        (lambda given: {"teacher": TinySqueezeNet()}, "teacher"),
        (lambda given: {"model": dropping_more(given["model"])}, r"network \("),
        (lambda given: {"model": striding_less(given["model"])}, r"network \("),
        (lambda given: {"model": bent_otherwise(given["model"])}, r"network \("),
        (lambda given: {"model": frozen(given["model"])}, r"frozen \(\[\] there, \['features.0.w"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_and_kept(trained, other, message):
    before = trained["checkpoint"].read_bytes()
    given = trained | other(trained)
    weights = copy.deepcopy(given["model"].state_dict())
    with pytest.raises(ValueError, match=message):
        fit(**given)
    assert trained["checkpoint"].read_bytes() == before
    for name, tensor in given["model"].state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_a_checkpoint_from_before_networks_were_described_is_gone_on_with(trained):
    written_before(trained["checkpoint"], "prunekit-training")
    history = fit(**trained | {"model": dropping_more(trained["model"])})
    assert len(history) == 1


def test_a_damaged_checkpoint_is_named(trained):
    path = trained["checkpoint"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged"):
        fit(**trained)
