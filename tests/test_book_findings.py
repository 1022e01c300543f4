"""What is read from the tables of a study, against cases computed by hand."""

import json
import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from curves import ACCURACY, LAYERS, networks_table
from torch import nn

from prunekit.book import BOOK, costs, findings, starts
from prunekit.book.claims import scorecard, verdict
from prunekit.book.differences import mean_interval, paired_differences
from prunekit.book.measures import MEASURES
from prunekit.book.plots.scorecard import SIGNS
from prunekit.storage import save
from prunekit.study.declaration import Study
from prunekit.study.recorded import Recorded
from prunekit.study.tuning import MODEL


@pytest.fixture
def networks():
    return networks_table()


@pytest.fixture
def pattern(networks):
    removed = {0.0: (0, 0, 0), 0.5: (1, 9, 40), 0.8: (5, 15, 60)}
    counts = [removed[ratio] for ratio in networks["ratio"]]
    return networks[["variant", "seed", "ratio"]].join(pd.DataFrame(counts, columns=LAYERS))


@pytest.fixture
def read(tmp_path, networks, pattern):
    """A reader of one recorded study, ``thesis_88px``."""
    folder = tmp_path / "thesis_88px"
    folder.mkdir()
    networks.to_csv(folder / "networks.csv", index=False)
    pattern.to_csv(folder / "networks_pattern.csv", index=False)
    removed = [(v, s, i, *n) for v, s in ACCURACY for i, n in ((1, (2, 6, 32)), (2, (3, 9, 28)))]
    rows = pd.DataFrame(removed, columns=["variant", "seed", "iteration", *LAYERS])
    rows.to_csv(folder / "pattern.csv", index=False)
    iterations = [(0, 100), (1, 60), (2, 20)]
    table = [(v, s, i, left, 10 * left, 40 * left) for v, s in ACCURACY for i, left in iterations]
    columns = ["variant", "seed", "iteration", "filters", "parameters", "bytes"]
    pd.DataFrame(table, columns=columns).to_csv(folder / "table.csv", index=False)
    runs = {f"{v}-seed{s}": {"variant": v, "seed": s} for v, s in ACCURACY}
    records = {run: {"settings": settings | {"start": "tiny"}} for run, settings in runs.items()}
    (folder / "provenance.json").write_text(json.dumps({"runs": records}))

    def reader(name):
        if name != "thesis_88px":
            raise FileNotFoundError(name)
        return Recorded(folder, Study(name, "", runs))

    return reader


def test_shares_of_the_thesis_come_out_of_its_table():
    printed = pd.read_csv(BOOK / "thesis_pattern.csv", index_col="Iteration")
    totals = printed.drop(columns="Total").loc[["Total"]].rename(index=str)
    shares = findings.shares_by_part(totals).iloc[0]
    assert [round(100 * share, 1) for share in shares] == [0.7, 21.8, 77.5]


def test_seconds_are_of_each_runs_own_iteration_nearest_to_the_share():
    """The second run gets there in another iteration, and the start is no iteration."""
    rows = [("a", 0, 100, 2), ("a", 1, 60, 30), ("a", 2, 20, 10)]
    rows += [("b", 0, 100, 2), ("b", 1, 55, 50), ("b", 2, 50, 40), ("b", 3, 30, 20)]
    table = pd.DataFrame(rows, columns=["variant", "iteration", "parameters", "seconds"])
    table = table.assign(seed=0, macs=table["parameters"] ** 2)
    spent = costs.seconds_as_it_shrinks(table, [1.0, 0.5])
    assert spent["seconds"].tolist() == [40, 35]
    assert spent[["least", "most"]].to_numpy().tolist() == [[30, 50], [30, 40]]
    assert spent["MACs left"].tolist() == pytest.approx([(0.36 + 0.3025) / 2, (0.36 + 0.25) / 2])


def test_a_layer_of_no_known_part_is_named():
    with pytest.raises(ValueError, match="classifier has no index"):
        findings.part_of("classifier")


def test_every_variant_gets_the_unpruned_row_of_its_seed(networks):
    whole = starts.with_start(networks)
    assert len(whole) == len(networks) + 2
    random = whole[(whole["variant"] == "random") & (whole["ratio"] == 0)]
    assert random["test_accuracy"].tolist() == [0.9, 0.9]
    with pytest.raises(ValueError, match="ratio 0 is recorded for seed 1"):
        starts.with_start(networks[(networks["seed"] == 0) | (networks["ratio"] > 0)])


def test_savings_and_losses_are_counted_from_the_unpruned_network(networks):
    networks = networks.assign(ms=networks["macs"] / 10)
    row = starts.relative(networks).query("variant == 'random' and seed == 1 and ratio == 0.8")
    names = ["filters", "parameters", "macs", "ms"]
    saved = [row[f"{name}_removed"].item() for name in names]
    assert saved == pytest.approx([0.8, 0.94, 0.8, 0.8])
    assert row["speedup"].item() == pytest.approx(5)
    assert row["accuracy_lost"].item() == pytest.approx(0.4)


