"""Sentences of chapters 11 to 16 and for practitioners: they must turn with what is recorded."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from prunekit import trace
from prunekit.book import BOOK
from prunekit.book.claims import scorecard
from prunekit.book.differences import in_words, paired_differences
from prunekit.book.findings import chosen_on_validation, layers_of, relative
from prunekit.book.knees import knee_within
from prunekit.book.printed import pattern_claims
from prunekit.models import CIFAR_MODELS, resnet20
from prunekit.pruning.budgets import left_after
from prunekit.study import read_study
from prunekit.study.recorded import Recorded

sys.path.insert(0, str(BOOK))
import criteria_tables

RESULTS = BOOK / "results"
X = torch.zeros(1, 3, 32, 32)


def study(name: str) -> Recorded:
    return Recorded(RESULTS / name, read_study(name, BOOK / "studies"))


def networks(name: str) -> pd.DataFrame:
    return study(name).table("networks")


def means(name: str, value: str = "test_accuracy") -> pd.Series:
    return networks(name).groupby("variant")[value].mean()


def verdict(table: pd.DataFrame, one: str, other: str) -> str:
    """How the first compares with the second on test, seed by seed."""
    pairs = paired_differences(table.assign(ratio=0), one, other, "test_accuracy")
    return in_words(pairs.iloc[0]).split("**")[1]


@pytest.fixture(scope="module")
def printed():
    table = pd.read_csv(BOOK / "thesis_accuracy.csv", index_col=0)
    return table.rename(index=lambda percent: percent / 100).drop(index=1.0) / 100


@pytest.fixture(scope="module")
def instructions():
    table = pd.read_csv(RESULTS / "deployment" / "instructions.csv")
    keys = ["model", "precision", "core"]
    return table[table["model"].isin(["original", "pruned"])].set_index(keys).sort_index()


# Chapter 11


def test_the_thesis_is_level_for_longer_and_falls_less_far(printed):
    assert (printed.loc[:0.65] == 0.74).all(axis=None)
    assert len(printed.loc[:0.65]) == 14  # "first fourteen rows all read 74"
    table = networks("ratios")
    for variant, column in zip(("activation_l2", "taylor"), printed, strict=True):
        ours = table[table["variant"] == variant].groupby("ratio")["test_accuracy"].mean()
        assert ours[0.0] - ours[0.65] > 0.02
        assert ours[0.0] - ours[0.9] > printed[column][0.0] - printed[column][0.9]


def test_the_rule_finds_in_the_thesis_what_it_read_off(printed):
    knees = [knee_within(printed.index, printed[column]) for column in printed]
    assert knees == pytest.approx([0.67, 0.70])


def test_the_second_study_has_nothing_between_the_start_and_half_of_the_filters():
    assert networks("criteria")["ratio"].min() == 0.5


def test_the_highest_ratios_were_not_done_repairing():
    steps = networks("ratios").groupby("ratio")[["val_accuracy_before", "val_accuracy"]].mean()
    gain = steps["val_accuracy"] - steps["val_accuracy_before"]
    assert gain[0.9] > 0.2 and gain[0.0] < 0.01  # "tens of points in so short a time"


def test_frozen_features_come_near_the_thesis_at_88_pixels():
    assert abs(networks("frozen_88px")["test_accuracy"].mean() - 0.74) < 0.03


def test_parameters_fall_furthest_at_one_ratio_of_filters():
    table = pd.concat([networks("ratios"), networks("criteria")])
    savings = relative(table, study("ratios").started())
    saved = savings[savings["ratio"] == 0.67].groupby("variant").mean(numeric_only=True)
    assert (saved["parameters_removed"] > saved["filters_removed"]).all()
    assert (saved["parameters_removed"] > saved["macs_removed"]).all()


def test_more_repair_is_better_and_one_cut_beats_the_loop():
    usual = networks("ratios").query("variant == 'combined' and ratio == 0.67")
    usual = usual.assign(variant="usual")
    table = pd.concat([networks("budget"), usual])
    mean = table.groupby("variant")[["test_accuracy", "macs"]].mean()
    repairs = mean.loc[["epochs_0.1", "usual", "epochs_0.6", "finish_8"], "test_accuracy"]
    assert repairs.is_monotonic_increasing  # "their means rise with it"
    assert verdict(table, "one_shot", "usual") == "ahead"
    assert mean.loc["one_shot", "macs"] > 1.05 * mean.loc["usual", "macs"]


# Chapter 12


def test_all_blocks_of_the_thesis_come_again():
    blocks = pattern_claims(pd.read_csv(BOOK / "thesis_pattern.csv"), study="thesis_88px")
    assert set(scorecard(blocks, study)["verdict"]) == {"same"}  # "a column of dots"


def test_every_layer_tuned_is_best_and_scratch_is_last():
    last = study("transfer").table("history").groupby(["variant", "seed"]).tail(1)
    ends = last.groupby("variant")[["val_accuracy", "loss"]].mean()
    assert ends["val_accuracy"].idxmax() == ends["loss"].idxmin() == "fine_tuned"
    assert means("transfer").idxmin() == "scratch"


def test_the_sceptic_finds_rows_of_both_kinds():
    claims = pd.read_csv(BOOK / "claims.csv")
    lost = claims[claims["claim"].str.match("Accuracy lost at (67|95) %, (L2|Taylor)")]
    verdicts = scorecard(lost, study).set_index("claim")["verdict"]
    assert set(verdicts.filter(like="67 %")) == {"better"}
    assert set(verdicts.filter(like="95 %")) == {"not confirmed"}


# Chapter 13


def test_no_switch_beats_both_parts_and_the_late_one_costs_least():
    table = networks("similarity")
    assert verdict(table, "switch_50", "saliency") == "tied"
    assert verdict(table, "switch_25", "saliency") == "behind"
    assert verdict(table, "similarity", "saliency") == "behind"
    by_iterations_of_similarity = means("similarity")[["similarity", "switch_25", "switch_50"]]
    assert by_iterations_of_similarity.is_monotonic_increasing


def test_similarity_breaks_the_output_and_a_short_repair_brings_it_back():
    table = study("similarity").table("table")
    table = table[table["iteration"] > 0]
    broken = table.pivot_table("accuracy_before", "variant", "iteration")
    repaired = table.pivot_table("accuracy_after", "variant", "iteration")
    by_similarity = table[table["criterion"] == "similarity_pearson"]
    assert by_similarity.groupby(["variant", "iteration"])["accuracy_before"].mean().max() < 0.12
    assert broken.loc["saliency", 1] > 0.8 and broken.loc["saliency", [2, 3]].max() < 0.4
    assert repaired.loc["similarity", 1] > repaired.loc["saliency", 1]  # "at first even above"
    assert repaired[3].idxmax() == "saliency" and repaired[3].idxmin() == "switch_50"


def test_equal_macs_hide_other_filters_and_parameters():
    left = networks("similarity").groupby("variant")[["filters", "parameters", "macs"]].mean()
    assert left["filters"].idxmax() == left["parameters"].idxmin() == "saliency"
    assert np.ptp(left["macs"]) < 0.001 * left["macs"].max()
    gone = study("similarity").table("networks_pattern")
    gone = gone[gone["variant"] == "similarity"][layers_of(gone)].mean()
    layers = trace(CIFAR_MODELS["vgg16_bn"](10), X).layers
    share = gone / pd.Series({name: layers[name].filters for name in gone.index})
    assert share.iloc[:3].min() > 0.6 and share.iloc[-4:].min() > 0.9
    assert share.iloc[3:7].max() < 0.4  # "spares the middle"


def test_both_saliencies_take_most_filters_where_the_twins_are():
    gone = study("similarity").table("networks_pattern")
    gone = gone[gone["variant"] == "saliency"][layers_of(gone)].mean()
    assert gone.iloc[-7:].sum() > 0.8 * gone.sum()  # "they take most of their filters there"


# Chapter 14


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


# Chapters 15 and 16


def test_int8_does_not_divide_a_small_file_by_four():
    files = pd.read_csv(RESULTS / "deployment" / "files.csv").dropna(subset="bytes")
    size = files.pivot_table("bytes", "engine", ["precision", "model"])
    times = size["fp32"] / size["int8"]
    assert (times["original"] > 3.3).all() and (times["pruned"] < 2).all()


def test_integers_agree_to_the_bit_and_floats_to_rounding(instructions):
    off = instructions["max_error"].groupby("precision").max()
    assert off["int8"] == 0 and 0 < off["fp32"] < 1e-5


def test_instructions_are_fewer_than_macs_and_fall_less(instructions):
    many = instructions["instructions"] > instructions["macs"]
    assert list(many[many].index) == [("pruned", "int8", "cortex-a72")]  # "the exception"
    left = instructions.loc["pruned"] / instructions.loc["original"]
    assert (left["instructions"] > left["macs"]).all()
    count = instructions.pivot_table("instructions", ["model", "core"], "precision")
    assert (count["int8"] > 0.6 * count["fp32"]).all()  # "does not divide the count by four"
    cores = instructions.pivot_table("instructions", ["model", "precision"], "core")
    assert (cores["cortex-a53"] / cores["cortex-a72"] - 1).abs().min() > 0.05


# For practitioners


def test_a_cut_that_starves_the_classifier_is_mended_by_floors():
    table = networks("one_cut").pivot_table("test_accuracy", "variant", "ratio")
    plain = [name for name in table.index if not name.endswith("_floors")]
    assert table.loc[plain, 0.25].idxmax() == "fisher"  # "the Fisher diagonal is ahead"
    assert (table.loc[plain, 0.25] > 0.87).sum() == len(plain) - 1  # all but the lot
    last = ["features.12.expand1x1", "features.12.expand3x3"]
    gone = study("one_cut").table("networks_pattern").query("ratio == 0.52")
    left = 512 - gone.groupby("variant")[last].mean().sum(axis=1)
    starved = left[left < 5].index
    assert set(starved) == {"fisher", "fpgm", "weight_l1", "weight_l2"}
    assert left.drop(starved).min() > 30
    assert table.loc[starved, 0.52].max() < table.loc["random", 0.52]
    assert table[0.52].drop(starved).idxmin() == "random"
    assert table[0.52].idxmax() == "fisher_floors"  # "the best of the table"
    assert verdict(networks("one_cut").query("ratio == 0.52"), "fisher_floors", "taylor") == "ahead"
    gained = {
        name: verdict(networks("one_cut").query("ratio == 0.52"), f"{name}_floors", name)
        for name in ("fisher", "fpgm", "taylor")
    }
    assert gained.pop("taylor") != "ahead" and set(gained.values()) == {"ahead"}


def test_what_validation_chooses_is_what_the_page_shows(tmp_path):
    best = chosen_on_validation(networks("one_cut")).set_index("ratio")
    assert best.loc[0.52, "variant"] == best.loc[0.67, "variant"] == "fisher_floors"
    assert best.loc[0.75, "variant"] == "taylor"  # "at three quarters"
    criteria_tables.write(tmp_path)
    for name in ("criteria_one_cut.csv", "criteria_chosen.csv"):
        assert (tmp_path / name).read_text() == (BOOK / name).read_text()
