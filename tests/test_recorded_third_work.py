"""Sentences of chapters 17 to 20: they must turn with what is recorded."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from recorded_studies import RESULTS, in_bfloat16, study

from prunekit import trace
from prunekit.book.differences import kept_within, paired_differences, side
from prunekit.storage import load
from prunekit.study import read_study
from prunekit.study.work import MODEL
from prunekit.widths import abnormal_richness, layer_entropies, mean_magnitudes


def test_widths_by_entropy_end_level_with_uniform_ones_as_chapter_17_says():
    recorded = study("entropy")
    networks = recorded.table("networks").assign(ratio=0.0)
    apart = paired_differences(networks, "entropy_alone", "uniform_alone", "test_accuracy").iloc[0]
    assert apart["seeds"] >= 3 and side(apart) == "tied"
    assert apart["high"] - apart["low"] < 0.02  # or "level" would only mean that nobody knows
    of_variant = networks.groupby("variant")
    assert of_variant["macs"].mean().pct_change().abs().max() < 0.01  # "at the same MACs"
    entropy, uniform = of_variant["parameters"].mean()[["entropy_alone", "uniform_alone"]]
    assert 1.25 < entropy / uniform < 1.3  # "more than a quarter more parameters"
    removed = recorded.table("networks_pattern").groupby("variant").first()
    second = [f"layer2.{block}.conv1" for block in range(3)]
    assert sorted(32 - removed.loc["entropy_alone", second]) == [3, 3, 32]
    assert sorted(32 - removed.loc["uniform_alone", second]) == [15, 16, 16]


def test_half_of_the_macs_cost_two_points_whichever_list_took_them_as_chapter_17_says():
    recorded, unpruned = study("entropy"), study("grafting")
    start = recorded.started()["test_accuracy"].mean()
    lost = start - recorded.table("networks").groupby("variant")["test_accuracy"].mean()
    assert lost.tolist() == pytest.approx([0.02, 0.02], abs=0.0015)
    lists = [recorded.study.runs[f"{name}_alone-seed0"]["graft"] for name in ("entropy", "uniform")]
    for graft in (*lists, unpruned.study.runs["alone-seed0"]["graft"]):
        assert (graft["networks"], graft["epochs"]) == (1, 8)
    networks = unpruned.table("networks")
    kept = networks.loc[networks["variant"] == "alone", "test_accuracy"].mean()
    assert start == unpruned.started()["test_accuracy"].mean() and 0 < start - kept < 0.003
    assert all(in_bfloat16("grafting").values())


def test_what_chapter_17_says_is_missing_is_missing():
    pruned = {name: set(study(name).table("networks")["variant"]) for name in STUDIES_OF_WIDTHS}
    assert pruned["entropy"] == {"entropy_alone", "uniform_alone"}
    assert not {"to_max", "neighbours"} & pruned["entropy_controls"]


def test_grafted_networks_end_level_with_one_trained_on_as_chapter_17_says():
    recorded = study("grafting")
    networks = recorded.table("networks")
    assert networks["ratio"].eq(0).all()
    for other in ("alone", "alone_twice_as_long"):
        apart = paired_differences(networks, "grafted", other, "test_accuracy").iloc[0]
        assert apart["seeds"] == 3 and side(apart) == "tied" and apart["high"] < 0.01
    assert max(-apart["low"], apart["high"]) < 0.0075  # "more than three quarters of a point"
    plain = paired_differences(networks, "grafted", "averaged", "test_accuracy").iloc[0]
    assert plain["seeds"] == 3 and side(plain) == "tied"
    assert plain["high"] < 0.001  # "as much as a tenth of a point"
    one, other = (
        networks[networks["variant"] == name].set_index("seed")["test_accuracy"]
        for name in ("grafted", "averaged")
    )
    assert (other > one).all()  # "ahead by a little with each of three seeds"
    start = recorded.started()["test_accuracy"].mean()
    assert (networks["test_accuracy"] - start).abs().max() < 0.005  # "within half a point"


def test_all_runs_began_with_one_trained_network_as_chapters_17_and_18_say():
    records = [
        record
        for name in ("grafting", *STUDIES_OF_WIDTHS)
        for record in study(name).records().values()
    ]
    assert {record["settings"]["start"] for record in records} == {"resnet20/resnet20-seed0"}
    assert len({record["starting_weights"] for record in records}) == 1


def test_grafted_and_alone_differ_in_their_rates_as_chapter_17_says():
    first = study("grafting").table("grafting").query("epoch == 1").groupby("variant")["lr"]
    for variant, rates in first.unique().items():
        several = variant in ("grafted", "averaged")
        assert rates.tolist() == pytest.approx([0.025, 0.05] if several else [0.05])


def test_the_last_epoch_is_nearly_always_the_best_as_chapter_17_says():
    table = pd.concat([study(name).table("grafting") for name in ("grafting", *STUDIES_OF_WIDTHS)])
    val = table.groupby(["variant", "seed"])["val_accuracy"]
    given = val.max() - val.last()
    assert (given == 0).mean() > 0.85 and given.mean() < 0.0005  # "next to nothing"


UNTRIED = {"mode", "steepness", "calibration", "same_order", "schedule", "training"}


def test_what_chapter_17_says_was_not_tried_was_not():
    for name in ("grafting", *STUDIES_OF_WIDTHS):
        for record in study(name).records().values():
            settings = record["settings"]
            graft = settings["graft"]
            assert graft["networks"] <= 2 and not UNTRIED & set(graft)
            assert "amplitude" not in graft or not (settings["widths"] or settings["prune"])
            assert "keep" not in (settings["widths"] or {})


@pytest.mark.parametrize(
    "name",
    [
        "entropy_resnet56",
        "entropy_resnet110",
        "entropy_resnet110_as_printed",
        "richness_mobilenet_v2",
        "one_step_against_iterative",
        "abnormal_resnet56",
    ],
)
def test_what_chapters_17_and_18_say_is_not_run_is_not(name):
    assert study(name).study.runs and not (RESULTS / name).exists()


STUDIES_OF_WIDTHS = ("entropy", "entropy_controls")


def widths_of_two_studies() -> tuple[pd.DataFrame, pd.DataFrame]:
    """What chapters 17 and 18 compare: networks, and what they lost in each layer."""
    studies = [study(name) for name in STUDIES_OF_WIDTHS]
    networks, patterns = (
        pd.concat([one.table(name) for one in studies]).assign(ratio=0.0)
        for name in ("networks", "networks_pattern")
    )
    return networks, patterns


def beside_both(networks: pd.DataFrame, variant: str) -> dict[str, pd.Series]:
    """The paired differences of a variant on test, from widths by entropy and from uniform ones."""
    return {
        other: paired_differences(networks, variant, other, "test_accuracy").iloc[0]
        for other in ("entropy_alone", "uniform_alone")
    }


def test_widths_by_entropy_turned_around_end_below_as_chapter_17_says():
    networks, patterns = widths_of_two_studies()
    by_seed = networks.pivot_table("test_accuracy", "seed", "variant")
    for other, apart in beside_both(networks, "reversed").items():
        assert apart["seeds"] == 3 and side(apart) == "behind"
        assert apart["mean"] == pytest.approx(-0.025, abs=0.0015)  # "two and a half on average"
        assert (by_seed["reversed"] - by_seed[other]).max() < -0.019  # "each of three seeds"
    parameters = networks.groupby("variant")["parameters"].mean()
    assert parameters["reversed"] < parameters[["entropy_alone", "uniform_alone"]].min()
    lost = patterns.set_index("variant").loc["reversed"]
    last = 64 - lost[[f"layer3.{block}.conv1" for block in range(3)]].to_numpy()
    assert (last.min(), last.max()) == (12, 18)  # "between 12 and 18 of their 64 channels"
    assert (lost["layer1.0.conv1"] == 1).all()  # "the first almost whole"
    assert (lost["layer2.0.conv1"] == 29).all()  # "of one in the middle it keeps 3 of 32"


def test_entropies_given_to_other_units_end_below_as_chapter_17_says():
    networks, patterns = widths_of_two_studies()
    by_seed = networks.pivot_table("test_accuracy", "seed", "variant")
    for other, apart in beside_both(networks, "permuted").items():
        assert apart["seeds"] == 3 and side(apart) == "tied"
        assert apart["mean"] == pytest.approx(-0.015, abs=0.001)  # "a point and a half"
        lost = (by_seed[other] - by_seed["permuted"]).sort_values().tolist()
        assert 0 < lost[0] < lost[1] < 0.01 and 0.025 < lost[2] < 0.03  # "nearly three"
    third = patterns.query("variant == 'permuted'").set_index("seed").loc[2]
    kept = 64 - third[[f"layer3.{block}.conv1" for block in range(3)]]
    assert sorted(kept)[:2] == [6, 6] and by_seed["permuted"].idxmin() == 2


def test_the_three_smallest_lists_are_the_three_worst_as_chapter_17_says():
    networks, _ = widths_of_two_studies()
    networks = networks.groupby(["variant", "seed"])[["parameters", "test_accuracy"]].first()
    of_list = networks.groupby(["variant", "parameters"])["test_accuracy"].mean().reset_index()
    worst = of_list.nsmallest(3, "test_accuracy")
    assert set(worst["variant"]) == {"reversed", "permuted", "taylor"}
    assert set(worst.index) == set(of_list.nsmallest(3, "parameters").index)
    parameters = networks["parameters"].groupby("variant").mean()
    assert parameters["reversed"] / parameters["uniform_alone"] == pytest.approx(0.7, abs=0.01)
    halves = {run for run, half in in_bfloat16("entropy_controls").items() if half}
    assert halves == {"taylor-seed0"} and not any(in_bfloat16("entropy").values())


def test_entropies_of_a_network_lie_close_as_chapter_17_says():
    spread = {}
    for name in ("resnet20", "resnet56", "mobilenet_v2", "vgg16_half"):
        network = load(RESULTS / name / f"{name}-seed0" / MODEL).float()
        entropies = layer_entropies(network, trace(network, torch.zeros(1, 3, 32, 32)))
        spread[name] = entropies.max() - entropies.min()
    assert spread.pop("vgg16_half") == pytest.approx(0.7, abs=0.03)
    assert max(spread.values()) < 0.52  # "about half a nat"


def test_widths_by_richness_gained_nothing_as_chapter_18_says():
    networks, patterns = widths_of_two_studies()
    for apart in beside_both(networks, "richness").values():
        assert apart["seeds"] == 3 and apart["low"] < 0 < apart["high"]
        assert apart["mean"] == pytest.approx(-0.005, abs=0.0006)  # "half a point behind"
        assert apart["high"] < 0.005  # "more than half a point ahead is ruled out"
    lots = paired_differences(networks, "permuted", "richness", "test_accuracy").iloc[0]
    assert side(lots) == "tied" and lots["mean"] == pytest.approx(-0.01, abs=0.001)  # "a point"
    parameters = networks.groupby("variant")["parameters"].mean()
    kept = parameters["richness"] / parameters[["uniform_alone", "entropy_alone"]]
    assert kept.tolist() == pytest.approx([7 / 8, 2 / 3], abs=0.02)
    # Inside a block a filter is a row of the one convolution and a column of the other.
    lost = patterns.groupby("variant").first()
    more = {other: lost.loc["richness"] - lost.loc[other] for other in patterns["variant"].unique()}
    middle = ["layer2.1.conv1", "layer2.2.conv1"]
    assert (32 - lost.loc["richness", middle]).tolist() == [3, 3]
    assert (more["entropy_alone"][middle] == 0).all()
    saved = {
        "middle": more["uniform_alone"][middle].sum() * (2 * 9 * 32 + 2),
        "last": more["uniform_alone"][["layer3.1.conv1", "layer3.2.conv1"]].sum()
        * (2 * 9 * 64 + 2),
    }
    assert saved["middle"] == pytest.approx(saved["last"], rel=0.05)  # "about equally much"
    both = sum(saved.values())
    apart = parameters["uniform_alone"] - parameters["richness"]
    assert 1 - apart / both == pytest.approx(0.4, abs=0.02)  # "two fifths go back"
    assert parameters["richness"] < parameters[["uniform_alone", "entropy_alone"]].min()


def test_abnormal_layers_are_rare_as_chapter_18_says():
    abnormal = {}
    for name in ("resnet20", "resnet56", "mobilenet_v2", "vgg16_half", "resnet110"):
        network = load(RESULTS / name / f"{name}-seed0" / MODEL).float()
        graph = trace(network, torch.zeros(1, 3, 32, 32))
        lists = layer_entropies(network, graph), mean_magnitudes(network, graph)
        abnormal[name] = abnormal_richness(*lists).filter(like="abnormal").sum()
    counts = pd.DataFrame(abnormal).T
    assert counts["entropy_abnormal"].sum() == 1 and counts["magnitude_abnormal"].max() == 1
    assert (counts.loc["resnet20"] == 0).all()


def test_entropy_and_norm_go_together_in_some_networks_as_chapter_18_says():
    together = {}
    for name in ("resnet56", "mobilenet_v2", "vgg16_half"):
        network = load(RESULTS / name / f"{name}-seed0" / MODEL).float()
        graph = trace(network, torch.zeros(1, 3, 32, 32))
        together[name] = layer_entropies(network, graph).corr(mean_magnitudes(network, graph))
    assert abs(together["resnet56"]) < 0.2  # "hardly"
    assert together["mobilenet_v2"] == pytest.approx(0.5, abs=0.05)  # "about a half"
    assert together["vgg16_half"] == pytest.approx(0.73, abs=0.02)  # "nearly three quarters"


def test_one_weight_makes_the_abnormal_layer_as_chapter_18_says():
    network = load(RESULTS / "resnet56" / "resnet56-seed0" / MODEL).float()
    entropies = layer_entropies(network, trace(network, torch.zeros(1, 3, 32, 32)))
    assert len(entropies) == 27
    weights = {name: network.get_submodule(name).weight.detach() for name in entropies.index}
    odd = weights[entropies.idxmin()]
    assert odd.histc(10)[-3:].tolist() == [0, 0, 1]  # "two empty bins below it"
    largest, second = odd.abs().flatten().sort(descending=True)[0][:2].tolist()
    assert 1.8 < largest / second < 2  # "nearly twice as large as the next"
    reach = {name: (w.abs().max() / w.abs().mean()).item() for name, w in weights.items()}
    assert max(reach, key=reach.__getitem__) == entropies.idxmin()


def test_for_a_detector_it_matters_which_filters_go_as_chapter_20_says():
    names = ("pedestrian", "pedestrian_controls")
    studies = [study(name) for name in names]
    networks = pd.concat([one.table("networks") for one in studies]).assign(ratio=0.0)
    apart = paired_differences(networks, "half", "random", "test_average_precision").iloc[0]
    assert apart["seeds"] >= 3 and side(apart) == "ahead" and apart["mean"] > 0.05  # "far"
    means = networks.groupby("variant")[["macs", "parameters"]].mean()
    macs, parameters = (means.loc["random"] / means.loc["half"])[["macs", "parameters"]]
    assert abs(macs - 1) < 0.01 and 1.9 < parameters < 2.1  # "left with twice the parameters"
    assert not any(in_bfloat16("pedestrian_controls").values())
    halves = in_bfloat16("pedestrian")
    assert sum(halves[f"half-seed{seed}"] for seed in range(3)) == 2  # "two of the three"


def test_three_seeds_left_half_of_the_macs_undecided_as_chapter_20_says():
    recorded = study("pedestrian")
    networks = recorded.table("networks").assign(ratio=0.0)
    first = networks[networks["seed"] < 3]
    value = "test_average_precision"
    apart = paired_differences(first, "half", "unpruned", value, level=0.9).iloc[0]
    assert apart["seeds"] == 3 and -0.022 < apart["low"] < -0.02  # "by a tenth of a point"
    assert "undecided" in kept_within(first, "half", "unpruned", value, margin=0.02)


def test_five_seeds_rule_out_a_loss_of_two_points_as_chapter_20_says():
    networks = study("pedestrian").table("networks").assign(ratio=0.0)
    value = "test_average_precision"
    pruned = networks[networks["variant"].isin(["half", "unpruned"])]
    assert (pruned.groupby("variant")["seed"].nunique() == 5).all()
    assert "shown" in kept_within(networks, "half", "unpruned", value, margin=0.02)
    macs = networks.groupby("variant")["macs"].mean()
    assert abs(macs["half"] / macs["unpruned"] - 0.5) < 0.005
    on_val = paired_differences(networks, "half", "unpruned", "val_average_precision").iloc[0]
    assert side(on_val) == "behind" and on_val["mean"] == pytest.approx(-0.009, abs=5e-4)
    assert "shown" in kept_within(networks, "half", "unpruned", "val_average_precision", 0.02)
    added = networks[~networks["variant"].isin(["half", "unpruned"])]
    assert added["seed"].max() < 3  # "the two added seeds are not recorded yet"
    halves = in_bfloat16("pedestrian")
    partners = {run: halves[f"unpruned-{run.split('-')[1]}"] for run in halves}
    assert [run for run in halves if halves[run] != partners[run]] == ["seventy-seed1"]


def test_the_miss_rate_tells_no_share_from_the_unpruned_as_chapter_20_says():
    networks = study("pedestrian").table("networks").assign(ratio=0.0)
    apart = {
        variant: paired_differences(networks, variant, "unpruned", "test_miss_rate").iloc[0]
        for variant in ("thirty", "half", "seventy")
    }
    assert {side(one) for one in apart.values()} == {"tied"}  # "none of the three shares"
    most = apart["seventy"]
    assert most["seeds"] == 3 and most["mean"] == pytest.approx(0.03, abs=0.005)  # "three points"
    # "from a little less to nearly seven points more"
    assert -0.01 < most["low"] < 0 and 0.065 < most["high"] < 0.07
    value = "test_average_precision"
    assert side(paired_differences(networks, "seventy", "unpruned", value).iloc[0]) == "behind"


def test_the_detectors_are_cut_coarsely_as_chapter_20_says():
    runs = read_study("pedestrian").runs.values()
    pruned = [run for run in runs if run["prune"]]
    steps = {run["prune"]["share_per_iteration"] for run in pruned}
    assert min(steps) == 0.1 and 0.22 < max(steps) < 0.25  # "a tenth to nearly a quarter"
    assert {run["prune"]["fine_tune"]["epochs"] for run in pruned} == {2}
    assert {run["finish"]["fine_tune"]["epochs"] for run in pruned} == {14}
