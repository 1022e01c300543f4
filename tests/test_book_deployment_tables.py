"""The recorded tables of deployment, on small ones that can be checked by hand."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pandas as pd
import pytest

from prunekit.book import deployment_tables as tables
from prunekit.book.detector_deployment import (
    CHECKED,
    CUT_SHARE,
    CUTS,
    DETECTORS,
    board_decoder,
)
from prunekit.deploy.toolchain import SOURCES
from prunekit.detection import ssd_anchors

COST = {"original": 100, "pruned": 10, "cut-67": 40, "round-4": 36, "round-8": 32}
NAMES = {"original": "whole/whole-seed1", "pruned": "less/less-seed1/0.75"}
NETWORKS = """\
variant,seed,ratio,test_accuracy
whole,0,0,0.1
whole,1,0,0.875
less,0,0.75,0.2
less,1,0.75,0.863
less,1,0.9,0.3
"""


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Every network costs as many instructions and hundredths of a ms as COST says.

    The two that were trained are seed 1 of studies that hold other networks too.
    """
    folder = tmp_path / "deployment"
    for study in ("deployment", "whole", "less"):
        (tmp_path / study).mkdir()
        (tmp_path / study / "networks.csv").write_text(NETWORKS)
    (folder / "files.json").write_text(json.dumps(NAMES))
    counts, times, files = [], [], []
    for model, cost in COST.items():
        sizes = {"filters": cost, "parameters": cost, "macs": 10 * cost}
        for precision in ("fp32", "int8"):
            key = {"model": model, "precision": precision}
            for core in ("cortex-a53", "cortex-a72"):
                counts.append({**key, **sizes, "core": core, "instructions": cost + 100})
            for engine in ("onnxruntime", "executorch"):
                times.append({**key, **sizes, "engine": engine, "min_ms": cost / 100})
                if model in tables.TRAINED:
                    row = {"engine": engine, "bytes": 1000 * cost, "accuracy": 0.9}
                    files.append({**key, **sizes, **row, "images": 5})
    for name, rows in (("instructions", counts), ("latency", times), ("files", files)):
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    monkeypatch.setattr(tables, "FOLDER", folder)


def test_savings_are_shares_of_the_original(recorded):
    found = tables.savings().set_index(["series", "precision", "model"])
    assert found.loc[("host time, ExecuTorch", "fp32", "pruned"), "cost_left"] == pytest.approx(0.1)
    row = found.loc[("instructions, Cortex-A53", "int8", "pruned")]
    assert row["macs_left"] == pytest.approx(0.1) and row["cost_left"] == pytest.approx(110 / 200)
    assert (found.xs("original", level="model") == 1).all().all()
    assert not found.index.get_level_values("model").str.startswith("round").any()


def test_summary_has_a_row_a_network_and_precision(recorded):
    found = tables.summary()
    assert list(zip(found["model"], found["precision"], strict=True)) == [
        (model, precision) for model in tables.TRAINED for precision in ("fp32", "int8")
    ]
    assert found["ms executorch"].tolist() == [1.0, 1.0, 0.1, 0.1]
    assert found["val_accuracy"].tolist() == [0.9] * 4
    assert found["test_accuracy"].dropna().tolist() == [0.875, 0.863]  # in float32 alone
    assert found["cortex-a72"].tolist() == [200, 200, 110, 110]


def test_accuracies_are_those_of_executorch_by_network_and_precision(recorded):
    files = tables.table("files")
    ours = files["engine"] == "executorch"
    files.loc[ours, "accuracy"] = [0.924, 0.921, 0.918, 0.917]
    files.to_csv(tables.FOLDER / "files.csv", index=False)
    said = tables.accuracies()
    assert "original has 92.4% right, and 92.1% in eight bits" in said
    assert "the pruned network 91.8% and 91.7%. Of the test images, in float32," in said
    assert said.endswith("the original has 87.5% right and the pruned network 86.3%.")


def test_accuracy_stands_beside_every_cost_of_a_network_that_was_trained(recorded):
    counts = tables.with_accuracy(tables.table("instructions"))
    assert len(counts) == 4 * len(COST)
    trained = counts["model"].isin(tables.TRAINED)
    assert (counts.loc[trained, "val_accuracy"] == 0.9).all()
    assert counts.loc[~trained, ["val_accuracy", "test_accuracy"]].isna().all(axis=None)
    on_test = counts[trained].pivot_table("test_accuracy", ["core", "model"], "precision")
    assert on_test.columns.tolist() == ["fp32"]  # nothing is known of eight bits
    assert on_test["fp32"].tolist() == [0.875, 0.863] * 2
    figure = tables.before_and_after().groupby("model")["test_accuracy"].unique()
    assert {model: list(found) for model, found in figure.items()} == {
        "original": [0.875],
        "pruned": [0.863],
    }


