"""What a claim is measured by: functions of a recorded study, one value a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from prunekit.book.findings import PARTS, layers_of, on_axis, shares_by_part
from prunekit.book.knees import knee_within, knees
from prunekit.book.readings import by_block
from prunekit.book.starts import relative, with_start
from prunekit.pruning.schedule import reached
from prunekit.study.recorded import Recorded

TIMES = ("speedup_at_knee", "ms_at_start", "ms_at_knee")


def accuracy(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Test accuracy of a variant at a ratio, on straight lines between recorded ratios."""
    return _accuracy_on("ratio", recorded, claim)


def accuracy_at_bytes(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Test accuracy of a variant at a size in bytes, on straight lines between recorded sizes."""
    return _accuracy_on("bytes", recorded, claim)


def accuracy_gain(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """By how much ``variant`` beats ``other`` seed by seed, each by means from ``at``.

    Both are to have the same ratios, or one each: nothing is paired by ratio.
    A variant of another study is named with it, as in ``entropy/uniform_alone``.
    """
    means = [
        networks[reached(networks["ratio"], claim["at"])].groupby("seed")["test_accuracy"].mean()
        for networks in (_of(recorded, claim["variant"]), _of(recorded, claim["other"]))
    ]
    return (means[0] - means[1]).dropna()


def precision_lost(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """By how much a detector's average precision on test falls below that of ``other``, by seed."""
    found = [
        _of(recorded, name).set_index("seed")["test_average_precision"]
        for name in (claim["other"], claim["variant"])
    ]
    return (found[0] - found[1]).dropna()


def accuracy_lost(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Test accuracy lost at a ratio, a fraction, on straight lines between recorded ratios."""
    lost = on_axis(
        _of(recorded, claim["variant"], partial(relative, start=recorded.started())),
        "ratio",
        [claim["at"]],
        "accuracy_lost",
    )
    return lost.set_index("seed")["accuracy_lost"]


def knee(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """The ratio up to which validation stays within one point of the start, by seed."""
    located = _of(recorded, claim["variant"], partial(knees, start=recorded.started()))
    return located.set_index("seed")["within"]


def knee_gain(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """How much further than ``other`` the variant goes, seed by seed."""
    return (knee(recorded, claim) - knee(recorded, {"variant": claim["other"]})).dropna()


def share_still_at(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """The ratio up to which a run keeps the accuracy ``at``, wherever its start lay, by seed.

    It is found on validation, as every choice is, and it must hold on test as
    well: the smaller of the ratios that the two curves allow.
    """
    networks = _of(recorded, claim["variant"], with_start)
    shares = {
        seed: min(_kept_up_to(run, f"{part}_accuracy", claim["at"]) for part in ("val", "test"))
        for seed, run in networks.groupby("seed")
    }
    return pd.Series(shares, dtype=float)


def share_of_part(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Share that came from what ``other`` names, once an iteration ends with ``at`` filters gone.

    That is a part of the network, such as ``initial (0-2)``, or a block, such as ``Fire 12``.
    """
    pattern = _of(recorded, claim["variant"], name="pattern").sort_values("iteration")
    layers = layers_of(pattern)
    removed = pattern[layers].groupby(pattern["seed"]).cumsum()
    there = reached(removed.sum(axis=1), claim["at"])
    first = removed[there].groupby(pattern["seed"]).first()
    if claim["other"] in PARTS:
        return shares_by_part(first)[claim["other"]]
    return by_block(first)[claim["other"]] / first.sum(axis=1)


def iterations(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Iterations until at least the share ``at`` of all filters was gone."""
    table = _of(recorded, claim["variant"], name="table")
    before = table.groupby("seed")["filters"].transform("max")
    there = reached(1 - table["filters"] / before, claim["at"])
    return table[there].groupby("seed")["iteration"].min()


def filters(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Filters that could go, before pruning."""
    return _of(recorded, claim["variant"], name="table").groupby("seed")["filters"].max()


def size(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Bytes of the network before pruning."""
    return _of(recorded, claim["variant"], name="table").groupby("seed")["bytes"].max()


def size_at_knee(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Bytes of the last recorded network whose ratio is not beyond the knee."""
    return _at_knee(recorded, claim)["bytes"]


def size_removed_at_knee(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Share of the bytes that is gone there."""
    return 1 - size_at_knee(recorded, claim) / size(recorded, claim)


def speedup_at_knee(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Time of one image before pruning, divided by that of the network there."""
    return _at_knee(recorded, claim)["speedup"]


def ms_at_start(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Milliseconds of one image before pruning."""
    networks = _timed(recorded, claim)
    return networks[networks["ratio"] == 0].set_index("seed")["ms"]


def ms_at_knee(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Milliseconds of one image in the last recorded network whose ratio is not beyond the knee."""
    return _at_knee(recorded, claim)["ms"]


def fewer_instructions(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Instructions of one image before pruning, divided by those of the network ``variant``.

    On the core that ``other`` names, in float32, for each start.
    """
    counts = pd.read_csv(recorded.folder.parent / "deployment" / "instructions_by_seed.csv")
    here = counts[(counts["core"] == claim["other"]) & (counts["precision"] == "fp32")]
    instructions = here.pivot_table("instructions", "seed", "model")
    return instructions["original"] / instructions[claim["variant"]]


def bytes_per_parameter(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Bytes of a reported network for each of its parameters."""
    networks = _of(recorded, claim["variant"])
    here = networks[np.isclose(networks["ratio"], claim["at"])].set_index("seed")
    return here["bytes"] / here["parameters"]


def lost_since_start(recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    """Test accuracy that the network at ``at`` lies below the recorded one its run began with."""
    start = recorded.started()
    if start is None:
        raise FileNotFoundError(f"the runs in {recorded.folder} began with no recorded network")
    networks = _of(recorded, claim["variant"]).set_index("seed")
    there = networks[np.isclose(networks["ratio"], claim["at"])]
    return (start["test_accuracy"] - there["test_accuracy"]).dropna()


MEASURES: dict[str, Callable[[Recorded, Mapping[str, Any]], pd.Series]] = {
    function.__name__: function
    for function in (
        accuracy,
        accuracy_at_bytes,
        accuracy_gain,
        accuracy_lost,
        precision_lost,
        knee,
        knee_gain,
        share_still_at,
        share_of_part,
        iterations,
        filters,
        size,
        size_at_knee,
        size_removed_at_knee,
        speedup_at_knee,
        ms_at_start,
        ms_at_knee,
        fewer_instructions,
        bytes_per_parameter,
        lost_since_start,
    )
}


def _of(
    recorded: Recorded,
    variant: str,
    prepare: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table,
    name: str = "networks",
) -> pd.DataFrame:
    """Rows of one variant of a table that was prepared with all its variants."""
    elsewhere, _, variant = variant.rpartition("/")
    if elsewhere:
        table = pd.read_csv(recorded.folder.parent / elsewhere / f"{name}.csv")
    else:
        table = recorded.table(name)
    table = prepare(table)
    return table[table["variant"] == variant]


def _kept_up_to(run: pd.DataFrame, column: str, accuracy: float) -> float:
    curve = run.groupby("ratio")[column].mean()
    spare = curve.iloc[0] - accuracy
    return knee_within(curve.index, curve, drop=spare) if spare >= 0 else 0.0


def _accuracy_on(axis: str, recorded: Recorded, claim: Mapping[str, Any]) -> pd.Series:
    read = on_axis(_of(recorded, claim["variant"]), axis, [claim["at"]])
    return read.set_index("seed")["test_accuracy"]


def _timed(recorded: Recorded, claim: Mapping[str, Any]) -> pd.DataFrame:
    """Networks of a variant beside the one they began with, with times where there are any."""
    start = recorded.started()
    networks = with_start(recorded.table("networks"), start)
    if (recorded.folder / "latency.csv").is_file():
        networks = networks.merge(pd.read_csv(recorded.folder / "latency.csv"), how="left")
    networks = relative(networks, start)
    if claim["measure"] in TIMES and "speedup" not in networks:
        raise FileNotFoundError(f"{recorded.folder} holds no latency.csv")
    return networks[networks["variant"] == claim["variant"]]


def _at_knee(recorded: Recorded, claim: Mapping[str, Any]) -> pd.DataFrame:
    networks = _timed(recorded, claim)
    limits = networks["seed"].map(knee(recorded, claim))
    within = networks[reached(limits, networks["ratio"])].sort_values("ratio")
    return within.groupby("seed").last()
