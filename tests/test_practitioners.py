"""The page for practitioners runs from top to bottom, and its commands are those there are."""

from __future__ import annotations

import io
import re
import shlex
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT

from prunekit import mask, profile
from prunekit.__main__ import _parser

PAGE = ROOT / "book" / "practitioners.md"


def blocks(language: str) -> list[tuple[int, str]]:
    """The code of a language, each with the line before it begins."""
    text = PAGE.read_text("utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: one.start(1)].count("\n"), one[1]) for one in found]


@pytest.fixture(scope="module")
def ran(one_thread, tmp_path_factory) -> dict[str, Any]:
    """What its code leaves behind, run in order in one process."""
    for module in ("sklearn", "onnxruntime", "onnxscript"):
        pytest.importorskip(module, reason="pip install prunekit[deploy,digits]")
    names: dict[str, Any] = {"__name__": "practitioners"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("practitioners"))
        for line, code in blocks("python"):
            exec(compile("\n" * line + code, PAGE, "exec"), names)
    return names


def test_a_unit_is_what_meets_in_a_sum(ran):
    found = {unit.name: unit.layers for unit in ran["units"](ran["graph"], "everywhere")}
    assert found["stem.0"] == ("stem.0", "conv2") and set(found) == {"stem.0", "conv1", "last"}


def test_floors_and_caps_hold(ran):
    lost = {layer: len(filters) for layer, filters in ran["by_hand"].items()}
    assert lost.get("stem.0", 0) <= 6 and lost.get("last", 0) <= 20 and lost.get("conv1", 0) <= 16


def test_half_the_operations_go_and_training_brings_back_what_was_lost(ran):
    model, small, one = ran["model"], ran["small"], ran["one"]
    assert profile(small, one).macs <= 0.5 * profile(model, one).macs
    assert ran["accuracy"](model) > 0.93
    assert ran["accuracy"](small) > max(0.9, ran["cut"])
    masked = mask(model, one, ran["remove"])
    cut = ran["prunekit"].rebuild(model, one, ran["remove"])
    torch.testing.assert_close(cut(one), masked(one), rtol=1e-4, atol=1e-4)
    assert ran["small_average"].module.conv1.weight.shape == small.conv1.weight.shape


def test_the_loop_is_judged_by_the_worst_digit_and_says_what_it_kept(ran):
    history = ran["history"]
    assert history.stopped == "ratio" and len(history.table) == 3
    assert history.table["worst_digit_after"].iloc[-1] > 0.7
    same, one = ran["same_cut"], ran["one"]
    assert profile(same, one).macs == profile(history.model, one).macs


def test_the_widths_of_a_knapsack_are_reached_by_steps(ran):
    history, floors = ran["to_widths"], ran["floors"]
    assert history.stopped == "ratio" and len(history.table) == 3
    table = history.table
    assert table["macs"].iloc[-1] <= 0.5 * table["macs"].iloc[0]
    assert sum(floors.values()) < table["filters"].iloc[0]
    spare = {layer: len(history.kept[layer]) - least for layer, least in floors.items()}
    assert min(spare.values()) >= 0 and sum(spare.values()) <= 4  # the fewest that meet the budget


def test_a_budget_in_milliseconds_is_met(ran):
    cost = ran["timed"].table["cost"]
    assert ran["timed"].stopped == "ratio" and cost.iloc[-1] <= 0.7 * cost.iloc[0]


def test_the_segmenter_still_tells_the_photographs_apart(ran):
    table = ran["segmented"].table
    assert table["filters"].iloc[-1] <= 0.5 * table["filters"].iloc[0]
    assert table["mean_iou_after"].iloc[0] > 0.75
    assert table["mean_iou_after"].iloc[-1] > 0.7


def test_a_detector_runs_on_a_smaller_backbone_with_the_heads_it_had(ran):
    detector, whole, pictures = ran["detector"], ran["backbone"], ran["pictures"]
    before, after = (profile(one, pictures) for one in (whole, detector.backbone))
    assert after.parameters < 0.7 * before.parameters
    hidden = mask(whole, pictures, ran["quarter"]).eval()
    small = detector.backbone.eval()
    with torch.inference_mode():
        for name, maps in hidden(pictures).items():
            torch.testing.assert_close(small(pictures)[name], maps, rtol=1e-4, atol=1e-4)
        assert {*detector.eval()([pictures[0]])[0]} == {"boxes", "labels", "scores"}


def test_a_transformer_loses_three_of_its_heads_and_is_the_same_before(ran):
    transformer, headed, fewer = (ran[name].eval() for name in ("transformer", "headed", "fewer"))
    images, _ = ran["patches"]
    torch.nn.init.normal_(transformer.heads.head.weight)  # torchvision begins with zeros
    headed.heads = fewer.heads = transformer.heads
    with torch.inference_mode():
        torch.testing.assert_close(headed(images), transformer(images), rtol=1e-4, atol=1e-4)
        assert (fewer(images) - headed(images)).abs().max() > 1e-3
    assert sum(block.self_attention.num_heads for block in fewer.encoder.layers) == 2 * 4 - 3


def test_the_tables_on_the_page_are_those_that_it_prints(ran):
    """As near as another processor's rounding lets them be."""
    scan = ran["scan"].table[["unit", "share", "kept", "macs", "accuracy_lost"]]
    columns = ["filters", "macs", "mean_iou_before", "mean_iou_after"]
    for (_, text), now in zip(blocks("text"), (scan, ran["segmented"].table[columns]), strict=True):
        printed = pd.read_csv(io.StringIO(text), sep=r"\s+")
        assert list(printed) == list(now) and len(printed) == len(now)
        for name in now:
            if now[name].dtype.kind == "f":
                np.testing.assert_allclose(printed[name], now[name], atol=0.15, err_msg=name)
            elif name == "macs":  # which filters go hangs on what training made of them
                np.testing.assert_allclose(printed[name], now[name], rtol=0.05, err_msg=name)
            else:
                assert printed[name].tolist() == now[name].tolist()


def test_the_table_of_widths_is_that_of_the_benchmark():
    rows = pd.read_csv(ROOT / "benchmarks/results/widths.csv").query("ratio == 0.3")
    lines = re.findall(r"^\| (SqueezeNet|MobileNetV2) \|(.*)\|$", PAGE.read_text("utf-8"), re.M)
    assert len(lines) == 2
    for name, cells in lines:
        model = {"SqueezeNet": "squeezenet", "MobileNetV2": "mobilenet_v2"}[name]
        of_it = rows[rows["model"] == model].set_index("widths")
        kinds = ["scores", "cost_aware", "knapsack over scores", "knapsack over sensitivity"]
        said = [f"{of_it['accuracy_before'].iloc[0]:.0%}".replace("%", " %")]
        for kind in kinds:
            raw, repaired = (100 * of_it.loc[kind, c] for c in ("accuracy", "accuracy_repaired"))
            said.append(f"{raw:.0f} % ({repaired:.0f})")
        assert [cell.strip() for cell in cells.split("|")] == said


def test_files_give_back_the_network(ran):
    one, small = ran["one"], ran["small"]
    assert type(ran["mine"]).__name__ == "Net" and ran["mine"] is not small
    torch.testing.assert_close(ran["mine"](one), small(one))
    torch.testing.assert_close(ran["anyones"](one), small(one))
    assert ran["error"] < 1e-4


def test_its_commands_are_understood():
    lines = [line for _, code in blocks("bash") for line in code.splitlines()]
    parsed = [_parser().parse_args(shlex.split(line)[3:]) for line in lines]
    assert [vars(one)["do"].__name__ for one in parsed] == ["_inspect", "_prune"]
    assert all(line.startswith("python -m prunekit ") for line in lines)


def test_it_stands_in_the_contents():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))["parts"]
    assert "book/practitioners" in [one["file"] for part in parts for one in part["chapters"]]