def test_the_unpruned_network_has_one_time_a_seed_the_fastest(networks):
    slow = (networks["ratio"] == 0) & (networks["variant"] == "random")
    timed = networks.assign(ms=networks["macs"] / 10)
    timed["ms"] = timed["ms"].mask(slow, 2 * timed["ms"])
    unpruned = starts.relative(timed).query("ratio == 0")
    assert (unpruned["ms"] == unpruned["macs"] / 10).all()
    assert (unpruned["ms_removed"] == 0).all()


def test_interval_of_three_seeds_is_students():
    mean, half = mean_interval([0.4, 0.1, 0.7])
    assert (mean, half) == pytest.approx((0.4, 4.303 * 0.3 / math.sqrt(3)), rel=1e-3)
    assert math.isnan(mean_interval([1.0])[1])


def test_differences_are_paired_by_seed(networks):
    table = paired_differences(networks, "combined", "taylor", "test_accuracy", "ratio")
    assert table["mean"].tolist() == pytest.approx([0, 0.015, 0.015])
    assert table["seeds"].tolist() == [2, 2, 2]
    # Seed 0: (0 + 0.01 + 0.02) / 3; seed 1: (0 + 0.02 + 0.01) / 3: the same, so no spread.
    overall = paired_differences(networks, "combined", "taylor", "test_accuracy").iloc[0]
    assert overall[["mean", "low", "high"]].tolist() == pytest.approx([0.01, 0.01, 0.01])


def test_overall_difference_uses_only_ratios_that_both_have(networks):
    overall = paired_differences(networks, "taylor", "random", "test_accuracy").iloc[0]
    assert overall["mean"] == pytest.approx((0.10 + 0.24 + 0.18 + 0.32) / 4)


def test_a_ratio_that_one_run_lacks_counts_on_neither_side(networks):
    last = networks["ratio"] == networks["ratio"].max()
    lacking = networks[~(last & (networks["variant"] == "taylor") & (networks["seed"] == 1))]
    overall = paired_differences(lacking, "combined", "taylor", "test_accuracy").iloc[0]
    # Seed 0 as above; seed 1 without its last ratio, at which taylor would be lowest.
    assert overall["mean"] == pytest.approx((0.03 / 3 + 0.02 / 2) / 2)


def test_without_a_common_seed_there_is_no_difference(networks):
    apart = networks[(networks["variant"] == "taylor") == (networks["seed"] == 0)]
    assert paired_differences(apart, "taylor", "combined", "test_accuracy").empty


def test_what_each_seed_began_with_is_read_from_its_record(tmp_path):
    rows = {"variant": "base", "seed": [0, 1], "val_accuracy": [0.5, 0.6], "test_accuracy": 0.4}
    (tmp_path / "base").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "base" / "networks.csv", index=False)
    alone = {"validation_accuracy": {"last": 0.7}, "kept": "last", "test_accuracy": 0.65}
    (tmp_path / "single" / "tuned").mkdir(parents=True)
    (tmp_path / "single" / "tuned" / "provenance.json").write_text(json.dumps(alone))

    def started(*starts):
        records = {
            f"a-seed{seed}": {
                "settings": {"variant": "a", "seed": seed, "start": start, "dataset": "digits"}
            }
            for seed, start in enumerate(starts)
        }
        (tmp_path / "small").mkdir(exist_ok=True)
        (tmp_path / "small" / "provenance.json").write_text(json.dumps({"runs": records}))
        return Recorded(tmp_path / "small", Study("small", "", {})).started()

    assert started("imagenet") is None
    by_seed = started("base/base-seed1", "single/tuned")
    assert by_seed["val_accuracy"].to_dict() == {0: 0.6, 1: 0.7}
    assert by_seed["test_accuracy"].to_dict() == {0: 0.4, 1: 0.65}
    with pytest.raises(FileNotFoundError, match="how good was the network at the start"):
        started("gone/gone-seed0")


