"""Spread the runs of a study over processes or machines, and collect them as they end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from prunekit.extras import need
from prunekit.progress import bar
from prunekit.storage.provenance import current_commit
from prunekit.study.declaration import Study
from prunekit.study.recorded import Recorded
from prunekit.study.work import carry_out, is_there, refuse_missing_start

TOPIC = "prunekit-progress"
CONFIG = {
    # A lost worker is not the run's fault: it goes on elsewhere, from its last iteration.
    "distributed.scheduler.allowed-failures": 9,
    # Dask looks after itself many times a second: on two busy cores a tenth of one.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.profile.enabled": False,
}


def run_study(
    study: Study,
    results: Path,
    unfinished: Path,
    *,
    command: str,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> Recorded:
    """Run what is missing of a study, and nothing else.

    Parameters
    ----------
    results
        Folder of recorded studies; this one goes to ``results / study.name``.
    unfinished
        Folder for the state of runs between iterations.
    command
        What stands in the provenance as the way to get these results again.
    workers
        Local processes: by default one for each GPU, or for each
        ``study.threads`` processors.
    scheduler
        Address of a Dask scheduler whose workers do the runs. They must see
        both folders, and the data, under the same paths.

    Raises
    ------
    FileNotFoundError
        Every run that is missing starts from a network that is not recorded,
        or one starts from what no other study records. Runs that wait for
        another study are left out while there are others.
    ValueError
        Recorded or unfinished runs are of other settings.
    ImportError
        Dask distributed is not installed.
    RuntimeError
        Runs failed; the message names each with its error. The others are
        recorded.
    """
    recorded = Recorded(results / study.name, study)
    missing = recorded.missing()
    if not missing:
        return recorded
    starts = {run: study.runs[run]["start"] for run in missing}
    ready = [run for run in missing if is_there(starts[run], results)]
    for start in starts.values():
        if "/" not in start or not ready:  # no other study will record it
            refuse_missing_start(start, results)
    missing = ready
    shared = {"threads": study.threads, "command": command, "commit": current_commit()}
    folders = {run: (unfinished / study.name / run).resolve() for run in missing}
    failed = {}
    with _client(scheduler, workers or _processes(study.threads)) as client:
        from distributed import as_completed

        futures = {
            client.submit(
                _on_worker,
                run,
                study.runs[run],
                folders[run],
                results.resolve(),
                shared,
                # Dask queues by priority what it takes for one group of tasks, and groups by the
                # words of a key: with the name of a variant in it, some overtook others.
                key=f"{study.name}-{place}",
                pure=False,
                priority=-place,  # as declared: what is recorded of a study stopped early is whole
            ): run
            for place, run in enumerate(missing)
        }
        with _bar(client, len(futures), progress):
            for future in as_completed(futures):
                run = futures[future]
                if future.status == "finished":
                    recorded.add(run, folders[run])
                    future.release()
                else:
                    failed[run] = future.exception()
    if failed:
        causes = "; ".join(f"{run}: {failed[run]}" for run in missing if run in failed)
        raise RuntimeError(f"{len(failed)} of {len(missing)} runs failed: {causes}")
    return recorded


def _on_worker(
    run: str, settings: dict[str, Any], folder: Path, results: Path, shared: dict[str, Any]
) -> None:
    from distributed import get_worker

    worker = get_worker()
    carry_out(
        settings,
        folder,
        results,
        progress=lambda share: worker.log_event(TOPIC, {"run": run, "share": share}),
        **shared,
    )


def _processes(threads: int) -> int:
    return torch.cuda.device_count() or max(1, (os.cpu_count() or 1) // threads)


@contextmanager
def _client(scheduler: str | None, workers: int) -> Iterator[Any]:
    dask, distributed = need("dask", "study"), need("distributed", "study")
    with dask.config.set(CONFIG):
        if scheduler is not None:
            with distributed.Client(scheduler) as client:
                yield client
            return
        with (
            distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address="127.0.0.1:0",
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client


@contextmanager
def _bar(client: Any, runs: int, show: bool) -> Iterator[None]:
    """A bar over all runs, each counted by the share of it that is done, with the time left."""
    shares: dict[str, float] = {}
    form = "{desc} {bar} {n:.2f} of {total} runs [{elapsed} < {remaining}]"
    with bar(total=runs, show=show, bar_format=form, desc="study") as shown:

        def note(event: tuple[float, dict[str, Any]]) -> None:
            shares[event[1]["run"]] = event[1]["share"]
            shown.n = sum(shares.values())
            shown.refresh()

        client.subscribe_topic(TOPIC, note)
        try:
            yield
        finally:
            client.unsubscribe_topic(TOPIC)
