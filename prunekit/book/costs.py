"""What training took: epochs, seconds and machines, read from the records of studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from prunekit.book.findings import RUN
from prunekit.study.recorded import Recorded


def training_epochs(settings: dict, iterations: int) -> float:
    """Epochs of fine-tuning that a reported network has had, over all iterations and at the end."""
    pruning, finish = settings["prune"], settings["finish"] or {}
    each = (pruning["fine_tune"] or {}).get("epochs", 0)
    return each * iterations + (finish.get("fine_tune") or {}).get("epochs", 0)


def seconds_as_it_shrinks(table: pd.DataFrame, left: Sequence[float]) -> pd.DataFrame:
    """What an iteration takes when this share of the parameters is left, over the runs of a study.

    Of each run counts the iteration after which it was nearest to the share.
    Its seconds are those of ranking, removal, fine-tuning and validation. The
    median stands for the runs, since other work on the machine slows now one
    of them, now another.

    Parameters
    ----------
    table
        A row an iteration of each run, as ``Recorded.table("table")`` gives it.
    left
        Shares of the parameters.

    Returns
    -------
    DataFrame indexed by ``parameters left``: ``MACs left`` and ``seconds``,
    medians over the runs, and the ``least`` and the ``most`` seconds of any.

    Examples
    --------
    >>> table = pd.DataFrame({"variant": "a", "seed": [0, 0, 0, 1, 1, 1],
    ...     "iteration": [0, 1, 2] * 2, "parameters": [100, 80, 50] * 2,
    ...     "macs": [100, 90, 70] * 2, "seconds": [1, 9, 6, 1, 11, 8]})
    >>> seconds_as_it_shrinks(table, [0.5]).reset_index().values.tolist()
    [[0.5, 0.7, 7.0, 6.0, 8.0]]
    """
    before = table.groupby(RUN)[["parameters", "macs"]].transform("first")
    shares = (table[["parameters", "macs"]] / before)[table["iteration"] > 0]
    rows = []
    for share in left:
        off = (shares["parameters"] - share).abs()
        there = off.groupby([table[name] for name in RUN]).idxmin()
        seconds = table.loc[there, "seconds"]
        cost = seconds.median(), seconds.min(), seconds.max()
        rows.append((share, shares.loc[there, "macs"].median(), *cost))
    columns = ["parameters left", "MACs left", "seconds", "least", "most"]
    return pd.DataFrame(rows, columns=columns).set_index("parameters left")


def trained(studies: Iterable[Recorded]) -> pd.DataFrame:
    """What training took in the first run of each study, and what came of it: a row a study.

    Returns
    -------
    DataFrame indexed by study: ``parameters``, ``macs``, ``epochs``,
    ``minutes`` and ``threads`` of the run, ``instructions`` (the widest
    instruction set of the processor, or the accelerator), ``test_accuracy``.
    """
    rows = {}
    for study in studies:
        record = next(iter(study.records().values()))
        networks = study.table("networks")
        (network,) = networks[networks["seed"] == record["seed"]].to_dict("records")
        machine = record["machine"]
        rows[study.study.name] = {
            "parameters": network["parameters"],
            "macs": network["macs"],
            "epochs": record["settings"]["train"]["epochs"],
            "minutes": record["seconds"] / 60,
            "threads": machine["threads"],
            "instructions": machine["accelerator"] or machine["instruction_set"],
            "test_accuracy": network["test_accuracy"],
        }
    return pd.DataFrame.from_dict(rows, orient="index")
