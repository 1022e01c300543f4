"""What networks should cost by their counts, beside what they do cost."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from torch import Tensor, nn

from prunekit.checks import checked, named_modules
from prunekit.measure.cost import profile
from prunekit.measure.memory import peak_memory
from prunekit.measure.timing import TIMING, latencies


@checked(models=named_modules, **TIMING)
def compare(
    models: Mapping[str, nn.Module],
    example_inputs: Tensor | tuple,
    *,
    repeats: int = 20,
    warmup: int = 3,
    threads: int = 1,
) -> pd.DataFrame:
    """What several models should cost by their counts, beside what they do cost.

    Fewer multiply-accumulates do not always save time: small layers keep a
    machine waiting for memory, and odd widths keep its vector units half
    empty.

    Returns
    -------
    DataFrame with a row a model: ``parameters``, ``macs`` and ``bytes`` as
    in :class:`Profile`; ``peak_memory`` in bytes; ``ms`` and ``p95_ms``, the
    median and the 95 % quantile of milliseconds a forward pass on these
    inputs, timed in turns; ``predicted`` and ``measured``, the MACs and the
    median time as shares of the first model's.

    Examples
    --------
    >>> import torch
    >>> wide, narrow = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 2, 3)
    >>> table = compare({"wide": wide, "narrow": narrow}, torch.zeros(1, 3, 9, 9), repeats=3)
    >>> table[["parameters", "macs", "predicted"]]
            parameters   macs  predicted
    wide           224  10584       1.00
    narrow          56   2646       0.25
    """
    timings = latencies(
        list(models.values()), example_inputs, repeats=repeats, warmup=warmup, threads=threads
    )
    rows = {}
    for (name, model), timing in zip(models.items(), timings, strict=True):
        cost = profile(model, example_inputs)
        rows[name] = {
            "parameters": cost.parameters,
            "macs": cost.macs,
            "bytes": cost.bytes,
            "peak_memory": peak_memory(model, example_inputs),
            "ms": timing.ms["median_ms"],
            "p95_ms": timing.ms["p95_ms"],
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["predicted"] = table["macs"] / table["macs"].iloc[0]
    table["measured"] = table["ms"] / table["ms"].iloc[0]
    return table