def test_times_are_compared_in_float32_engine_by_engine(recorded):
    times = tables.table("latency")
    slow = (times["engine"] == "executorch") & (times["model"] == "pruned")
    times.loc[slow & (times["precision"] == "fp32"), "min_ms"] = 0.5
    times.to_csv(tables.FOLDER / "latency.csv", index=False)
    assert tables.times_faster().to_dict() == pytest.approx({"onnxruntime": 10, "executorch": 2})


def test_rounding_compares_three_ways_to_cut(recorded):
    found = tables.rounding().pivot_table(index="model", columns="cost", values="left")
    assert found.loc["multiples of 8", "MACs"] == pytest.approx(0.32)
    assert found.loc["any width", "instructions\nA53"] == pytest.approx(0.7)


def test_rounding_is_empty_where_only_trained_networks_are_recorded(recorded):
    for name in ("instructions", "latency"):
        table = tables.table(name)
        table[table["model"].isin(tables.TRAINED)].to_csv(tables.FOLDER / f"{name}.csv")
    assert tables.rounding().empty


def test_board_adds_its_rows_to_the_figure(recorded):
    models = [
        {"name": f"{model}-fp32", "precision": "fp32", "median_ms": ms}
        for model, ms in (("original", 8.0), ("pruned", 2.0))
    ]
    rows = tables.board_rows({"core": "Cortex-A72", "models": models})
    ours = tables.before_and_after()
    assert set(ours) - set(rows) == {"test_accuracy"} and set(rows) < set(ours)
    assert rows["where"].tolist() == ["Cortex-A72\nfp32"] * 2 and set(rows["unit"]) <= set(
        ours["unit"]
    )
    assert dict(zip(rows["model"], rows["value"], strict=True)) == {"original": 8, "pruned": 2}


def test_missing_table_says_how_to_record_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"prunekit\.book\.deployment latency"):
        tables.table("latency")


@pytest.fixture
def detectors(tmp_path, monkeypatch):
    """The half detector costs half of everything but the bytes, and decoding a millisecond."""
    files, counts, times, decoding = [], [], [], []
    for model, cost in {"whole": 100, "half": 50}.items():
        plain = {"model": model, "precision": "fp32", "average_precision": 0.8}
        files.append(plain | {"engine": "pytorch"})
        for precision, lost in {"fp32": 0.0, "int8": 0.02}.items():
            key = {"model": model, "precision": precision}
            for engine, more in (("onnxruntime", 2), ("executorch", 1)):
                good = {"average_precision": 0.8 - more * lost, "bytes": cost**2}
                files.append({**key, "engine": engine, **good})
                times.append({**key, "engine": engine, "min_ms": cost / 2})
            error = 0.0 if lost else 2e-5
            counts.append({**key, "instructions": cost, "max_error": error})
        for use, ms in {"shown": 1.0, "scored": 5.0}.items():
            for program, faster in {"board": 1.0, "library": 2.0}.items():
                key = {"model": model, "use": use, "program": program}
                decoding.append({**key, "min_ms": ms / faster, "boxes": 100 * ms})
    for model, ms in {"any": 20.0, "eights": 8.0}.items():
        key = {"model": model, "precision": "fp32", "macs": 2e8}
        times += [{**key, "engine": e, "min_ms": ms} for e in ("onnxruntime", "executorch")]
    recorded = {"files": files, "instructions": counts, "latency": times, "decoding": decoding}
    for name, rows in recorded.items():
        pd.DataFrame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
    monkeypatch.setattr(tables, "DETECTOR", tmp_path)


def test_detectors_have_a_row_a_precision(detectors):
    table = tables.detector_table()
    assert table[["model", "precision"]].to_numpy().tolist() == [
        ["whole", "fp32"],
        ["whole", "int8"],
        ["half", "fp32"],
        ["half", "int8"],
    ]
    assert table["ms executorch"].tolist() == [50, 50, 25, 25]
    decoding = tables.decoding_table().loc["half", "min_ms"]
    assert decoding.xs("board", level="program").to_dict() == {"scored": 5.0, "shown": 1.0}
    assert decoding.xs("library", level="program").to_dict() == {"scored": 2.5, "shown": 0.5}


