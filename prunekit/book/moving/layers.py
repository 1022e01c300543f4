"""What is left of every layer, turn by turn, with the accuracy it was paid with."""

from __future__ import annotations

import pandas as pd

from prunekit.book.moving.page import MovingFigure
from prunekit.book.readings import block


def moving_layers(table: pd.DataFrame, pattern: pd.DataFrame, filters: pd.Series) -> MovingFigure:
    """A slider over the turns of a pruning run: bars of filters below a curve of accuracy.

    Parameters
    ----------
    table
        ``iteration`` and ``accuracy_after``: a row a turn, the first one iteration 0.
    pattern
        Filters removed: a row a turn, by its number from 1, and a column a layer.
    filters
        Filters of each layer before pruning.

    Raises
    ------
    ValueError
        The table and the pattern are of other turns.
    """
    after = table.set_index("iteration")["accuracy_after"].sort_index()
    if after.index.tolist() != [0, *pattern.index]:
        raise ValueError("table and pattern must have the same turns, and the table turn 0 too")
    removed = pattern.reindex(columns=filters.index, fill_value=0).cumsum()
    kept = (filters - removed).reindex(after.index, fill_value=0)
    kept.loc[0] = filters
    names = [block(layer).split()[-1] for layer in filters.index]
    data = {
        "layers": [{"name": name, "filters": int(count)} for name, count in filters.items()],
        "blocks": [
            {"place": place, "name": name}
            for place, name in enumerate(names)
            if name not in names[:place]
        ],
        "turns": [
            {"accuracy": float(accuracy), "kept": kept.loc[turn].astype(int).tolist()}
            for turn, accuracy in after.items()
        ],
    }
    return MovingFigure("layers", data, "The figure above shows six of its turns.")
