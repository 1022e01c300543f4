"""Criteria of the field: batch norm scale, geometric median, zeros, ranks and similarity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch_pruning as tp
from hypothesis import given
from hypothesis import strategies as st
from networks import Residual, randomise
from torch import nn

from prunekit import mask, rank, rebuild, select
from prunekit.criteria import FPGM, APoZ, HRank, MapSimilarity, Observation
from prunekit.criteria.similarity import cosines, map_products, spare


def normed(seed: int = 0) -> nn.Module:
    """A stem, a residual block and a linear layer, all with batch norms."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(Residual(8, 6, 1), nn.Conv2d(8, 5, 3), nn.BatchNorm2d(5), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 6), nn.BatchNorm1d(6)),
        *(nn.ReLU(), nn.Linear(6, 4)),
    )
    return randomise(model).eval()


IMAGES = torch.randn(6, 3, 10, 10, generator=torch.Generator().manual_seed(0))
BATCHES = [(IMAGES, torch.arange(6) % 4)]
NAMES = ["fpgm", "apoz", "hrank", "similarity_cosine", "similarity_pearson", "similarity_filters"]


@pytest.mark.parametrize("name", NAMES)
def test_what_they_choose_obeys_the_first_law(name):
    model = normed()
    ranking = rank(model, BATCHES, name)
    remove = select(ranking, ranking["group"].nunique() // 2, min_filters=1)
    small, masked = rebuild(model, IMAGES, remove), mask(model, IMAGES, remove)
    assert torch.allclose(small(IMAGES), masked(IMAGES), atol=1e-5)


class Slim(nn.Module):
    """Two convolutions that are added; the first and the sum have batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
        self.left_norm, self.norm = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
        self.alone, self.alone_norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.left_norm.weight.copy_(torch.tensor([-1.0, 2.0]))
            self.norm.weight.copy_(torch.tensor([3.0, -5.0]))
            self.alone_norm.weight.copy_(torch.tensor([0.25, -0.5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.left_norm(self.left(x)) + self.right(x))
        return self.head(torch.relu(self.alone_norm(self.alone(x))).mean((2, 3)))


def test_batch_norm_scales_by_hand_and_as_torch_pruning_has_them():
    model, x = Slim(), torch.zeros(2, 1, 4, 4)
    ranking = rank(model, [(x, torch.tensor([0, 1]))], "bn_scale").set_index("layer")["score"]
    assert ranking["left"].tolist() == ranking["right"].tolist() == [(1 + 3) / 2, (2 + 5) / 2]
    assert ranking["alone"].tolist() == [0.25, 0.5]
    graph = tp.DependencyGraph().build_dependency(model, x)
    group = graph.get_pruning_group(model.left, tp.prune_conv_out_channels, [0, 1])
    importance = tp.importance.BNScaleImportance(normalizer=None)(group)
    assert ranking["left"].tolist() == pytest.approx(importance.tolist())


@pytest.mark.parametrize("affine", [True, False])
def test_bn_scale_names_the_layer_that_has_no_batch_norm(affine):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=affine), nn.ReLU(),
                          nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                          nn.Linear(4, 4))  # fmt: skip
    layer = "3" if affine else "0"
    with pytest.raises(ValueError, match=f"^{layer}: no batch norm with a scale follows it"):
        rank(model, BATCHES, "bn_scale")


def test_fpgm_agrees_with_torch_pruning():
    # It takes distances between absolute values, and adds those of the next layer's inputs.
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    with torch.no_grad():
        model[0].weight.abs_()
    graph = tp.DependencyGraph().build_dependency(model, IMAGES)
    group = graph.get_pruning_group(model[0], tp.prune_conv_out_channels, list(range(6)))
    expected = tp.importance.FPGMImportance(p=1, normalizer=None)(group)
    assert FPGM()(Observation("0", model[0])).tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_zeros_and_ranks_of_maps_as_the_next_layer_sees_them():
    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 3, 1), nn.Linear(3, 2)
            with torch.no_grad():
                self.conv.weight.copy_(torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1, 1))
                self.conv.bias.copy_(torch.tensor([0.0, 0.5, 2.0]))

        def forward(self, x):
            return self.head(torch.relu(self.conv(x)).mean((2, 3)))

    # relu(x), relu(1/2 - x) and the constant 2, of 3x2 pixels
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]).view(1, 1, 3, 2)
    x = torch.cat([x, torch.zeros_like(x)])
    loader = [(x, torch.tensor([0, 1]))]
    zeros = rank(Maps(), loader, "apoz", normalize=False)["score"]
    assert zeros.tolist() == pytest.approx([2 / 12, 10 / 12, 1])
    ranks = rank(Maps(), loader, "hrank", normalize=False)["score"]
    assert ranks.tolist() == [(2 + 0) / 2, (2 + 1) / 2, (1 + 1) / 2]


def test_maps_are_worked_on_in_parts(monkeypatch):
    maps = torch.relu(torch.randn(5, 4, 9, generator=torch.Generator().manual_seed(1)))
    seen = Observation("conv", nn.Conv2d(1, 4, 1), maps, extent=(3, 3))
    whole = HRank()(seen), map_products(maps)
    monkeypatch.setattr("prunekit.criteria.hrank.PART", 50)
    monkeypatch.setattr("prunekit.criteria.similarity.PART", 50)
    assert torch.equal(HRank()(seen), whole[0])
    assert torch.allclose(map_products(maps), whole[1])
    assert torch.equal(APoZ()(seen), (maps != 0).float().mean(dim=(0, 2)))


@pytest.mark.parametrize("centred", [False, True])
def test_similarity_of_maps_is_that_of_numpy(centred):
    maps = torch.randn(7, 5, 6, generator=torch.Generator().manual_seed(2)) + 0.5
    criterion = MapSimilarity(centred)
    statistic = criterion(Observation("conv", nn.Conv2d(1, 5, 1), maps))
    rows = maps.transpose(0, 1).flatten(1).double().numpy()
    lengths = np.linalg.norm(rows, axis=1)
    expected = np.corrcoef(rows) if centred else rows @ rows.T / np.outer(lengths, lengths)
    assert np.allclose(criterion.similarity(statistic.double()), expected, atol=1e-5)


def test_constant_maps_correlate_with_one_another_only():
    maps = torch.tensor([[[0.1, 0.1, 0.1], [7.0, 7.0, 7.0], [1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]])
    criterion = MapSimilarity(centred=True)
    seen = criterion(Observation("conv", nn.Conv2d(1, 4, 1), maps))
    alike = [[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]]
    assert criterion.similarity(seen).tolist() == pytest.approx(np.array(alike), abs=1e-6)


def one_by_one(similarity, saliency):
    """The order in which filters go, looking at every pair that is left each time."""
    similarity = np.where(saliency[:, None] == 0, 1, similarity)  # no loss, twin or not
    left, going = set(range(len(saliency))), []
    rank_of = {index: place for place, index in enumerate(np.argsort(saliency, kind="stable"))}
    while len(left) > 1:
        pairs = [(i, j) for i in left for j in left if rank_of[i] < rank_of[j]]
        closest = max(similarity[i, j] for i, j in pairs)
        goers = [i for i, j in pairs if similarity[i, j] == closest]
        gone = min(goers, key=rank_of.__getitem__)
        left.remove(gone)
        going.append((gone, 1 - closest))
    return going, left.pop()


@given(st.integers(1, 9), st.integers(0, 10_000))
def test_one_of_each_most_similar_pair_goes_and_the_more_salient_stays(filters, seed):
    generator = np.random.default_rng(seed)
    vectors = torch.from_numpy(generator.integers(-2, 3, (filters, 2)).astype(float))
    similarity = cosines(vectors @ vectors.T)
    saliency = torch.from_numpy(generator.integers(0, 4, filters).astype(float))
    going, last = one_by_one(similarity.numpy(), saliency.numpy())
    scores = spare(similarity, saliency).tolist()
    assert scores[last] == 2
    assert [scores[index] for index, _ in going] == [score for _, score in going]
    assert sorted(scores) == [*(score for _, score in going), 2]


def test_a_filter_that_is_never_active_goes_before_any_other():
    maps = torch.tensor([[[1.0, 0, 0], [0, 0, 0], [0, 3, 0], [1, 0.1, 0.5]]])
    for criterion in (MapSimilarity(), MapSimilarity(centred=True)):
        statistic = criterion(Observation("conv", nn.Conv2d(1, 4, 1), maps))
        scores = criterion.finish(statistic.double())
        assert scores.argmin() == 1 and scores[1] == 0


def test_of_three_equal_filters_the_loudest_is_left():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                          nn.Linear(5, 2))  # fmt: skip
    with torch.no_grad():
        model[0].weight[1] = 2 * model[0].weight[0]
        model[0].weight[3] = 3 * model[0].weight[0]
        model[0].bias.zero_()
    for name in ("similarity_cosine", "similarity_pearson", "similarity_filters"):
        assert select(rank(model, BATCHES, name), 2) == {"0": [0, 1]}
