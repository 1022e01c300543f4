"""Studies: what a file declares, runs that are killed, lost workers, results that may not mix."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import dask
import pandas as pd
import pytest
import torch
from loops import SMALL_STUDY

from prunekit.book import BOOK
from prunekit.models import TinySqueezeNet
from prunekit.storage import load, save
from prunekit.study import read_study
from prunekit.study.__main__ import main
from prunekit.study.engine import _bar, _client, run_study
from prunekit.study.recorded import Recorded
from prunekit.study.work import carry_out, start

TABLES = ("history", "table", "pattern", "networks", "networks_pattern")


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL_STUDY.format(ratio=0.4))
    return path


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The file of a study that is recorded; tests that change anything copy its folder."""
    path = tmp_path_factory.mktemp("unbroken") / "small.toml"
    path.write_text(SMALL_STUDY.format(ratio=0.4))
    main(command(path, "--workers", "1"))
    return path


@pytest.fixture
def recorded(unbroken, tmp_path):
    shutil.copytree(unbroken.parent, tmp_path / "copy")
    return tmp_path / "copy" / "small.toml"


def command(path: Path, *more: str) -> list[str]:
    folder = path.parent
    folders = ["--results", str(folder / "results"), "--unfinished", str(folder / "unfinished")]
    return ["run", str(path), *folders, *more]


def tables(path: Path) -> dict[str, pd.DataFrame]:
    """The recorded tables, without the columns of wall time."""
    recorded = Recorded(path.parent / "results" / "small", read_study(path))
    found = {name: recorded.table(name) for name in TABLES}
    return {name: table.drop(columns="seconds", errors="ignore") for name, table in found.items()}