def test_networks_lie_beside_a_start_that_only_the_table_of_iterations_knows(tmp_path):
    """Its parameters are those of the network itself, without what a run puts in."""
    network = nn.Linear(99, 10)
    save(network, tmp_path / "base" / "base" / MODEL, example_inputs=torch.zeros(2, 99))
    runs = pd.DataFrame({"variant": "best", "seed": [0, 0, 1, 1]})
    left = {"ratio": [0.7, 0.6, 0.65, 0.8], "test_accuracy": [0.8, 0.9, 0.88, 0.76]}
    tables = {
        "networks": runs.assign(filters=[30, 40, 35, 20], parameters=[100, 250, 260, 90], **left),
        "table": runs.assign(iteration=[0, 1, 0, 1], filters=[100, 40] * 2, parameters=1100),
    }
    records = {seed: {"settings": {"seed": seed, "start": "base/base"}} for seed in (0, 1)}
    start = pd.DataFrame({"test_accuracy": [0.91, 0.93]}, index=[0, 1])
    rows = starts.beside_start(
        SimpleNamespace(
            table=tables.get,
            started=lambda: start,
            records=lambda: records,
            folder=tmp_path / "best",
        )
    )
    assert rows["place"].tolist() == [0, 1, 0, 1]
    assert rows["parameters_removed"].tolist() == pytest.approx([0.75, 0.9, 0.74, 0.91])
    assert rows["accuracy_lost"].tolist() == pytest.approx([0.01, 0.11, 0.05, 0.17])


def test_epochs_of_all_fine_tuning():
    settings = {"prune": {"fine_tune": {"epochs": 0.3}}, "finish": {"fine_tune": {"epochs": 0.6}}}
    assert costs.training_epochs(settings, 10) == pytest.approx(3.6)
    assert costs.training_epochs({"prune": {"fine_tune": None}, "finish": None}, 10) == 0


@pytest.mark.parametrize(
    "measure, claim, expected",
    [
        ("accuracy", {"at": 0.5}, [0.90, 0.88]),
        ("accuracy_lost", {"at": 0.65}, [0.03, 0.05]),
        ("accuracy_gain", {"other": "random", "at": 0.8}, [0.24, 0.32]),
        ("knee", {}, [0.55, 0.25]),
        ("knee_gain", {"other": "random"}, [0.5, 0.225]),
        # 40 filters of the first iteration, 40 of the second.
        ("share_of_part", {"other": "last (9-12)", "at": 40}, [0.8, 0.8]),
        ("share_of_part", {"other": "last (9-12)", "at": 41}, [0.75, 0.75]),
        ("share_of_part", {"other": "Fire 3", "at": 80}, [15 / 80, 15 / 80]),
        ("share_still_at", {"at": 0.87}, [0.65, 0.55]),
        ("share_still_at", {"at": 0.95}, [0, 0]),
        ("accuracy_at_bytes", {"at": 720}, [0.87, 0.85]),
        ("iterations", {"at": 0.67}, [2, 2]),
        ("filters", {}, [100, 100]),
        ("size", {}, [4000, 4000]),
        ("size_at_knee", {}, [1200, 4000]),
        ("size_removed_at_knee", {}, [0.7, 0]),
        ("bytes_per_parameter", {"at": 0.5}, [4, 4]),
    ],
)
def test_measures_by_hand(read, measure, claim, expected):
    claim = {"variant": "taylor", "measure": measure} | claim
    assert MEASURES[measure](read("thesis_88px"), claim).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("weaker", ["val_accuracy", "test_accuracy"])
def test_a_share_that_keeps_an_accuracy_keeps_it_on_validation_and_on_test(read, weaker):
    """The weaker curve reads 0.87, 0.87, 0.81 in one run and 0.87, 0.85, 0.79 in the other."""
    recorded = read("thesis_88px")
    table = recorded.table("networks")
    table[weaker] -= 0.03
    table.to_csv(recorded.folder / "networks.csv", index=False)
    shares = MEASURES["share_still_at"](recorded, {"variant": "taylor", "at": 0.86})
    assert shares.tolist() == pytest.approx([0.55, 0.25])
    beyond = MEASURES["share_still_at"](recorded, {"variant": "taylor", "at": 0.88})
    assert beyond.tolist() == [0, 0]


def test_a_gain_over_a_variant_of_another_study(read, tmp_path):
    ratios = read("thesis_88px")
    (ratios.folder.parent / "others").mkdir()
    rows = {"variant": ["plain", "plain", "odd"], "seed": [0, 2, 1], "ratio": 0.9}
    table = pd.DataFrame(rows).assign(test_accuracy=[0.6, 0.1, 0.2])
    table.to_csv(ratios.folder.parent / "others" / "networks.csv", index=False)
    claim = {"variant": "taylor", "other": "others/plain", "at": 0.8}
    taylor = ratios.table("networks").query("variant == 'taylor' and seed == 0 and ratio >= 0.8")
    gain = MEASURES["accuracy_gain"](ratios, claim)
    assert gain.to_dict() == pytest.approx({0: taylor["test_accuracy"].mean() - 0.6})


