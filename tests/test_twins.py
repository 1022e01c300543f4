"""Filters that repeat others: who they are, and which of them a ranking keeps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import randomise
from torch import nn

from prunekit import rank
from prunekit.criteria import MapSimilarity
from prunekit.criteria.ranking import rank_all
from prunekit.criteria.twins import (
    activation_maps,
    closest_pairs,
    map_similarities,
    nearest,
    twins_left,
)

IMAGES = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
# Batches of unequal size: a mean of means would be another number.
BATCHES = [(IMAGES[:5], torch.arange(5) % 4), (IMAGES[5:], torch.arange(2) % 4)]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4)),
    )
    return randomise(model).eval()


def twinned() -> nn.Module:
    """Filter 5 of the first layer repeats filter 1; filter 2 is silent."""
    model = network()
    with torch.no_grad():
        for tensor in (model[0].weight, model[0].bias, *model[1].state_dict().values()):
            if tensor.dim():
                tensor[5] = tensor[1]
        model[1].weight[2], model[1].bias[2] = 0, -1
    return model


def test_similarities_are_numpys_correlations_over_all_examples_and_positions():
    model = network()
    with torch.inference_mode():
        maps = model[:3](IMAGES).transpose(0, 1).flatten(1)
    found = map_similarities(model, BATCHES)
    assert list(found) == ["0", "3", "7"]
    assert np.allclose(found["0"], np.corrcoef(maps.numpy()), atol=1e-5)
    cosine = map_similarities(model, BATCHES, MapSimilarity())["0"]
    lengths = maps.norm(dim=1)
    assert np.allclose(cosine, (maps @ maps.T / torch.outer(lengths, lengths)).numpy(), atol=1e-5)


def test_only_as_many_batches_are_read_as_asked_for():
    first = map_similarities(network(), BATCHES[:1])
    assert np.array_equal(map_similarities(network(), BATCHES, batches=1)["0"], first["0"])


def test_a_repeated_filter_is_the_closest_pair_and_a_silent_one_is_like_none():
    similarities = map_similarities(twinned(), BATCHES)
    pair = closest_pairs({"0": similarities["0"]}, 1).iloc[0]
    assert (pair["filter"], pair["twin"]) == (1, 5)
    assert pair["similarity"] == pytest.approx(1)
    assert not similarities["0"][2].any() and not similarities["0"][:, 2].any()


def test_maps_are_those_that_the_next_layer_sees():
    model = network()
    maps = activation_maps(model, BATCHES, "0")
    with torch.inference_mode():
        assert np.allclose(maps, model[:3](IMAGES).numpy(), atol=1e-6)
    assert activation_maps(model, BATCHES, "7").shape == (7, 6, 1)
    with pytest.raises(ValueError, match="no layer 'conv1' can be pruned; there are 0, 3, 7"):
        activation_maps(model, BATCHES, "conv1")


def symmetric(values: list[float], size: int) -> np.ndarray:
    matrix = np.eye(size)
    matrix[np.triu_indices(size, 1)] = values
    return np.maximum(matrix, matrix.T)


@given(st.lists(st.floats(-1, 1), min_size=15, max_size=15), st.integers(1, 4))
def test_pairs_share_no_filter_and_the_first_is_the_closest_of_all(values, count):
    similarity = np.clip(symmetric(values, 6), -1, 1)
    pairs = closest_pairs({"conv": similarity}, count)
    assert len(pairs) == min(count, 3)
    filters = [*pairs["filter"], *pairs["twin"]]
    assert len(set(filters)) == len(filters)
    closest = nearest({"conv": similarity})["similarity"]
    assert pairs["similarity"].iloc[0] == closest.max()
    assert pairs["similarity"].is_monotonic_decreasing


def test_a_ranking_by_similarity_takes_one_of_each_twin_and_leaves_none():
    """Once all that score below 1 - threshold have gone, no two as similar as it are left."""
    model, threshold = twinned(), 0.7
    similarities = map_similarities(model, BATCHES)
    ranking = rank(model, BATCHES, "similarity_pearson")
    gone = (ranking["score"] <= 1 - threshold).mean()
    assert 0 < gone < 0.6
    before, after = twins_left(similarities, ranking, [0, gone], threshold)["twins"]
    assert before > 0 == after


def test_saliency_by_size_keeps_a_twin_that_similarity_removes_first():
    model = twinned()
    similarities = {"0": map_similarities(model, BATCHES)["0"]}
    rankings = rank_all(model, BATCHES, ["activation_l2", "similarity_pearson"])
    twins = {
        name: twins_left(
            similarities, ranking[ranking["layer"] == "0"], [0, 2 / 6], threshold=0.999
        )["twins"].tolist()
        for name, ranking in rankings.items()
    }
    size = rankings["activation_l2"].query("layer == '0'").set_index("filter")["score"]
    assert size[1] == pytest.approx(size[5])
    assert twins == {"activation_l2": [2, 2], "similarity_pearson": [2, 0]}


def test_coupled_filters_are_counted_as_one_removal():
    ranking = pd.DataFrame(
        {"layer": ["a"] * 3 + ["b"] * 3, "filter": [0, 1, 2] * 2, "score": [1.0, 2, 3] * 2}
        | {"group": [1, 2, 3] * 2}
    )
    similarities = {"a": np.eye(3), "b": np.eye(3)}
    assert twins_left(similarities, ranking, [1 / 3], 0.5)["kept"].tolist() == [4]