def process(*arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(found) -> None:
    end = time.monotonic() + 300
    while not found():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


# One run


def test_a_run_killed_in_any_iteration_ends_with_the_tables_of_an_unbroken_one(tmp_path, small):
    study = read_study(small)
    settings = study.runs["small-seed0"]
    shared = {"threads": 1, "command": "", "commit": ""}

    class Killed(Exception):
        pass

    def stop_at(share):
        def progress(done):
            if done >= share:
                raise Killed

        return progress

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    carry_out(settings, whole, tmp_path, progress=lambda share: None, **shared)
    for share in (0.3, 0.35, 0.6, 0.9):
        with pytest.raises(Killed):
            carry_out(settings, broken, tmp_path, progress=stop_at(share), **shared)
    carry_out(settings, broken, tmp_path, progress=lambda share: None, **shared)
    for name in TABLES:
        one, other = (pd.read_csv(folder / f"{name}.csv") for folder in (whole, broken))
        seconds = {"columns": "seconds", "errors": "ignore"}
        pd.testing.assert_frame_equal(one.drop(**seconds), other.drop(**seconds))


def test_every_ratio_is_reported_where_filters_go_together(tmp_path):
    """Groups of a ResNet hold several filters, so an iteration takes more than it counts."""
    declared = SMALL_STUDY.format(ratio=0.5).replace("[0.0, 0.3]", "[0.1, 0.2, 0.3, 0.4, 0.5]")
    declared = declared.replace('"tiny"', '"resnet20"').replace("epochs = 1,", "epochs = 0.1,")
    declared = declared.replace('"weight_l1"', '[[0, "weight_l1"], [0.25, "weight_l2"]]')
    (tmp_path / "small.toml").write_text(declared.replace("seeds = [0, 1]", ""))
    settings = read_study(tmp_path / "small.toml").runs["small-seed0"]
    shared = {"threads": 1, "command": "", "commit": "", "progress": lambda share: None}
    carry_out(settings, tmp_path / "run", tmp_path, **shared)
    networks = pd.read_csv(tmp_path / "run" / "networks.csv")
    assert networks["ratio"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    removed = 1 - networks["filters"] / pd.read_csv(tmp_path / "run" / "table.csv")["filters"][0]
    assert (removed >= networks["ratio"] - 1e-9).all()
    assert (removed < networks["ratio"] + 0.1).all()


# Whole studies


def test_killed_and_started_again_a_study_ends_as_if_unbroken(small, unbroken):
    folder = small.parent / "unfinished" / "small" / "small-seed0"
    started = process("prunekit.study", *command(small, "--workers", "1"))
    wait_for((folder / "checkpoint.safetensors").is_file)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert not (folder / "provenance.json").is_file()
    main(command(small, "--workers", "1"))
    whole = tables(unbroken)
    for name, table in tables(small).items():
        pd.testing.assert_frame_equal(table, whole[name])


def test_a_recorded_study_is_not_run_again(recorded):
    before = {p: p.stat().st_mtime_ns for p in recorded.parent.rglob("*")}
    main(command(recorded))
    assert before == {p: p.stat().st_mtime_ns for p in recorded.parent.rglob("*")}


def test_results_of_other_settings_are_refused_and_left_as_they_were(recorded):
    kept = (recorded.parent / "results" / "small" / "networks.csv").read_bytes()
    recorded.write_text(SMALL_STUDY.format(ratio=0.5))
    with pytest.raises(SystemExit, match=r"other settings: prune .*'ratio': 0\.4.*'ratio': 0\.5"):
        main(command(recorded))
    assert (recorded.parent / "results" / "small" / "networks.csv").read_bytes() == kept


def test_unfinished_runs_of_other_settings_are_refused(recorded):
    shutil.rmtree(recorded.parent / "results")
    recorded.write_text(SMALL_STUDY.format(ratio=0.5))
    with pytest.raises(SystemExit, match="unfinished run of other settings: remove it"):
        main(command(recorded, "--workers", "1"))


def test_runs_on_other_data_are_refused(tmp_path, small):
    study = read_study(small)
    recorded = Recorded(tmp_path / "results" / "small", study)
    for seed, data in ((0, "one"), (1, "another")):
        done = tmp_path / f"done{seed}"
        done.mkdir()
        run = study.runs[f"small-seed{seed}"]
        record = {"settings": run, "data_sha256": data, "starting_weights": "same"}
        (done / "provenance.json").write_text(json.dumps(record))
    recorded.add("small-seed0", tmp_path / "done0")
    with pytest.raises(ValueError, match="differ in data_sha256"):
        recorded.add("small-seed1", tmp_path / "done1")
    assert list(recorded.records()) == ["small-seed0"]
    record["settings"] = record["settings"] | {"input_size": 64}  # a folder, decoded at another
    (tmp_path / "done1" / "provenance.json").write_text(json.dumps(record))
    recorded.add("small-seed1", tmp_path / "done1")


def test_a_start_that_is_not_recorded_names_the_study_to_run(small):
    small.write_text(SMALL_STUDY.format(ratio=0.4).replace('"tiny"', '"base/base-seed0"'))
    with pytest.raises(SystemExit, match="run the study 'base' first"):
        main(command(small))


def test_a_network_kept_in_half_precision_is_a_start_in_single(tmp_path):
    declared = SMALL_STUDY.format(ratio=0.4).replace("seeds", 'keep_model = "half"\nseeds')
    (tmp_path / "small.toml").write_text(declared)
    study, done = read_study(tmp_path / "small.toml"), tmp_path / "done"
    save(TinySqueezeNet(), done / "model.safetensors")
    (done / "networks.csv").write_text("ratio\n0.3\n")
    record = {"settings": study.runs["small-seed0"], "data_sha256": "", "starting_weights": ""}
    (done / "provenance.json").write_text(json.dumps(record))
    Recorded(tmp_path / "small", study).add("small-seed0", done)
    kept = load(tmp_path / "small" / "small-seed0" / "model.safetensors")
    assert {p.dtype for p in kept.parameters()} == {torch.float16}
    begun = start("small/small-seed0", 10, tmp_path)
    assert {p.dtype for p in begun.parameters()} == {torch.float32}


def test_a_run_that_fails_is_named_and_the_others_are_recorded(small):
    small.write_text(
        SMALL_STUDY.format(ratio=0.4)
        + '\n[[variants]]\nname = "bad"\ntrain.lr = 1e9\n[[variants]]\nname = "good"\n'
    )
    with pytest.raises(SystemExit, match=r"2 of 4 runs failed: bad-seed0: .*; bad-seed1: "):
        main(command(small, "--workers", "1"))
    results = Recorded(small.parent / "results" / "small", read_study(small))
    assert results.missing() == ["bad-seed0", "bad-seed1"]


def test_a_study_that_is_interrupted_says_so(small, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("prunekit.study.__main__.run_study", interrupted)
    with pytest.raises(SystemExit) as left:
        main(command(small))
    assert left.value.code == 130
    assert capsys.readouterr().err == "prunekit.study: interrupted\n"


def test_a_study_that_fails_leaves_the_settings_of_dask_and_its_events_as_they_were(monkeypatch):
    topics = set()
    client = SimpleNamespace(
        subscribe_topic=lambda topic, note: topics.add(topic), unsubscribe_topic=topics.remove
    )
    monkeypatch.setattr("distributed.Client", lambda address: nullcontext(client))
    before = dask.config.get("distributed.admin.tick.interval")
    with pytest.raises(RuntimeError), _client("tcp://there", 1) as found, _bar(found, 1, False):
        assert topics and dask.config.get("distributed.admin.tick.interval") != before
        raise RuntimeError
    assert not topics and dask.config.get("distributed.admin.tick.interval") == before


def test_two_workers_of_a_scheduler_one_of_them_killed(tmp_path, small, unbroken):
    """The scheduler and its workers are processes of their own, as on several machines."""
    file = tmp_path / "scheduler.json"
    scheduler = process(
        *("distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"),
        *("--host", "127.0.0.1", "--scheduler-file", str(file)),
    )
    wait_for(lambda: file.is_file() and file.read_text().endswith("}"))
    address = json.loads(file.read_text())["address"]
    workers = [
        process(
            *("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"),
            *("--no-dashboard", "--name", f"worker{number}", "--memory-limit", "0"),
            OMP_NUM_THREADS="1",
        )
        for number in range(2)
    ]
    study = subprocess.Popen(
        [sys.executable, "-m", "prunekit.study", *command(small, "--scheduler", address)],
        start_new_session=True,
    )
    try:
        folders = [tmp_path / "unfinished" / "small" / f"small-seed{seed}" for seed in (0, 1)]
        wait_for(lambda: all((f / "checkpoint.safetensors").is_file() for f in folders))
        os.killpg(workers[0].pid, signal.SIGKILL)
        assert study.wait(timeout=300) == 0
    finally:
        for one in (study, *workers, scheduler):
            if one.poll() is None:
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()
    for name, table in tables(small).items():
        pd.testing.assert_frame_equal(table, tables(unbroken)[name])


def test_make_study_runs_the_whole_path_in_small(tmp_path):
    study = read_study("smoke", BOOK / "studies")
    recorded = run_study(study, tmp_path / "results", tmp_path / "unfinished", command="make study")
    networks = recorded.table("networks")
    assert len(networks) == 2 * 2 * 3
    assert networks.groupby("ratio")["filters"].max().tolist() == [184, 128, 73]
    unpruned = networks[networks["ratio"] == 0.0]
    assert unpruned["test_accuracy"].min() > 0.5
    records = recorded.records()
    for key in ("seed", "data_sha256", "machine", "versions", "commit", "command", "seconds"):
        assert all(key in record for record in records.values())


def test_a_list_of_studies_is_run_one_after_another(tmp_path, capsys):
    """The second begins with what the first records."""
    base, _, pruning = SMALL_STUDY.format(ratio=0.3).partition("[prune]")
    base = base.replace("seeds = [0, 1]", "seeds = [0]")
    (tmp_path / "base.toml").write_text(f"keep_model = true\n{base}")
    start = base.replace('"tiny"', '"base/base-seed0"').partition("train =")[0]
    (tmp_path / "cut.toml").write_text(f"{start}\n[prune]{pruning}")
    both = tmp_path / "both.toml"
    both.write_text('studies = ["base", "cut"]')
    main(command(both, "--workers", "1"))
    assert capsys.readouterr().out.count("1 of 1 runs recorded") == 2


def test_runs_are_carried_out_in_the_order_in_which_they_are_declared(tmp_path):
    """So what is recorded of a study that was stopped early are its first variants, whole."""
    path = tmp_path / "small.toml"
    text = SMALL_STUDY.format(ratio=0.3).replace("seeds = [0, 1]", "seeds = [3, 1, 0]")
    variants = "".join(
        f'\n[[variants]]\nname = "{name}"\nprune.criterion = "{name}"\n'
        for name in ("weight_l1", "taylor")
    )
    path.write_text(text.replace("ratios = [0.0, 0.3]", "ratios = [0.3]") + variants)
    main(command(path, "--workers", "1"))
    records = Recorded(tmp_path / "results" / "small", read_study(path)).records()
    finished = [record["finished"] for record in records.values()]
    declared = [f"{name}-seed{seed}" for name in ("weight_l1", "taylor") for seed in (3, 1, 0)]
    assert list(records) == declared
    assert finished == sorted(finished)
