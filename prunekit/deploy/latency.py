"""Several engines timed side by side on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from prunekit.deploy.engines import Engine
from prunekit.measure.timing import in_turns


def compare(
    engines: Mapping[str, Engine], image: np.ndarray, *, rounds: int = 100, burst: int = 3
) -> pd.DataFrame:
    """Time one inference of each engine, in turns.

    A machine's speed drifts. So every round gives each engine its turn, and
    what disturbs a round disturbs all. A turn runs the engine ``burst`` times
    after one run that does not count: it brings the network back into the
    cache.

    Parameters
    ----------
    image
        One input of shape (1, 3, height, width), float32.
    rounds
        Turns of each engine.

    Returns
    -------
    DataFrame with a row an engine: ``engine``, ``min_ms``, ``median_ms``,
    ``p95_ms`` over all counted runs. On a machine with other work the
    minimum is the steadier figure.

    Examples
    --------
    >>> import time
    >>> def slow(image): time.sleep(0.002)
    >>> table = compare({"slow": slow, "fast": len}, np.zeros((1, 3, 4, 4)), rounds=3)
    >>> table["engine"].tolist(), bool(table["min_ms"][0] > table["min_ms"][1])
    (['slow', 'fast'], True)
    """
    if rounds < 1 or burst < 1:
        raise ValueError(f"rounds and burst must be at least 1, not {rounds} and {burst}")
    turns = [partial(engine, image) for engine in engines.values()]
    timings = in_turns(turns, rounds, lead_in=1, burst=burst)
    rows = [{"engine": name} | timing.ms for name, timing in zip(engines, timings, strict=True)]
    return pd.DataFrame(rows)
