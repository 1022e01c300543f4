"""Why rows of the scorecard are not confirmed: each reason in book/claims.csv holds."""

from __future__ import annotations

import math
import re

import pandas as pd
import pytest
from recorded_studies import study

from prunekit.book import BOOK
from prunekit.book.claims import scorecard
from prunekit.book.differences import paired_differences
from prunekit.book.measures import MEASURES

CLAIMS = pd.read_csv(BOOK / "claims.csv", keep_default_na=False).set_index("claim")
REASONS = CLAIMS["reason"][CLAIMS["reason"] != ""]
COMBINED = "The combination prunes further than "


@pytest.fixture(scope="module")
def card():
    return scorecard(pd.read_csv(BOOK / "claims.csv"), study).set_index("claim")


def numbers(claim: str) -> list[float]:
    """Those in the reason, in order, without the commas of thousands."""
    return [float(n) for n in re.findall(r"\d+(?:\.\d+)?", REASONS[claim].replace(",", ""))]


def values(claim: str) -> pd.Series:
    """What our runs give for a claim, a value a seed."""
    row = pd.read_csv(BOOK / "claims.csv").set_index("claim", drop=False).loc[claim]
    return MEASURES[row["measure"]](study(row["study"]), row)


def test_every_row_that_is_not_confirmed_has_a_reason_and_no_other_row(card):
    assert set(REASONS.index) == set(card.index[card["verdict"] == "not confirmed"])


def test_random_weights_pass_frozen_features_of_either_size():
    found = numbers("Transfer beats training from random weights by")
    epochs, scratch, frozen, pixels, frozen_larger, larger = found
    transfer, second = study("transfer_64px"), study("frozen_88px")
    run = transfer.study.runs["scratch-seed0"]
    assert (run["train"]["epochs"], run["input_size"]) == (epochs, pixels)
    mean = transfer.table("networks").groupby("variant")["test_accuracy"].mean()
    assert [round(100 * mean[way]) for way in ("scratch", "frozen")] == [scratch, frozen]
    assert {run["input_size"] for run in second.study.runs.values()} == {larger}
    assert round(100 * second.table("networks")["test_accuracy"].mean()) == frozen_larger
    claim = CLAIMS.loc["SqueezeNet from random weights on CIFAR-10 (110 epochs)"]
    assert 100 * mean["scratch"] - claim["thesis"] > 20  # chapter 12: "more than twenty points"


def test_the_thesis_counts_other_filters():
    ours, theirs = numbers("Filters in SqueezeNet")[1:]  # after the version of SqueezeNet
    assert set(values("Filters in SqueezeNet")) == {ours}
    share = 0.67
    *_, total, few, _, own, many = numbers("Iterations of 128 filters to 67 %")
    assert (total, own) == (theirs, ours)
    assert [math.ceil(share * n / 128) for n in (theirs, ours)] == [few, many]
    assert set(values("Iterations of 128 filters to 67 %")) == {many}


@pytest.mark.parametrize("criterion", ["L2", "Taylor"])
def test_the_far_end_had_little_repair_and_seeds_lie_far_apart(criterion):
    claim = f"Accuracy lost at 95 %, {criterion}"
    between, at_end, apart = numbers(claim)
    run = next(iter(study("thesis_88px").study.runs.values()))
    assert run["prune"]["fine_tune"]["epochs"] == between
    assert run["finish"]["fine_tune"]["epochs"] == at_end
    lost = values(claim)
    assert len(lost) == 3 and round(100 * (lost.max() - lost.min())) == apart


def test_three_seeds_do_not_settle_the_combination():
    ahead = {other: (values(COMBINED + other) > 0).sum() for other in ("L2", "Taylor")}
    assert ahead == {"L2": 3, "Taylor": 1}
    more = "The combination is more accurate than Taylor, 67 % to 95 %"
    assert (values(more) > 0).sum() == 2 and len(values(more)) == 3
    networks = study("thesis_88px").table("networks").query("0.67 <= ratio < 0.95")
    means = networks.pivot_table("test_accuracy", "seed", "variant")
    assert (means["combined"] < means["taylor"]).all()  # "without it behind in all three"
    apart = paired_differences(networks, "combined", "taylor", "test_accuracy").iloc[0]
    assert apart["high"] > 0  # "by too little to tell"
    assert "all three" in REASONS[COMBINED + "L2"]
    assert "one seed" in REASONS[COMBINED + "Taylor"] and "two seeds" in REASONS[more]


