"""The recorded tables of deployment, on small ones that can be checked by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from prunekit.book import deployment_tables as tables

COST = {"original": 100, "pruned": 10, "cut-67": 40, "round-4": 36, "round-8": 32}


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Every network costs as many instructions and hundredths of a ms as COST says."""
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
        pd.DataFrame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
    monkeypatch.setattr(tables, "FOLDER", tmp_path)


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
    assert found["cortex-a72"].tolist() == [200, 200, 110, 110]


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
    assert list(rows) == list(ours)
    assert rows["where"].tolist() == ["Cortex-A72\nfp32"] * 2 and set(rows["unit"]) <= set(
        ours["unit"]
    )
    assert dict(zip(rows["model"], rows["value"], strict=True)) == {"original": 8, "pruned": 2}


def test_missing_table_says_how_to_record_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"prunekit\.book\.deployment latency"):
        tables.table("latency")
