"""Twins of one layer, where the reader sets how similar two filters must be to be twins."""

from __future__ import annotations

import numpy as np
import pandas as pd

from prunekit.book.moving.page import MovingFigure
from prunekit.criteria.twins import nearest

#: In hundredths: the lowest threshold on offer. Below it nearly all are twins of each other.
LEAST = 30


def moving_twins(layer: str, similarity: np.ndarray, ranking: pd.DataFrame) -> MovingFigure:
    """A slider for the threshold: which filters of a layer are twins, and which would go.

    Parameters
    ----------
    similarity
        Of the layer's filters, as
        :func:`prunekit.criteria.twins.map_similarities` gives it.
    ranking
        By the criterion of the same measure, such as ``"similarity_pearson"``
        for Pearson's correlation. Its scores are 1 less the similarity to the
        closest filter that outlives it.

    Raises
    ------
    ValueError
        The ranking has other filters of the layer than ``similarity``.
    """
    scores = ranking[ranking["layer"] == layer].set_index("filter")["score"].sort_index()
    if scores.index.tolist() != list(range(len(similarity))):
        raise ValueError(f"similarity and ranking must have the same filters of {layer}")
    first, second = np.triu_indices(len(similarity), 1)
    values = similarity[first, second]
    near = values >= LEAST / 100
    pairs = zip(first[near].tolist(), second[near].tolist(), values[near].tolist(), strict=True)
    data = {
        "layer": layer,
        "closest": nearest({layer: similarity})["similarity"].tolist(),
        "outlived": (1 - scores).tolist(),
        "pairs": [list(pair) for pair in pairs],
        "least": LEAST,
    }
    still = "The figure above shows how similar the closest two are, in all layers."
    return MovingFigure("twins", data, still)