def test_milliseconds_are_of_another_machine_and_their_ratio_is_judged_apart(card):
    pixels, *theirs = numbers("One image on a PC, unpruned")
    assert theirs == [7, 1080]  # an i7 and a GTX 1080, from chapter 10 of the thesis
    assert {run["input_size"] for run in study("thesis_88px").study.runs.values()} == {pixels}
    assert card.loc["Faster on a PC where the combination stops (2 ms to 1 ms)", "verdict"] == (
        "better"
    )


def test_similarity_after_saliency_changes_nothing_that_shows(card):
    row = card.loc["Saliency then similarity beats saliency alone"]
    (most,) = numbers(row.name)[:1]
    assert not row["excluded"] and -most < row["low"] < 0 < row["high"] < most


def test_richness_is_behind_entropy_in_every_seed():
    claim = next(c for c in REASONS.index if c.startswith("Abnormal richness is more accurate"))
    apart = values(claim)
    assert len(apart) == 3 and (apart < 0).all()
    graft = study("entropy_controls").study.runs["richness-seed0"]["graft"]
    assert (graft["networks"], graft["epochs"]) == (1, numbers(claim)[0])


def test_sixty_epochs_do_not_bring_back_nine_tenths():
    claim = "Best recipe: accuracy lost with 90 % of the parameters removed"
    points, epochs = numbers(claim)
    lost = values(claim)
    assert len(lost) == 3 and (100 * lost).min() >= points
    assert study("best_96px").study.runs["best_96px-seed0"]["finish"]["fine_tune"]["epochs"] == (
        epochs
    )


def test_the_instructions_of_two_thirds_are_counted_on_widths_of_the_loop():
    counts = pd.read_csv(BOOK / "results" / "deployment" / "instructions_by_seed.csv")
    counted = counts[counts["model"] == "combined-67"]
    loop = study("thesis_88px").table("networks").query("variant == 'combined' and ratio == 0.67")
    sizes = [
        table[["seed", "filters", "parameters"]].drop_duplicates().set_index("seed")
        for table in (counted, loop)
    ]
    assert len(sizes[0]) == 3
    macs = pd.read_csv(BOOK / "results" / "deployment" / "instructions.csv").groupby("model")[
        "macs"
    ]
    by_norm = macs.first()["cut-67"] / macs.first()["original"]
    noted = CLAIMS["note"][CLAIMS["variant"] == "combined-67"]
    assert len(noted) == 2 and noted.str.contains(f"keeps {by_norm:.0%}".replace("%", " %")).all()
    pd.testing.assert_frame_equal(*sizes)


def test_counts_of_one_start_are_counted_again_alike():
    folder = BOOK / "results" / "deployment"
    keys = ["model", "precision", "core"]
    once = pd.read_csv(folder / "instructions.csv").set_index(keys)["instructions"]
    anew = pd.read_csv(folder / "instructions_by_seed.csv").query("seed == 0").set_index(keys)
    again = (anew["instructions"] / once - 1).dropna()
    assert set(again.index.unique("model")) == {"original", "pruned"}
    assert again.abs().max() < 1e-3


def test_only_two_contradictions_are_about_what_pruning_costs(card):
    """As chapter 12 says below its table of crosses."""
    against = card[(card["verdict"] == "not confirmed") & card["excluded"]]
    about = against.index[against.index.str.contains("ccuracy lost")]
    assert sorted(about) == [
        "Accuracy lost at 95 %, Taylor",
        "Best recipe: accuracy lost with 90 % of the parameters removed",
    ]
    others = "from random weights|Filters in|Iterations|image on a PC"
    assert against.index.difference(about).str.contains(others).all()


def test_a_lead_of_half_a_point_is_ruled_out_in_two_open_rows(card):
    """As chapter 12 says below its table of crosses."""
    for start in ("Saliency then similarity beats saliency", "Abnormal richness is more"):
        (row,) = (card.loc[claim] for claim in card.index if claim.startswith(start))
        assert row["verdict"] == "not confirmed" and not row["excluded"] and row["high"] < 0.5


def test_what_follows_from_a_share_that_was_set_is_same_at_most(card):
    at_least = CLAIMS.index[CLAIMS["better"] == "at_least"]
    assert set(at_least) == {claim for claim in CLAIMS.index if claim.startswith("Fewer instr")}
    assert set(card.loc[at_least, "verdict"]) <= {"same", "not confirmed"}
    sizes = study("best_96px").table("networks").query("ratio == 0.75")["bytes"] / 1e3
    for claim in at_least[at_least.str.contains("75 %")]:
        *_, ours, theirs = (int(n) for n in re.findall(r"\d+", CLAIMS.loc[claim, "note"]))
        assert round(sizes.mean()) == ours and ours < theirs == 846


def test_no_row_reads_the_stronger_start():
    assert "ratios" not in set(CLAIMS["study"])  # "No row of the card reads it."