def test_what_the_detectors_say_follows_from_their_tables(detectors):
    kept, other, widths, whole, half, decoding, _, agrees = tables.detector_in_words()
    assert "25% of the bytes, 50% of the instructions and 50% of the milliseconds" in kept
    assert "the whole detector from 80.0 to 78.0 %" in whole and "the half detector" in half
    assert "in ExecuTorch, and to 76.0 % in ONNX Runtime" in whole
    assert "In ONNX Runtime" in other and "50% of the milliseconds" in other
    assert "come (200 million MACs) it takes 20 ms" in widths and "takes 8 ms there" in widths
    assert "program takes 1.0 ms with the whole detector" in decoding and "5.0 ms" in decoding
    assert "500 a picture" in decoding and decoding.endswith("takes 0.5 and 2.5 ms.")
    assert "to the bit in eight bits, and to 2.0e-05 in 32" in agrees


def test_the_recorded_detectors_are_as_chapter_20_says(tmp_path, monkeypatch):
    board = tables.detector_table().set_index(["model", "precision"])
    plain = board.xs("fp32", level="precision")
    left = plain.loc["half"] / plain.loc["whole"]
    assert left["ms onnxruntime"] > 0.9  # "worth nothing at all"
    assert abs(left["ms executorch"] - 0.7) < 0.03  # "about seven tenths"
    assert left["instructions"] < 0.8
    eighth = board.xs("int8", level="precision") / plain
    assert eighth["bytes"].between(0.25, 0.36).all()  # "to about a third"
    assert eighth["instructions"].between(0.9, 1).all()  # "by less than a tenth"
    assert (eighth["ms executorch"] > 1.1).all() and (eighth["ms onnxruntime"] < 0.8).all()
    widths = tables.widths_table()
    assert widths["macs"].max() / widths["macs"].min() < 1.05  # "of as many MACs"
    times = widths["ms onnxruntime"]
    assert 0.4 < times["eights"] / times["any"] < 0.6  # "about half of the time"
    files = pd.read_csv(tables.DETECTOR / "files.csv").set_index(["engine", "precision", "model"])
    lost = files["average_precision"].xs("fp32", level="precision")
    lost = lost - files["average_precision"].xs("int8", level="precision")
    assert (lost["onnxruntime"] > 0.005).all()  # "costs either detector"
    assert (lost["onnxruntime"] > lost["executorch"]).all()  # "more than in ExecuTorch"
    assert eighth["ms onnxruntime"].between(0.62, 0.7).all()  # "by about a third"
    assert CHECKED == 2 and list(DETECTORS) == ["whole", "half"]  # "on two pictures"
    assert CUT_SHARE == 0.25 and list(CUTS) == ["any", "eights"]  # "a quarter of their filters"
    lines = tables.detector_caption().splitlines()
    assert len(lines) == 4 and all("detector_deployment" in line for line in lines)
    monkeypatch.setattr(tables, "DETECTOR", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"python -m prunekit\.book\.detector_deployment"):
        tables.detector_table()


def test_decoding_is_as_chapter_20_says():
    decoding = tables.decoding_table()
    assert (decoding["boxes"]["half", "scored"] > 1917 / 2).all()  # "most of its anchors"
    ms = decoding["min_ms"]
    slower = ms["half"] / ms["whole"]
    assert slower["shown"].between(0.9, 1.1).all()  # "no difference"
    assert slower["scored", "board"] == pytest.approx(3, abs=0.3)  # "about three times as long"
    assert slower["scored", "library"] > 10  # "more than ten times"
    machines = [
        json.loads((tables.DETECTOR / f"{name}.json").read_text())["machine"]
        for name in ("latency", "decoding")
    ]
    assert machines[0]["instruction_set"] != machines[1]["instruction_set"]  # "another computer"


def test_the_decoder_that_is_timed_is_the_one_that_a_bundle_takes_along():
    decoder = board_decoder(ssd_anchors([2, 1]), 0.01)
    assert Path(inspect.getfile(type(decoder))) == SOURCES / "detector.py"
    assert (decoder.least, decoder.most) == (0.01, 100)
