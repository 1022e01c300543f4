"""Layer-adaptive magnitude by hand, and as its paper computes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paper import Paper, batches
from torch import nn

from prunekit import rank
from prunekit.criteria import LAMP, Observation


@pytest.mark.parametrize("normalize", ["l2", False])
def test_lamp_by_hand(normalize):
    # The weights are 1, -1 and 2: of the two smallest, each is as large as the other.
    scores = rank(Paper(), batches(2), "lamp", normalize=normalize)["score"]
    assert scores.tolist() == pytest.approx([1 / (1 + 1 + 4), 1 / (1 + 1 + 4), 4 / 4])


def test_the_largest_filter_of_every_layer_outlives_all_others():
    model = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.Conv2d(3, 2, 1, bias=False),
                          nn.Conv2d(2, 2, 1))  # fmt: skip
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 2, 3]).view(3, 1, 1, 1))
        model[1].weight.copy_(torch.tensor([[100.0, 0, 0], [0, 0, 200]]).view(2, 3, 1, 1))
    ranking = rank(model, [(torch.zeros(2, 1, 4, 4), None)], "lamp")
    assert ranking["score"].tolist() == pytest.approx([1 / 14, 4 / 13, 1, 1 / 5, 1])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12, unique=True))
def test_unequal_single_weights_have_the_scores_of_the_paper(weights):
    layer = nn.Linear(1, len(weights), bias=False)
    layer.weight.data = torch.tensor(weights, dtype=torch.float32).unsqueeze(1)
    squares = np.sort(np.square(weights))
    # With weights in ascending order: W[u]^2 over the sum of W[v]^2 for v >= u.
    left = np.cumsum(squares[::-1])[::-1]
    expected = dict(zip(squares, squares / np.maximum(left, 1), strict=True))
    scores = LAMP()(Observation("fc", layer)).tolist()
    assert scores == pytest.approx([expected[weight**2] for weight in weights])


def test_filters_of_zeros_have_no_score():
    layer = nn.Linear(2, 3)
    nn.init.zeros_(layer.weight)
    assert LAMP()(Observation("fc", layer)).tolist() == [0, 0, 0]