def test_times_are_not_measured_until_they_are_recorded(read, networks):
    ratios = read("thesis_88px")

    def measured(measure: str) -> list[float]:
        return MEASURES[measure](ratios, {"variant": "taylor", "measure": measure}).tolist()

    for measure in ("speedup_at_knee", "ms_at_start", "ms_at_knee"):
        with pytest.raises(FileNotFoundError, match=r"latency\.csv"):
            measured(measure)
    times = networks[["variant", "seed", "ratio"]].assign(ms=networks["macs"])
    times.to_csv(ratios.folder / "latency.csv", index=False)
    assert measured("speedup_at_knee") == pytest.approx([2.5, 1])
    assert (measured("ms_at_start"), measured("ms_at_knee")) == ([40, 40], [16, 40])


def test_instructions_are_those_of_the_core_that_a_claim_names(read, tmp_path):
    (tmp_path / "deployment").mkdir()
    counts = {
        "seed": [0, 0, 1, 1] * 3,
        "model": ["original", "cut-67"] * 6,
        "precision": ["fp32"] * 8 + ["int8"] * 4,
        "core": ["cortex-a53"] * 4 + ["cortex-a72"] * 4 + ["cortex-a53"] * 4,
        "instructions": [300, 150, 300, 100, 400, 100, 400, 50, 7, 7, 7, 7],
    }
    pd.DataFrame(counts).to_csv(tmp_path / "deployment" / "instructions_by_seed.csv", index=False)
    for core, fewer in (("cortex-a53", [2, 3]), ("cortex-a72", [4, 8])):
        claim = {"variant": "cut-67", "other": core}
        assert MEASURES["fewer_instructions"](read("thesis_88px"), claim).tolist() == fewer


@pytest.mark.parametrize(
    "values, thesis, better, expected",
    [
        ([92, 93, 94], 90, "higher", "better"),
        ([6, 7, 8], 10, "lower", "better"),
        ([89.5, 89.5], 90, "higher", "same"),
        ([80, 90, 103], 90, "higher", "not confirmed"),  # nobody knows the mean to a point
        ([89.9, 90.0, 90.1], 90, "lower", "same"),
        ([88, 88.1], 90, "higher", "not confirmed"),
        # Half the 90 % interval of three: 2.92 times the deviation, 0.5, by the root of 3: 0.843.
        ([89.65, 90.15, 90.65], 90, "equal", "same"),
        ([89.67, 90.17, 90.67], 90, "equal", "not confirmed"),
        ([92, 92], 90, "equal", "not confirmed"),
        ([0.3, 0.4, 0.5], 0, "above", "same"),
        ([0.4], 0, "above", "one seed"),
        ([92, 93, 94], 90, "at_least", "same"),
        ([88, 88.1], 90, "at_least", "not confirmed"),
        ([95], 90, "higher", "one seed"),
    ],
)
def test_verdicts_by_rule(values, thesis, better, expected):
    assert verdict(pd.Series(values, dtype=float), thesis, better, tolerance=1) == expected


def test_a_claim_without_its_study_is_not_measured(read):
    claims = pd.read_csv(BOOK / "claims.csv")
    card = scorecard(claims, read)
    assert len(card) == len(claims)
    assert set(card["verdict"]) <= set(SIGNS)
    elsewhere = claims["study"] != "thesis_88px"
    assert set(card.loc[elsewhere, "verdict"]) == {"not measured"}
    assert (card.loc[elsewhere, "ours"] == "").all()
    waiting = card[elsewhere & claims["study"].notna()]
    assert waiting["note"].str.endswith("not recorded yet").all()
    slip = waiting[waiting["claim"].str.contains("56.9 %", regex=False)]["note"].item()
    assert slip.startswith("as printed there")  # what is said of a claim stays
    # This study has no run of the criterion activation_l2 either.
    assert set(card.loc[claims["variant"] == "activation_l2", "verdict"]) == {"not measured"}
    size = card[claims["measure"] == "size"].iloc[0]
    assert (size["thesis"], size["ours"], size["seeds"]) == ("2.9 MB", "0.00 MB", 2)


def test_what_training_took_is_read_from_the_record_of_the_first_run(tmp_path):
    machine = {"threads": 2, "accelerator": None, "instruction_set": "AVX2"}
    record = {"settings": {"train": {"epochs": 3}}, "seconds": 90, "machine": machine, "seed": 0}
    runs = {"small-seed0": record, "small-seed1": record | {"seconds": 600, "seed": 1}}
    (tmp_path / "provenance.json").write_text(json.dumps({"runs": runs}))
    network = {"parameters": 7, "macs": 40, "test_accuracy": 0.5}
    later = network | {"seed": 1, "test_accuracy": 0.6}
    pd.DataFrame([network | {"seed": 0}, later]).to_csv(tmp_path / "networks.csv", index=False)
    table = costs.trained([Recorded(tmp_path, Study("small", "", {name: {} for name in runs}))])
    expected = network | {"epochs": 3, "minutes": 1.5, "threads": 2, "instructions": "AVX2"}
    assert table.loc["small"].to_dict() == expected
