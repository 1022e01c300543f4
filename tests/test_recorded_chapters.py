"""Sentences of chapters 4, 6 and 9 to 13: they must turn with what is recorded."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from recorded_studies import RESULTS, means, networks, study, verdict

from prunekit import storage, trace
from prunekit.book import BOOK
from prunekit.book.claims import scorecard
from prunekit.book.costs import seconds_as_it_shrinks
from prunekit.book.findings import layers_of, on_axis
from prunekit.book.knees import knee_within, knees
from prunekit.book.measures import share_still_at
from prunekit.book.printed import distance, pattern_claims, pattern_distances
from prunekit.book.readings import by_block
from prunekit.book.starts import relative, start_tuned_pruned, with_start
from prunekit.models import CIFAR_MODELS, squeezenet
from prunekit.study.timing import timed_together

X = torch.zeros(1, 3, 32, 32)


@pytest.fixture(scope="module")
def printed():
    table = pd.read_csv(BOOK / "thesis_accuracy.csv", index_col=0)
    return table.rename(index=lambda percent: percent / 100).drop(index=1.0) / 100


# Chapter 6


def test_the_map_before_the_relu_collapses_first_as_chapter_6_says():
    table = networks("one_cut").pivot_table("test_accuracy", "variant", "ratio")
    apart = (table.loc["output_l2"] - table.loc["activation_l2"]).drop(0.0, errors="ignore")
    assert apart[apart.index <= 0.52].abs().max() < 0.005  # "about equally good"
    assert table.loc["output_l2", 0.67] < table.loc["activation_l2", 0.67] / 2
    variants = {settings["variant"] for settings in study("thesis_88px").study.runs.values()}
    assert "output_l2" in variants - set(networks("thesis_88px")["variant"])  # "not compared yet"


# Chapter 9


def test_an_epoch_gets_cheaper_at_last_by_less_than_macs_as_chapter_9_says():
    recorded = study("thesis_88px")
    for settings in recorded.study.runs.values():
        assert settings["prune"]["fine_tune"]["epochs"] == 1  # "a whole epoch"
    table = recorded.table("table")
    spent = seconds_as_it_shrinks(table, (0.95, 0.75, 0.5, 0.25, 0.1, 0.05))
    assert spent["seconds"].is_monotonic_decreasing and spent["MACs left"].is_monotonic_decreasing
    time = spent["seconds"] / spent["seconds"].iloc[0]
    more = time - spent["MACs left"] / spent["MACs left"].iloc[0]
    assert more[[0.75, 0.5]].abs().max() < 0.05  # "about as the MACs do"
    assert (more[[0.25, 0.1, 0.05]] > 0.1).all()  # "after that by less"
    assert spent.loc[0.1, "MACs left"] < 0.2 and time[0.1] > 0.4
    validation = table.query("iteration == 0")["seconds"].median()
    assert 2 * validation < 0.15 * spent["seconds"].iloc[0]  # "mostly those of an epoch"
    assert (spent["most"] > 1.5 * spent["least"]).all()


# Chapter 10


def test_signed_taylor_stays_uneven_where_the_others_even_out_as_chapter_10_says():
    patterns = pd.concat([study(name).table("networks_pattern") for name in ("ratios", "criteria")])
    layers = layers_of(patterns)
    before = pd.Series({n: one.filters for n, one in trace(squeezenet(), X).prunable.items()})
    widths = before[layers] - patterns[layers]
    uneven = widths.std(axis=1, ddof=0) / widths.mean(axis=1)
    rows = pd.DataFrame({"uneven": uneven, "ratio": patterns["ratio"].round(2)})
    by_ratio = rows.assign(variant=patterns["variant"]).pivot_table("uneven", "variant", "ratio")
    unpruned = before.std(ddof=0) / before.mean()
    falling = by_ratio.drop(index=["taylor_signed", "random"])
    assert (falling[[0.5, 0.9]] < 0.7 * unpruned).all(axis=None) and len(falling) == 5
    assert (by_ratio.loc["taylor_signed", [0.5, 0.9]] > 0.8 * unpruned).all()
    assert abs(by_ratio.loc["random", [0.5, 0.9]] / unpruned - 1).max() < 0.1


# Chapter 4


def test_random_weights_overtake_frozen_features_as_chapter_4_says():
    history = study("transfer_64px").table("history")
    val = history.pivot_table("val_accuracy", "epoch", "variant")
    behind = val["scratch"] < val["frozen"]
    assert behind.loc[:7].all() and not behind.loc[8:12].any()  # "after seven epochs"
    assert val["scratch"].loc[:9].max() > 0.64  # "before the tenth"
    assert (val["fine_tuned"] > val["scratch"]).loc[:24].all()  # "from the first epoch on"
    loss = history.pivot_table("loss", "epoch", "variant").loc[1]
    assert abs(loss["scratch"] - np.log(10)) < 0.2 and loss.drop("scratch").max() < 1.7


def test_a_start_saves_time_and_freezing_costs_as_chapter_4_says():
    transfer = study("transfer_64px")
    assert not transfer.missing()
    mean = means("transfer_64px")
    assert 0.26 < mean["scratch"] - mean["frozen"] < 0.27  # "more than 26 points"
    assert 0.005 < mean["fine_tuned"] - mean["scratch"] < 0.015  # "about a point"
    assert verdict(transfer.table("networks"), "fine_tuned", "scratch") == "ahead"
    epochs = {run["variant"]: run["train"]["epochs"] for run in transfer.study.runs.values()}
    assert epochs["fine_tuned"] < epochs["scratch"] / 4
    assert epochs["frozen"] < epochs["scratch"] == 110
    assert means("frozen_88px").item() < mean["scratch"]
    assert {run["input_size"] for run in transfer.study.runs.values()} == {64}
    assert {run["input_size"] for run in study("frozen_88px").study.runs.values()} == {88}


# Chapter 9


def test_few_filters_are_left_of_any_layer_and_parameters_go_first_as_chapter_9_says():
    folder = RESULTS / "squeezenet_cifar10/combined_90"
    pattern = pd.read_csv(folder / "pattern.csv", index_col="iteration")
    prunable = trace(squeezenet(), torch.zeros(1, 3, 96, 96)).prunable
    left = pd.Series({name: one.filters for name, one in prunable.items()}) - pattern.sum()
    assert (left.min(), left.max(), round(left.mean())) == (6, 15, 12)
    table = pd.read_csv(folder / "table.csv")[["filters", "parameters"]]
    gone = 1 - table / table.iloc[0]
    at_half = np.interp(0.5, gone["parameters"], gone["filters"])
    assert abs(at_half - 0.4) < 0.02  # "about 40 %", exercise ex-09-budget


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
    assert gain[[0.0, 0.5, 0.67, 0.8, 0.9]].is_monotonic_increasing
    assert gain[0.95] < gain[0.67]  # "in the last row it is small again"


def test_frozen_features_come_near_the_thesis_at_88_pixels():
    mean = networks("frozen_88px")["test_accuracy"].mean()
    assert abs(mean - 0.74) < 0.03
    assert round(mean, 2) == 0.76  # chapter 4


def test_parameters_fall_furthest_at_one_ratio_of_filters():
    table = pd.concat([networks("ratios"), networks("criteria")])
    savings = relative(table, study("ratios").started())
    saved = savings[savings["ratio"] == 0.67].groupby("variant").mean(numeric_only=True)
    assert (saved["parameters_removed"] > saved["filters_removed"]).all()
    assert (saved["parameters_removed"] > saved["macs_removed"]).all()


def test_time_falls_less_than_macs_as_chapter_11_says():
    studies = [study(name) for name in ("ratios", "criteria")]
    assert timed_together(studies)
    table = pd.concat([one.table("networks").merge(one.table("latency")) for one in studies])
    at_67 = relative(table, studies[0].started()).query("0.66 < ratio < 0.68")
    saved = at_67.groupby("variant")[["parameters_removed", "macs_removed", "ms_removed"]].mean()
    three = saved.loc[["activation_l2", "taylor", "combined"]]
    assert (abs(three["macs_removed"] - 0.6) < 0.03).all()
    assert (abs(three["ms_removed"] - 0.4) < 0.03).all()
    orders = {tuple(saved[axis].sort_values().index) for axis in saved}
    assert len(orders) == 3  # "four axes with four orders": on the first all are alike


def test_more_repair_is_better_and_one_cut_beats_the_loop():
    usual = networks("ratios").query("variant == 'combined' and ratio == 0.67")
    usual = usual.assign(variant="usual")
    table = pd.concat([networks("budget"), usual])
    mean = table.groupby("variant")[["test_accuracy", "macs"]].mean()
    repairs = mean.loc[["epochs_0.1", "usual", "epochs_0.6", "finish_8"], "test_accuracy"]
    assert repairs.is_monotonic_increasing  # "their means rise with it"
    assert verdict(table, "one_shot", "usual") == "ahead"
    assert mean.loc["one_shot", "macs"] > 1.05 * mean.loc["usual", "macs"]


def test_seeds_of_taylor_part_at_one_point_and_meet_at_five():
    both = pd.concat([networks(name) for name in ("ratios", "criteria")])
    located = [knees(both, drop, study("ratios").started()) for drop in (0.01, 0.05)]
    near, far = (np.ptp(one.query("variant == 'taylor'")["within"]) for one in located)
    assert near > 0.1 and far < 0.01  # "more than a tenth of the axis", "they all but agree"


def test_knees_that_hold_on_validation_cost_more_on_test_as_chapter_11_says():
    own, claims = study("thesis_88px"), pd.read_csv(BOOK / "claims.csv")
    claims = claims[claims["measure"] == "knee"].set_index("variant")
    assert set(claims["study"]) == {"thesis_88px"}  # "rows of the scorecard rest on rule 1" there
    networks = own.table("networks")
    networks = networks[networks["variant"].isin(claims.index)]
    located = knees(networks, start=own.started())
    lost = located["accuracy_lost"]
    assert (lost > 0.01).mean() > 0.5
    assert (lost > 0.02).sum() == 1  # "one of them twice as much"
    on_test = networks.assign(val_accuracy=networks["test_accuracy"])
    start = own.started().assign(val_accuracy=own.started()["test_accuracy"])
    sought = knees(on_test, start=start)["within"]
    assert (sought - located["within"]).abs().max() < 0.01
    assert (sought > located["variant"].map(claims["thesis"].astype(float)) / 100).all()


def test_three_lines_from_the_frozen_start_run_as_the_figure_is_described():
    networks = study("thesis_88px").table("networks")
    start = study("thesis_88px").started()["test_accuracy"].mean()
    three = ["activation_l2", "taylor", "combined"]
    means = networks.pivot_table("test_accuracy", "ratio", "variant")[three]
    assert (means.loc[0.25] - start > 0.1).all()
    assert np.ptp(means.loc[0.25:0.5], axis=1).max() < 0.01
    between = means.loc[0.67:0.9]
    assert (between.idxmin(axis=1) == "activation_l2").all()
    assert (between["taylor"] - between["combined"]).abs().max() < 0.01
    assert means.loc[0.95].max() < 0.5 and means.loc[0.95].idxmax() == "combined"


def test_seeds_of_the_thesis_start_share_their_features():
    paths = [RESULTS / f"frozen_88px/frozen_88px-seed{n}/model.safetensors" for n in range(3)]
    starts = [storage.load(path).state_dict() for path in paths]
    for other in starts[1:]:
        same = {name for name in other if torch.equal(starts[0][name], other[name])}
        assert same == {name for name in other if name.startswith("features.")}


# Chapter 12


def test_the_stronger_start_confirms_less_as_chapter_12_says():
    claims = pd.read_csv(BOOK / "claims.csv")
    moved = claims[claims["study"] == "thesis_88px"]
    own, harder = (
        scorecard(moved.assign(study=name), study)["verdict"] for name in ("thesis_88px", "ratios")
    )
    turned = (harder[own == "better"] == "not confirmed").mean()
    assert turned > 0.5  # "most rows that read better"


def test_at_the_largest_share_still_at_73_percent_the_test_set_is_at_73_percent():
    claims = pd.read_csv(BOOK / "claims.csv")
    claims = claims[claims["measure"] == "share_still_at"]
    assert set(scorecard(claims, study)["verdict"]) == {"better"} and len(claims) == 3
    own = study("thesis_88px")
    runs = with_start(own.table("networks"), own.started())
    for _, claim in claims.iterrows():
        of_variant = runs[runs["variant"] == claim["variant"]]
        for seed, share in share_still_at(own, claim).items():
            test = on_axis(of_variant[of_variant["seed"] == seed], "ratio", [share])
            assert test["test_accuracy"].item() >= claim["at"] - 1e-9


def test_all_blocks_of_the_thesis_come_again():
    blocks = pattern_claims(pd.read_csv(BOOK / "thesis_pattern.csv"), study="thesis_88px")
    assert set(scorecard(blocks, study)["verdict"]) == {"same"}  # "a column of dots"


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
    assert verdict(table, "switch_50", "similarity") == "ahead"
    assert verdict(table, "switch_25", "similarity") == "ahead"
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


# Chapters 11 and 12, on the thesis's own ground


def test_a_frozen_start_leaves_room_that_pays_for_cuts_as_chapter_11_says():
    own = study("thesis_88px")
    networks, started = own.table("networks"), own.started()
    points = start_tuned_pruned(networks, started, 0.67)
    assert (points["tuned"] - points["start"] > 0.05).all()  # "a frozen start leaves much unlearnt"
    assert (points["pruned"] < points["tuned"]).groupby("variant").mean().ge(0.5).all()
    for criterion in {"activation_l2", "taylor", "combined"} & set(networks["variant"]):
        beginning = networks[(networks["variant"] == criterion) & (networks["ratio"] <= 0.5)]
        lifted = beginning["test_accuracy"] - beginning["seed"].map(started["test_accuracy"])
        assert (lifted > 0.05).all()  # "stays level"


def test_the_pattern_of_the_thesis_is_no_mark_of_taylor_as_chapter_12_says():
    printed = pd.read_csv(BOOK / "thesis_pattern.csv", index_col="Iteration").loc["Total"][:-1]
    prunable = trace(squeezenet(), torch.zeros(1, 3, 96, 96)).prunable
    filters = by_block(pd.DataFrame({k: [layer.filters] for k, layer in prunable.items()})).iloc[0]
    off = (filters / filters.sum() - printed / printed.sum()).abs()
    assert (off < 0.05).all()  # "drawing lots would have them all too"
    lots = distance(filters, printed)
    found = {}
    for name in ("thesis_88px", "ratios", "criteria"):
        pattern = study(name).table("pattern")
        found |= {(name, one): far for one, far in pattern_distances(pattern, printed).items()}
    near = {run: far for run, far in found.items() if run[1] not in ("taylor_signed", "random")}
    assert max(near.values()) < 0.75 * lots  # "nearer than lots do"
    others = [found["criteria", "weight_l1"], found["thesis_88px", "activation_l2"]]
    assert max(others) < found["ratios", "taylor"]  # "come as near to it"
    assert abs(found["criteria", "taylor_signed"] - lots) < 0.02


def test_the_second_recipe_adds_what_chapter_12_says():
    first, second = (next(iter(study(name).study.runs.values())) for name in ("best", "best_96px"))
    assert not first["batch_norm"] and second["batch_norm"]
    assert first["final_relu"] is None and second["final_relu"] is False
    assert second["prune"]["repair"] == "least_squares" and second["prune"]["min_filters"]
    before, after = (run["finish"]["fine_tune"] for run in (first, second))
    assert before["teacher"] == "unpruned" and len(after["teacher"]) == 3
    assert after["epochs"] == 6 * before["epochs"]


def test_the_setting_of_the_abstract_was_not_run_as_chapter_13_says():
    (trained,) = study("vgg16").study.runs.values()  # "one training for all seeds"
    assert trained["start"] == "vgg16_bn" and not trained["freeze"]
    assert {run["start"] for run in study("similarity").study.runs.values()} == {
        "vgg16/vgg16-seed0"
    }
    for name in ("vgg16", "similarity"):
        assert {record["data"] for record in study(name).records().values()} == {"cifar10"}
    last = study("similarity").table("table").groupby(["variant", "seed"])["iteration"].max()
    assert set(last) == {3}
