"""Sentences of chapters 10 to 12 and 14 on who is ahead: they must turn with what is recorded."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from recorded_studies import RESULTS, in_bfloat16, networks, study

from prunekit import trace
from prunekit.book import BOOK
from prunekit.book.differences import paired_differences, side
from prunekit.book.findings import at_equal_cost, layers_of, on_axis, shares_by_part
from prunekit.book.starts import beside_start, relative
from prunekit.models import squeezenet

AXES = ("filters_removed", "parameters_removed", "macs_removed", "ms_removed")


@pytest.fixture(scope="module")
def savings():
    """Networks of both studies of criteria, with what each saved."""
    studies = [study(name) for name in ("ratios", "criteria")]
    timed = [one.table("networks").merge(one.table("latency"), how="left") for one in studies]
    return relative(pd.concat(timed, ignore_index=True), studies[0].started())


def test_which_layer_keeps_most_as_the_solution_in_chapter_10_says():
    removed = study("ratios").table("networks_pattern")
    here = removed[np.isclose(removed["ratio"], 0.9)].set_index(["variant", "seed"])
    prunable = trace(squeezenet(), torch.zeros(1, 3, 96, 96)).prunable
    filters = pd.Series({name: prunable[name].filters for name in layers_of(removed)})
    left = filters - here[list(filters.index)]
    most = (left / filters).idxmax(axis=1)
    places = {name: sorted(of_it.str[9]) for name, of_it in most.groupby("variant")}
    thrice = ["3", "3", "3"]
    assert places == {"activation_l2": thrice, "combined": thrice, "taylor": ["3", "4", "4"]}
    squeezes = ["features.3.squeeze", "features.4.squeeze"]
    assert (filters[squeezes] == 16).all()
    assert left[squeezes].min(axis=None) >= 7  # "far more than" the two of the floor


def test_the_last_layers_give_less_in_the_twelfth_iteration_as_chapter_10_says():
    prunable = trace(squeezenet(), torch.zeros(1, 3, 96, 96)).prunable
    filters = pd.DataFrame({name: [layer.filters] for name, layer in prunable.items()})
    (theirs,) = shares_by_part(filters)["last (9-12)"]
    assert 0.65 < theirs < 0.7  # "about two thirds"
    taken = study("ratios").table("pattern").query("variant == 'taylor'")
    shares = shares_by_part(taken[list(filters)])["last (9-12)"].groupby(taken["iteration"]).mean()
    assert shares.index[shares < 2 / 3].min() == 12
    left = filters.iloc[0] - taken.query("iteration <= 12").groupby("seed")[list(filters)].sum()
    late = [name for name in filters if name.split(".")[1] in ("9", "10", "11", "12")]
    assert left[late].min(axis=None) > 8  # "long before a late layer stands at its floor"


def test_on_all_axes_taylor_is_first_and_the_lot_last_as_chapter_11_says(savings):
    orders = {}
    for axis in AXES:
        at_half = on_axis(savings, axis, [0.5]).groupby("variant")["test_accuracy"].mean()
        orders[axis] = at_half.sort_values().index.tolist()
        assert orders[axis][0] == "random" and orders[axis][-1] == "taylor"
    assert len(set(map(tuple, orders.values()))) > 1  # "criteria changed places"


def test_the_combination_beats_one_of_its_parts_as_chapter_11_says(savings):
    words = {"activation_l2": "ahead", "taylor": "behind", "combined_ranks": "tied"}
    compared = at_equal_cost(savings, "combined")
    assert len(compared) == 2 * (savings["variant"].nunique() - 1)
    for other, rows in compared.groupby(level="other"):
        assert rows["mean"].prod() > 0  # "here none changes"
        assert set(rows.apply(side, axis=1)) == {words.get(other, "ahead")}


def test_dead_networks_make_a_lead_larger_and_turn_none_as_chapter_11_says(savings):
    last = savings[np.isclose(savings["ratio"], 0.95)]
    dead = last[last["test_accuracy"] < 0.101].groupby("variant")["seed"].nunique()
    assert dead.to_dict() == {"weight_l1": 3, "random": 3, "activation_l2": 1}
    whole, living = (
        at_equal_cost(rows, "combined") for rows in (savings, savings.drop(index=last.index))
    )
    assert whole.apply(side, axis=1).equals(living.apply(side, axis=1))


def test_lines_across_a_gap_are_a_direction_only_as_chapter_11_says(savings):
    pruned = savings[savings["ratio"] > 0].groupby("variant")["macs_removed"].min()
    assert 0.7 < pruned["random"] < 0.78 and pruned["taylor_signed"] > 0.5
    halves = {run.split("-")[0] for run, half in in_bfloat16("criteria").items() if half}
    assert halves == {"random"} and not any(in_bfloat16("ratios").values())


def test_the_own_ground_of_the_thesis_tells_l2_from_both_as_chapter_11_says():
    own = study("thesis_88px")
    savings = relative(own.table("networks"), own.started())
    compared = at_equal_cost(savings, "combined")
    sides = compared.apply(side, axis=1).to_dict()
    assert sides.pop(("activation_l2", "filters")) == "ahead" and set(sides.values()) == {"tied"}
    assert (
        compared.loc[("taylor", "filters"), "mean"] > 0 > compared.loc[("taylor", "MACs"), "mean"]
    )
    without_last = savings[savings["ratio"].between(0.67, 0.94)]
    left = paired_differences(without_last, "combined", "taylor", "test_accuracy").iloc[0]
    assert left["mean"] < 0  # "without that ratio Taylor has the lead"
    beside_l2 = at_equal_cost(savings, "taylor").loc["activation_l2"].apply(side, axis=1)
    assert beside_l2.to_dict() == {"filters": "tied", "MACs": "ahead"}
    each = paired_differences(savings, "taylor", "activation_l2", "test_accuracy", "ratio")
    assert (each.loc[0.25:0.9].apply(side, axis=1) == "ahead").all()  # "at each ratio up to 90 %"


def test_a_gain_goes_with_what_was_just_lost_as_chapter_11_says():
    networks = study("ratios").table("networks")
    means = networks.groupby("ratio")[["filters", "val_accuracy_before", "val_accuracy"]].mean()
    gain = means["val_accuracy"] - means["val_accuracy_before"]
    lost = (means.loc[0.0, "filters"] - means["filters"]) % 128
    assert lost[0.65] > 115 and lost[0.7] < 20  # "many" and "few"
    assert gain[0.65] > 0.15 and gain[0.7] < 0.05
    assert lost[0.8] < lost[0.65] / 2 and abs(gain[0.8] - gain[0.65]) < 0.01
    assert lost[0.85] < lost[0.65] and gain[0.85] > gain[0.65] + 0.1  # "far more"
    assert gain[0.95] < gain[0.8] and lost[0.95] > lost[0.8]  # "small again"


def test_the_own_ground_of_the_thesis_is_not_flat_as_chapter_11_says():
    printed = pd.read_csv(BOOK / "thesis_accuracy.csv", index_col=0)
    assert (printed.max() == printed.iloc[0]).all()  # "never rise above their start"
    own = study("thesis_88px")
    curves = own.table("networks").pivot_table("test_accuracy", "variant", "ratio")
    assert (curves[0.0] - own.started()["test_accuracy"].mean()).min() > 0.1  # "far above"
    assert (curves[0.25] - curves[0.0]).between(0, 0.02).all()  # "still climbs a little"
    assert curves.loc[:, 0.25:].apply(lambda curve: curve.is_monotonic_decreasing, axis=1).all()


def test_the_second_recipe_meets_the_thesis_at_three_quarters_as_chapter_12_says():
    first, second = (beside_start(study(name)) for name in ("best", "best_96px"))
    at = {place: rows.set_index("seed") for place, rows in second.groupby("place")}
    quarters, tenths = (at[place] for place in sorted(at))
    for rows in (quarters, tenths):
        assert rows.index.tolist() == [0, 1, 2]  # "from each of three starts"
    assert quarters["parameters_removed"].between(0.72, 0.76).all()
    assert (quarters["accuracy_lost"] < 0.01).all()
    assert 0.005 < quarters["accuracy_lost"].mean() < 0.006
    higher = study("best_96px").started()["test_accuracy"].mean() - 0.74
    assert 0.175 < higher < 0.18  # "nearly eighteen points"
    assert (tenths["parameters_removed"] > 0.9).all()
    assert (tenths["accuracy_lost"] > 0.03).all()  # "more than three points"
    assert tenths["accuracy_lost"].max() < first["accuracy_lost"].min() / 2
    assert not (RESULTS / "staircase_96px" / "provenance.json").is_file()


@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_a_price_keeps_more_parameters_as_chapter_14_says(name):
    left = networks(f"{name}_pruned").groupby("variant")["parameters"].mean()
    assert left["cost_aware"] > 2 * left[["everywhere", "inside_blocks"]].max()
