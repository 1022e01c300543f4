"""Run a study, time its networks, or say what is recorded of it.

    python -m prunekit.study run smoke
    python -m prunekit.study status ratios
    python -m prunekit.study latency ratios criteria
    python -m prunekit.study run my_study.toml --results my_results --workers 4
    python -m prunekit.study run ratios --scheduler tcp://10.0.0.1:8786

A study is a TOML file; one in ``book/studies`` under this folder goes by its
name. A file that lists ``studies`` stands for all of them, one after another.
Runs that are recorded are not run again, and one that was stopped goes on
from its last iteration. ``latency`` measures the networks that a study
reports: do it on a machine that does nothing else. Times of several studies
can be compared only if they were measured together.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from prunekit.errors import PrunekitError
from prunekit.study.declaration import STUDIES, Study, read_studies
from prunekit.study.engine import run_study
from prunekit.study.recorded import Recorded
from prunekit.study.tasks import task_of
from prunekit.study.timing import time_networks


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    try:
        studies = [study for name in options.study for study in read_studies(name)]
        command = f"python -m prunekit.study {options.action} {' '.join(options.study)}"
        recorded = [Recorded(options.results / study.name, study) for study in studies]
        if options.action == "latency":
            time_networks(recorded, options.results, command=command)
        for one in recorded:
            if options.action == "run":
                _run(options, one.study, command)
            _print_status(one)
    except (PrunekitError, ValueError, ImportError, RuntimeError, OSError) as error:
        sys.exit(f"prunekit.study: {error}")
    except KeyboardInterrupt:
        print("prunekit.study: interrupted", file=sys.stderr)
        sys.exit(130)


def _run(options: argparse.Namespace, study: Study, command: str) -> None:
    run_study(
        study,
        options.results,
        options.unfinished,
        command=command,
        workers=options.workers,
        scheduler=options.scheduler,
    )


def _print_status(recorded: Recorded) -> None:
    study, missing = recorded.study, recorded.missing()
    print(f"{study.title}: {len(study.runs) - len(missing)} of {len(study.runs)} runs recorded")
    for run in missing:
        print(f"  missing: {run}")
    if (recorded.folder / "networks.csv").is_file():
        print(_summary(recorded).to_string(float_format=lambda value: f"{value:.4g}"))


def _summary(recorded: Recorded) -> pd.DataFrame:
    """Mean and spread over seeds of each reported network."""
    networks = recorded.table("networks")
    groups = networks.assign(ratio=networks["ratio"].round(2)).groupby(
        ["variant", "ratio"], sort=False
    )
    columns = {"filters": ("filters", "mean"), "parameters": ("parameters", "mean")}
    columns |= {"macs": ("macs", "mean"), "seeds": ("seed", "nunique")}
    settings = next(iter(recorded.study.runs.values()))
    for part in ("val", "test"):
        number = f"{part}_{task_of(settings['dataset']).numbers[0]}"
        columns |= {number: (number, "mean"), f"{number}_std": (number, "std")}
    return groups.agg(**columns)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m prunekit.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["run", "status", "latency"])
    parser.add_argument(
        "study", nargs="+", help="a file *.toml, or the name of one in book/studies"
    )
    results = STUDIES.parent / "results"
    parser.add_argument("--results", type=Path, default=results, help="%(default)s")
    parser.add_argument(
        "--unfinished",
        type=Path,
        default=Path("_build/studies"),
        help="folder for the state between iterations: %(default)s",
    )
    parser.add_argument("--workers", type=int, help="local processes; by default as many as fit")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask scheduler")
    return parser


if __name__ == "__main__":
    main()
