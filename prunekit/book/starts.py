"""Networks beside the one that their run began with: what it gave up, and what it saved.

Every function takes tables as :class:`prunekit.study.recorded.Recorded` gives
them and returns a new one. Accuracies and shares are fractions.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from prunekit.book.findings import RUN
from prunekit.storage import load
from prunekit.study.recorded import Recorded
from prunekit.study.tuning import MODEL

COSTS = ("filters", "parameters", "macs", "ms")


def with_start(networks: pd.DataFrame, start: pd.DataFrame | None = None) -> pd.DataFrame:
    """Give every run a row at ratio 0: the network that it began with.

    A network that has lost nothing but was fine-tuned as long as the rest may
    be better than the start. Losses are counted from the start itself.

    Parameters
    ----------
    start
        ``val_accuracy`` and ``test_accuracy`` by seed, as
        :meth:`prunekit.study.recorded.Recorded.started` gives them. Without
        it, the recorded network at ratio 0 stands for the start; that of one
        variant serves all runs of its seed.

    Raises
    ------
    ValueError
        No variant has a row at ratio 0 for some seed.
    """
    unpruned = networks[networks["ratio"] == 0].drop_duplicates("seed").set_index("seed")
    if without := sorted(set(networks["seed"]) - set(unpruned.index)):
        names = ", ".join(map(str, without))
        raise ValueError(f"no network at ratio 0 is recorded for seed {names}")
    runs = networks.groupby(RUN, sort=False)["ratio"].min()
    lacking = [
        unpruned.loc[[seed]].assign(variant=variant).reset_index()
        for (variant, seed), lowest in runs.items()
        if lowest > 0
    ]
    whole = pd.concat([networks, *lacking], ignore_index=True)[list(networks)]
    if start is not None:
        begins = whole["ratio"] == 0
        for column in start:
            whole.loc[begins, column] = whole.loc[begins, "seed"].map(start[column])
    return whole


def relative(networks: pd.DataFrame, start: pd.DataFrame | None = None) -> pd.DataFrame:
    """Each network beside the one that its run began with.

    Takes and returns runs :func:`with_start`, and adds ``accuracy_lost`` on
    the test set, the shares ``filters_removed``, ``parameters_removed`` and
    ``macs_removed``, and where times are known ``ms_removed`` and
    ``speedup``.
    """
    networks = with_start(networks, start)
    columns = [c for c in (*COSTS, "test_accuracy") if c in networks]
    begins = networks["ratio"] == 0
    unpruned = networks[begins].groupby("seed")[columns].mean()
    if "ms" in networks:
        # One network, timed once a criterion: other programs can only have slowed it down.
        fastest = unpruned["ms"] = networks[begins].groupby("seed")["ms"].min()
        shared = networks["seed"].map(fastest)
        networks["ms"] = networks["ms"].mask(begins, shared)
    beside = unpruned.loc[networks["seed"]].set_index(networks.index)
    result = networks.assign(accuracy_lost=beside["test_accuracy"] - networks["test_accuracy"])
    for cost in columns[:-1]:
        result[f"{cost}_removed"] = 1 - networks[cost] / beside[cost]
    if "ms" in networks:
        result["speedup"] = beside["ms"] / networks["ms"]
    return result


def beside_start(recorded: Recorded) -> pd.DataFrame:
    """Each reported network of a study that prunes, as :func:`relative` puts it, beside its start.

    Also where no network at ratio 0 is reported: what the start costs is in
    the table of iterations. Only its parameters are counted on the recorded
    network, for the table may count batch norms that were put in for the run.

    Returns
    -------
    DataFrame
        A row for each reported network, and ``place``: the first, second and
        so on of its run, which are those of the same share in every run.
    """
    networks, table = recorded.table("networks"), recorded.table("table")
    whole = table[table["iteration"] == 0].assign(ratio=0.0)
    whole["parameters"] = whole["seed"].map(_parameters_at_start(recorded))
    pruned = networks[networks["ratio"] > 0]
    rows = relative(pd.concat([whole, pruned], ignore_index=True), recorded.started())
    rows = rows[rows["ratio"] > 0].sort_values([*RUN, "ratio"], ignore_index=True)
    return rows.assign(place=rows.groupby(RUN).cumcount())


def _parameters_at_start(recorded: Recorded) -> dict[int, int]:
    settings = [record["settings"] for record in recorded.records().values()]
    results = recorded.folder.parent
    return {
        one["seed"]: sum(p.numel() for p in load(results / one["start"] / MODEL).parameters())
        for one in settings
    }


def start_tuned_pruned(networks: pd.DataFrame, start: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """Test accuracy of what each run began with, of that tuned but not pruned, and at a ratio.

    Parameters
    ----------
    networks
        Runs that report a network at ratio 0 and one at ``ratio``.
    start
        As for :func:`with_start`.

    Returns
    -------
    DataFrame
        ``start``, ``tuned`` and ``pruned``, by variant and seed.

    Examples
    --------
    >>> networks = pd.DataFrame({"variant": "a", "seed": 0, "ratio": [0.0, 0.5],
    ...                          "test_accuracy": [0.9, 0.8]})
    >>> start_tuned_pruned(networks, pd.DataFrame({"test_accuracy": [0.7]}), 0.5).to_dict("list")
    {'start': [0.7], 'tuned': [0.9], 'pruned': [0.8]}
    """
    runs = networks.set_index(RUN)
    tuned, pruned = (
        runs.loc[np.isclose(runs["ratio"], where), "test_accuracy"] for where in (0, ratio)
    )
    table = pd.DataFrame({"tuned": tuned, "pruned": pruned}).dropna()
    begins = start["test_accuracy"].loc[table.index.get_level_values("seed")]
    table.insert(0, "start", begins.to_numpy())
    return table
