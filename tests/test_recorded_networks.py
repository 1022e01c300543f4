"""Sentences of chapters 14 to 16: they must turn with what is recorded."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from recorded_studies import RESULTS, networks, study, verdict

from prunekit import profile, trace
from prunekit.book import BOOK, deployment_tables
from prunekit.book.costs import training_epochs
from prunekit.models import CIFAR_MODELS, efficientnet_lite0, resnet20
from prunekit.pruning.budgets import left_after

X = torch.zeros(1, 3, 32, 32)


@pytest.fixture(scope="module")
def instructions():
    table = deployed("instructions")
    keys = ["model", "precision", "core"]
    return table[table["model"].isin(["original", "pruned"])].set_index(keys).sort_index()


def deployed(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / "deployment" / f"{name}.csv")


def test_vgg_is_a_chain_and_half_of_a_resnet_writes_into_sums():
    share = {}
    for name in ("vgg16_bn", "resnet20", "resnet56", "resnet110"):
        graph = trace(CIFAR_MODELS[name](10), X)
        convolutions = [layer for layer in graph.layers if not layer.startswith(("fc", "cl"))]
        tied = [len(graph.members(int(graph.layers[c].groups[0]))) > 1 for c in convolutions]
        share[name] = sum(tied) / len(tied)
    assert share.pop("vgg16_bn") == 0
    assert all(abs(one - 0.5) < 0.05 for one in share.values())


def test_a_filter_of_the_first_stage_saves_four_times_as_much():
    model = resnet20(10)
    graph, left = trace(model, X), left_after(model, X, "macs")

    def saved(name):
        return left({}) - left(graph.members(int(graph.layers[name].groups[0])))

    assert saved("layer1.0.conv1") / saved("layer3.1.conv1") == pytest.approx(4, rel=0.01)


def test_resnets_are_where_their_authors_had_them_or_a_point_below():
    published = {"resnet20": 0.9125, "resnet56": 0.9303, "resnet110": 0.9357}
    off = {name: networks(name)["test_accuracy"].mean() - p for name, p in published.items()}
    assert abs(off["resnet20"]) < 0.005
    assert all(-0.013 < off[name] < -0.005 for name in ("resnet56", "resnet110"))
    epochs = [
        next(iter(study(name).study.runs.values()))["train"]["epochs"]
        for name in ("resnet56", "resnet110")
    ]
    assert np.allclose(epochs, 180 / 4, atol=6)  # "after a quarter of the epochs"


def test_a_price_pays_on_resnets_and_misleads_on_mobilenet():
    wide = networks("mobilenet_v2_pruned").pivot_table("test_accuracy", "seed", "variant")
    assert (wide["cost_aware"] < wide["everywhere"]).all()  # "in any of the seeds"
    small, large = networks("resnet20_pruned"), networks("resnet56_pruned")
    assert verdict(small, "cost_aware", "everywhere") == "ahead"
    assert verdict(large, "cost_aware", "everywhere") == "ahead"
    assert verdict(small, "cost_aware", "inside_blocks") == "ahead"
    assert verdict(large, "cost_aware", "inside_blocks") == "tied"


@pytest.mark.parametrize("name", ["resnet20", "resnet56", "mobilenet_v2"])
def test_the_control_ends_below_its_start(name):
    start = networks(name)["test_accuracy"].mean()
    control = networks(f"{name}_pruned").query("variant == 'unpruned'")["test_accuracy"]
    assert (control < start).all()


@pytest.mark.parametrize(
    "small, large, pruned, variant, equal, left",
    [
        ("resnet20", "resnet56", "resnet56_pruned", "inside_blocks", "parameters", ("macs", 1.5)),
        ("vgg16_half", "vgg16", "similarity", "saliency", "macs", ("parameters", 0.25)),
    ],
)
def test_a_small_network_ends_ahead_of_a_large_one_made_small_as_chapter_14_says(
    small, large, pruned, variant, equal, left
):
    mean = {name: networks(name).mean(numeric_only=True) for name in (small, large)}
    cut = networks(pruned)
    by_variant = cut[cut["ratio"] > 0].groupby("variant").mean(numeric_only=True)
    one = by_variant.loc[variant]
    accuracy = {name: row["test_accuracy"] for name, row in mean.items()}
    assert accuracy[large] - accuracy[small] == pytest.approx(0.01, abs=0.005)  # "about a point"
    assert accuracy[small] - one["test_accuracy"] > 0.01
    assert by_variant["test_accuracy"].max() < accuracy[small]  # "no other variant"
    assert one[equal] == pytest.approx(mean[small][equal], rel=0.05)
    other, times = left
    assert one[other] / mean[small][other] == pytest.approx(times, rel=0.1)
    epochs = [next(iter(study(name).study.runs.values()))["train"]["epochs"] for name in mean]
    assert epochs[0] == 60 and epochs[1] in (50, 60)
    starts = {run["start"] for run in study(pruned).study.runs.values()}
    assert starts == {f"{large}/{large}-seed0"}  # "one and the same large one"
    repair = next(r for r in study(pruned).study.runs.values() if r["variant"] == variant)
    steps = study(pruned).table("table").query("variant == @variant")["iteration"].max()
    assert training_epochs(repair, steps) < 5


def test_an_imagenet_network_keeps_the_ends_of_its_blocks_as_chapter_14_says():
    recorded = study("efficientnet_lite0")
    networks = recorded.table("networks")
    (record,) = recorded.records().values()  # "This is one seed"
    assert record["settings"]["input_size"] == 64
    assert record["settings"]["prune"]["fine_tune"]["epochs"] == 0.2  # "a fifth of an epoch"
    assert record["settings"]["finish"]["fine_tune"]["epochs"] == 6
    assert recorded.table("table")["iteration"].max() == 5
    whole, half = networks.sort_values("ratio").iloc
    gained = whole["val_accuracy"] - recorded.table("history")["val_accuracy"].iloc[-1]
    assert gained == pytest.approx(0.01, abs=0.002)  # "a point on validation"
    assert 0.01 < whole["test_accuracy"] - half["test_accuracy"] < 0.015
    assert 0.49 < half["macs"] / whole["macs"] <= 0.5
    assert 0.7 < 1 - half["parameters"] / whole["parameters"] < 0.75  # "nearly three quarters"
    lost = recorded.table("networks_pattern").set_index("ratio").loc[half["ratio"]]
    layers = profile(efficientnet_lite0(10), torch.zeros(1, 3, 64, 64)).layers
    filters = layers.set_index("layer")["filters"]
    shares = lost[filters.index.intersection(lost.index)].astype(float) / filters
    carried = {1: 2, 2: 2, 3: 3, 4: 3, 5: 4}  # stages of several blocks, joined by shortcuts
    ends = [
        shares[f"blocks.{s}.{b}.conv_pwl"] for s, count in carried.items() for b in range(count)
    ]
    assert max(ends) < 0.05  # "nearly all of their channels"
    assert min(shares[f"blocks.5.{block}.conv_dw"] for block in (1, 2, 3)) > 0.75
    assert shares["blocks.6.0.conv_dw"] > 0.75


def test_int8_does_not_divide_a_file_by_four_and_a_smaller_one_by_less():
    files = deployed("files").dropna(subset="bytes")
    size = files.pivot_table("bytes", "engine", ["precision", "model"])
    times = size["fp32"] / size["int8"]
    assert (times["pruned"] + 0.4 < times["original"]).all() and (times < 3.8).all(axis=None)
    # As the figure of chapter 15 is described: "nearly equal, at about a quarter", "about a third".
    rounded, cut, both = (
        size[form] / size["fp32", "original"]
        for form in (("int8", "original"), ("fp32", "pruned"), ("int8", "pruned"))
    )
    assert (cut / rounded - 1).abs().max() < 0.1 and rounded.between(0.2, 0.32).all()
    assert (both / cut).between(0.27, 0.4).all()


def test_what_goes_to_a_board_lies_within_a_point_of_its_start_as_chapter_16_says():
    right = deployed("files").pivot_table("accuracy", ["engine", "precision"], "model")
    assert (right["original"] - right["pruned"]).max() < 0.01
    assert right["pruned"].min() > 0.9
    tested = deployment_tables.test_accuracies()
    assert tested["original"] == networks("base_96px").set_index("seed").loc[0, "test_accuracy"]
    kept = networks("best_96px").set_index(["seed", "ratio"])["test_accuracy"]
    assert tested["pruned"] == kept[0, 0.75]
    assert 0 < tested["original"] - tested["pruned"] < 0.01 and tested["pruned"] > 0.9


def test_the_time_falls_by_less_than_half_as_chapter_15_says():
    """In every engine, while more of the MACs are gone, and three quarters of the parameters."""
    faster = deployment_tables.times_faster()
    assert len(faster) == 4 and faster.between(1.5, 2).all()
    sizes = deployed("latency").groupby("model")[["macs", "parameters"]].first()
    left = sizes.loc["pruned"] / sizes.loc["original"]
    assert left["macs"] < 0.5 and left["parameters"] == pytest.approx(0.25, abs=0.005)
    assert (1 / faster > left["macs"]).all()
    # "its time was never recorded": that of the network without 90 % of its parameters
    timed = set(deployed("latency").query("model == 'pruned'")["parameters"])
    assert timed.isdisjoint(networks("best_96px").query("ratio == 0.9")["parameters"])
    assert not (RESULTS / "best_96px" / "latency.csv").exists()


@pytest.mark.parametrize(
    ("figure", "said"),
    [("fig-15-savings", "without training"), ("fig-15-rounding", "not trained again")],
)
def test_figures_of_networks_that_were_only_cut_say_so(figure, said):
    chapter = (BOOK.parent / "notebooks" / "15_export_and_quantise.ipynb").read_text("utf-8")
    shown = [cell["metadata"].get("mystnb", {}) for cell in json.loads(chapter)["cells"]]
    (one,) = (each["figure"] for each in shown if each.get("figure", {}).get("name") == figure)
    assert said in one["caption"]


def test_round_widths_save_what_chapter_15_says():
    counts = deployed("instructions").rename(columns={"core": "where", "instructions": "cost"})
    times = deployed("latency").rename(columns={"engine": "where", "min_ms": "cost"})
    rows = pd.concat([counts, times]).query("precision == 'fp32'")
    rows = rows.assign(rate=rows["cost"] / rows["macs"]).pivot_table("rate", "model", "where")
    shown = ["onnxruntime", "executorch", "cortex-a53", "cortex-a72"]
    rate = rows[shown] / rows.loc["original", shown]
    fall = rate.loc["cut-67"] - rate.loc["round-8"]
    assert (fall > 0.03).all() and fall.idxmax() == "onnxruntime"
    assert 0 < (rate.loc["round-4"] - rate.loc["round-8"])["executorch"] < 0.02


def test_integers_agree_to_the_bit_and_floats_to_rounding(instructions):
    off = instructions["max_error"].groupby("precision").max()
    assert off["int8"] == 0 and 0 < off["fp32"] < 1e-5


def test_instructions_are_fewer_than_macs_and_fall_less(instructions):
    assert (instructions["instructions"] < instructions["macs"]).all()
    left = instructions.loc["pruned"] / instructions.loc["original"]
    assert (left["instructions"] > left["macs"]).all()
    count = instructions.pivot_table("instructions", ["model", "core"], "precision")
    by_core = (count["int8"] / count["fp32"]).groupby("core")
    least, most = by_core.min(), by_core.max()
    assert least["cortex-a53"] > 2 / 3 and most["cortex-a53"] < 0.8  # "a fifth to a third less"
    assert least.drop("cortex-a53").min() > 0.9  # "less than a tenth"
    cores = instructions.pivot_table("instructions", ["model", "precision"], "core")
    assert (cores["cortex-a53"] / cores["cortex-a72"] - 1).abs().min() > 0.05
