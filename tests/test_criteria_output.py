"""Maps before the activation function: by hand, and as a hook on the layer sees them."""

from __future__ import annotations

import pytest
import torch
from paper import InPlace, Paper, batches
from torch.testing import assert_close

from prunekit import rank, rank_all


@pytest.mark.parametrize("sizes", [(2,), (1, 1)])
def test_negative_values_count_before_a_relu(sizes):
    # x is (1, -3) and (1, 0), so the maps of weight w have the norms |w| * 10^0.5 and |w|.
    scores = rank(Paper(), batches(*sizes), "output_l2", normalize=False)["score"]
    one = (10**0.5 + 1) / 2
    assert scores.tolist() == pytest.approx([one, one, 2 * one])


def test_the_map_is_the_layers_own_even_where_the_next_layer_writes_over_it():
    torch.manual_seed(0)
    model, x = InPlace().eval(), torch.randn(4, 3, 6, 6)
    seen = {}
    for name in ("first", "second"):
        model.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output.clone()})
        )
    model(x)
    # With others beside it, so that layers are watched in two places at once.
    names = ["output_l2", "activation_l2", "taylor"]
    batch = x, torch.zeros(4, dtype=torch.long)
    scores = {n: r["score"] for n, r in rank_all(model, [batch], names, normalize=False).items()}
    # The two layers are added up, so their filters share one score: the mean.
    norms = [maps.flatten(2).norm(dim=2).mean(0) for maps in seen.values()]
    assert_close(torch.tensor(scores["output_l2"]).float(), torch.cat([sum(norms) / 2] * 2))
    for other in names[1:]:
        alone = rank_all(model, [batch], [other], normalize=False)[other]["score"]
        assert scores[other].tolist() == pytest.approx(alone.tolist())
