"""The recorded results of a study: tables, networks and provenance in one folder."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from prunekit.storage import load, save
from prunekit.storage.files import write_json, write_table
from prunekit.storage.provenance import provenance
from prunekit.study.declaration import Study
from prunekit.study.reporting import kept_at
from prunekit.study.tasks import task_of
from prunekit.study.work import DONE, FRESH

TABLES = (
    *("history", "table", "pattern", "candidates", "grafting"),
    *("networks", "networks_pattern"),
)
PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Recorded:
    """What is recorded of one study.

    A row of any table begins with ``variant`` and ``seed``, which name its
    run. ``history`` has a row an epoch of training, ``table`` and ``pattern``
    a row an iteration of pruning (as :class:`prunekit.PruningHistory`),
    ``candidates`` a row an epoch of an alignment (as
    :class:`prunekit.adversarial.Alignment`), ``grafting`` a row for each
    network and epoch of :func:`prunekit.grafting.fit_grafted`,
    ``networks`` and ``networks_pattern`` a row a reported network: its size,
    accuracies on validation before and after the last fine-tuning and on
    test (fractions; the test set is used once a network; of a detector its
    average precision and miss rate), and the filters removed from each layer.
    """

    folder: Path
    study: Study

    def missing(self) -> list[str]:
        """Names of the runs that are not recorded.

        Raises
        ------
        ValueError
            A recorded run is of other settings than the study file declares,
            or the study file no longer declares it.
        """
        records = self.records()
        for run, record in records.items():
            if run not in self.study.runs:
                raise ValueError(
                    f"{self.folder} holds the run {run}, which the study file no longer declares: "
                    "move the folder away, or give the new study another name"
                )
            declared = self.study.runs[run]
            differing = [
                f"{key} ({record['settings'].get(key)!r} recorded, {value!r} declared)"
                for key, value in declared.items()
                if record["settings"].get(key) != value
            ]
            if differing:
                raise ValueError(
                    f"{self.folder} holds the run {run} with other settings: "
                    f"{', '.join(differing)}. Results of different settings are not mixed: move "
                    "the folder away, or give the new study another name"
                )
        return [run for run in self.study.runs if run not in records]

    def records(self) -> dict[str, dict[str, Any]]:
        """Provenance of each recorded run, by name."""
        path = self.folder / PROVENANCE
        return json.loads(path.read_text("utf-8"))["runs"] if path.is_file() else {}

    def started(self) -> pd.DataFrame | None:
        """How good the network is that each seed began with, on ``val`` and ``test``.

        The columns are ``val_accuracy`` and ``test_accuracy``, or those of the
        number that decides on other data.
        None where runs began with fresh weights, not with a recorded network.

        Raises
        ------
        FileNotFoundError
            What a run began with is not recorded any more.
        """
        rows = {}
        for record in self.records().values():
            start, seed = record["settings"]["start"], record["settings"]["seed"]
            if start in FRESH:
                return None
            decides = task_of(record["settings"]["dataset"]).numbers[0]
            rows[seed] = _judged(self.folder.parent / start, decides)
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("seed")

    def table(self, name: str) -> pd.DataFrame:
        """One of ``TABLES``."""
        return pd.read_csv(self.folder / f"{name}.csv")

    def add(self, run: str, done: Path) -> None:
        """Take over a run that is complete in the folder ``done``.

        Raises
        ------
        ValueError
            It saw other data at the same input size, or began with other
            weights, than the runs recorded before.
        """
        record = json.loads((done / DONE).read_text("utf-8"))
        records = self.records()
        self._refuse_other_data(run, record, records)
        for name in TABLES:
            if (done / f"{name}.csv").is_file() and (done / f"{name}.csv").stat().st_size > 1:
                self._add_rows(name, run, pd.read_csv(done / f"{name}.csv"))
        if self.study.keep_model:
            for ratio in pd.read_csv(done / "networks.csv")["ratio"]:
                path = kept_at(ratio, record["settings"])
                model = load(done / path)
                kept = model.half() if self.study.keep_model == "half" else model
                save(kept, self.folder / run / path, model.metadata)
        records[run] = record
        ordered = {name: records[name] for name in self.study.runs if name in records}
        write_json({"title": self.study.title, "runs": ordered}, self.folder / PROVENANCE)

    def _add_rows(self, name: str, run: str, rows: pd.DataFrame) -> None:
        settings = self.study.runs[run]
        rows.insert(0, "variant", settings["variant"])
        rows.insert(1, "seed", settings["seed"])
        path = self.folder / f"{name}.csv"
        if path.is_file():
            before = pd.read_csv(path)
            # A study that was killed here left rows of this run, but no provenance.
            same = (before["variant"] == settings["variant"]) & (before["seed"] == settings["seed"])
            rows = pd.concat([before[~same], rows], ignore_index=True)
        order = {(s["variant"], s["seed"]): n for n, s in enumerate(self.study.runs.values())}
        runs = zip(rows["variant"], rows["seed"], strict=True)
        rows = rows.assign(_order=[order[run] for run in runs])
        rows = rows.sort_values("_order", kind="stable").drop(columns="_order")
        write_table(rows, path)

    def _refuse_other_data(
        self, run: str, record: dict[str, Any], records: dict[str, dict[str, Any]]
    ) -> None:
        start, size = record["settings"]["start"], record["settings"]["input_size"]
        for name, other in records.items():
            same = {
                # Decoded at another size, the pictures of a folder are other pixels.
                "data_sha256": other["settings"]["input_size"] == size,
                "starting_weights": other["settings"]["start"] == start and start not in FRESH,
            }
            for key, must_be in same.items():
                if must_be and other[key] != record[key]:
                    raise ValueError(
                        f"{run} and {name}, both of {self.folder}, differ in {key}: their results "
                        "are not mixed. Move the folder away to record all of them again"
                    )


def record_table(
    table: pd.DataFrame,
    path: Path,
    *,
    data: str,
    data_sha256: str,
    command: str,
    begin: float,
    commit: str,
    **facts: Any,
) -> None:
    """Write measurements that are no run of a study, and beside them how they came about.

    Parameters
    ----------
    path
        Of the table, a CSV. The provenance gets the same name as JSON.
    begin, commit
        :func:`time.perf_counter` and :func:`prunekit.storage.provenance.current_commit` at the
        start of the measurements.
    facts
        What else must be known to get the table again.
    """
    write_table(table, path)
    seconds = time.perf_counter() - begin
    record = provenance(
        seed=0, data=data, data_sha256=data_sha256, command=command, seconds=seconds, commit=commit
    )
    write_json(record | facts, path.with_suffix(".json"))


def _judged(run: Path, decides: str) -> dict[str, float]:
    """What the last network of a recorded run scored, by the number of this name."""
    networks, provenance = run.parent / "networks.csv", run / PROVENANCE
    if networks.is_file():
        rows = pd.read_csv(networks)
        own = rows["variant"] + "-seed" + rows["seed"].astype(str) == run.name
        last = rows[own].iloc[-1]
        columns = [f"{part}_{decides}" for part in ("val", "test")]
        return {column: float(last[column]) for column in columns}
    if not provenance.is_file():
        raise FileNotFoundError(f"{run} is not there: how good was the network at the start?")
    record = json.loads(provenance.read_text("utf-8"))
    held_out = record["validation_accuracy"][record["kept"]]
    return {"val_accuracy": held_out, "test_accuracy": record["test_accuracy"]}
