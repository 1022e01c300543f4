"""The recorded studies agree with their declarations, with themselves and with the chapters."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from prunekit import profile, trace
from prunekit.book import BOOK
from prunekit.book.chapter import Chapter
from prunekit.book.differences import kept_within, paired_differences, side
from prunekit.book.findings import RUN, layers_of, over_seeds, start_tuned_pruned
from prunekit.book.measures import MEASURES
from prunekit.book.printed import distance, pattern_distances
from prunekit.book.readings import by_block
from prunekit.models import efficientnet_lite0, squeezenet
from prunekit.storage.fingerprints import digest_of
from prunekit.study import read_study
from prunekit.study.recorded import Recorded
from prunekit.study.work import FRESH, MODEL, start

RESULTS = BOOK / "results"
DECLARED = sorted(path.stem for path in (BOOK / "studies").glob("*.toml"))
STUDIES = [name for name in DECLARED if (RESULTS / name / "provenance.json").is_file()]
CHAPTERS = sorted((BOOK.parent / "notebooks").glob("1[0-4]_*.ipynb"))
# Numbers of sections, tables, figures and versions are names, not results.
NAMES = re.compile(
    r"\b(sections?|tables?|figures?|chapters?|SqueezeNet|version) [\d.]+((, | to | and )[\d.]+)*",
    re.IGNORECASE,
)
NOT_PROSE = re.compile(
    r"(`{3,})\{(exercise|solution)\}.*?\n\1(?=\n|$)|\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]+`|\]\([^)]*\)",
    re.DOTALL,
)
RESULT = re.compile(r"\d[\d,]*(?:\.\d+)?(?=\s?%)|\d+\.\d+")


@pytest.fixture(params=STUDIES)
def recorded(request):
    return Recorded(RESULTS / request.param, read_study(request.param, BOOK / "studies"))


def test_every_folder_of_results_is_of_a_declared_study():
    folders = {path.parent.name for path in RESULTS.glob("*/networks.csv")}
    assert folders <= set(DECLARED)


def test_settings_are_those_of_the_study_file(recorded):
    assert len(recorded.missing()) < len(recorded.study.runs)  # it raises where settings differ


def test_tables_hold_the_recorded_runs_and_no_other(recorded):
    part = {"history": "train", "table": "prune", "pattern": "prune"}
    for path in recorded.folder.glob("*.csv"):
        table = pd.read_csv(path)
        settings = [record["settings"] for record in recorded.records().values()]
        # A run that only trains has no row in the tables of pruning, nor the other way round.
        here = [one for one in settings if path.stem not in part or one[part[path.stem]]]
        runs = {(one["variant"], one["seed"]) for one in here}
        named = set(table[RUN].itertuples(index=False, name=None))
        # Times are measured once, when the study is complete.
        assert named <= runs if path.stem == "latency" else named == runs, path.name


def test_every_ratio_that_the_study_reports_is_there(recorded):
    networks = recorded.table("networks")
    for record in recorded.records().values():
        settings = record["settings"]
        finish = settings["finish"] or {}
        if "ratios" in finish:
            rows = networks[
                (networks["variant"] == settings["variant"]) & (networks["seed"] == record["seed"])
            ]
            assert sorted(rows["ratio"]) == pytest.approx(sorted(finish["ratios"]))


def test_filters_left_and_removed_add_up(recorded):
    pairs = [("networks", "networks_pattern")]
    if (recorded.folder / "table.csv").is_file():
        pairs.append(("table", "pattern"))
    for left, gone in pairs:
        table, pattern = recorded.table(left), recorded.table(gone)
        where = "ratio" if left == "networks" else "iteration"
        removed = pattern.set_index([*RUN, where])[layers_of(pattern)].sum(axis=1)
        if left == "table":
            removed = removed.groupby(RUN).cumsum()
        both = table.set_index([*RUN, where])["filters"].to_frame().join(removed.rename("gone"))
        assert both["gone"].notna().sum() == len(removed)
        assert len(set((both["filters"] + both["gone"]).dropna())) == 1, left


def test_accuracies_and_sizes_are_possible(recorded):
    networks = recorded.table("networks")
    accuracies = networks.filter(like="accuracy")
    assert accuracies.notna().all(axis=None)
    assert accuracies.ge(0).all(axis=None) and accuracies.le(1).all(axis=None)
    assert (networks["bytes"] >= 4 * networks["parameters"]).all()
    for _, run in networks.groupby(RUN):
        run = run.sort_values("ratio")
        for cost in ("filters", "parameters", "macs"):
            assert run[cost].is_monotonic_decreasing


def test_runs_began_with_the_network_that_is_shipped(recorded):
    """VGG-16 is too large to ship: its runs must at least have begun with one and the same."""
    begun = {}
    for name, record in recorded.records().items():
        name_of_start, weights = record["settings"]["start"], record["starting_weights"]
        if (RESULTS / name_of_start / MODEL).is_file():
            assert digest_of(start(name_of_start, 10, RESULTS)) == weights, name
        elif name_of_start not in FRESH:
            assert name_of_start == "vgg16/vgg16-seed0"
            assert begun.setdefault(name_of_start, weights) == weights, name


def test_removing_nothing_is_the_same_for_every_criterion(recorded):
    networks = recorded.table("networks")
    if all(settings["prune"] for settings in recorded.study.runs.values()):
        for _, unpruned in networks[networks["ratio"] == 0].groupby("seed"):
            assert len(set(unpruned["test_accuracy"])) == 1


def test_seeds_removed_different_filters(recorded):
    """A seed is a run of its own. Random ones that were not went unseen for long."""
    if not (recorded.folder / "pattern.csv").is_file():
        return
    by_seed = recorded.table("pattern").groupby(["variant", "seed"])
    patterns = {key: rows.iloc[:, 2:].to_numpy().tolist() for key, rows in by_seed}
    for one, other in itertools.combinations(patterns, 2):
        if one[0] == other[0]:
            assert patterns[one] != patterns[other], (one, other)


def test_claims_name_what_exists():
    claims = pd.read_csv(BOOK / "claims.csv")
    assert claims["claim"].is_unique
    assert set(claims["measure"].dropna()) <= set(MEASURES)
    assert set(claims["better"]) <= {"higher", "lower", "equal", "above"}
    measured = claims.dropna(subset=["measure"])
    for row in measured[measured["measure"] != "fewer_instructions"].itertuples():
        action, study = row.command.split()
        assert action in ("run", "latency") and study == row.study in DECLARED
        variants = {
            settings["variant"] for settings in read_study(study, BOOK / "studies").runs.values()
        }
        assert row.variant in variants
        elsewhere, _, other = str(row.other).rpartition("/")
        if elsewhere:
            runs = read_study(elsewhere, BOOK / "studies").runs.values()
            assert other in {settings["variant"] for settings in runs}


@pytest.mark.parametrize("page", ["README.md", "book/index.md"])
def test_the_front_page_says_what_was_recorded(page):
    networks = pd.read_csv(BOOK / "results" / "repair" / "networks.csv")
    means = over_seeds(networks, "test_accuracy")["mean"]
    said = re.sub(r"\s+", " ", (BOOK.parent / page).read_text("utf-8"))
    assert networks["seed"].nunique() == 3 and "three networks" in said
    for variant, ratio in (("none", 0.0), ("none", 0.52), ("least_squares", 0.52)):
        assert f"{100 * means[variant, ratio]:.1f} %" in said


def allowed_numbers() -> set[float]:
    """Every number of the claims, the thesis's tables and the studies' declarations."""
    files = [BOOK / "claims.csv", *BOOK.glob("thesis_*.csv"), *(BOOK / "studies").glob("*.toml")]
    text = "\n".join(path.read_text("utf-8") for path in files)
    numbers = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)}
    return numbers | {round(100 * number, 6) for number in numbers if number < 1}


def typed_results(markdown: str) -> list[str]:
    """Decimals and percentages in prose."""
    return RESULT.findall(NAMES.sub("", NOT_PROSE.sub("", markdown)))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapters_show_no_number_that_no_table_holds(chapter: Path):
    cells = json.loads(chapter.read_text("utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    texts += [
        json.dumps(cell["metadata"]["mystnb"], ensure_ascii=False)
        for cell in cells
        if "mystnb" in cell["metadata"]
    ]
    allowed = allowed_numbers()
    typed = [n for text in texts for n in typed_results(text)]
    refused = [n for n in typed if not np.isin(float(n.replace(",", "")), list(allowed))]
    assert not refused, f"typed into the text, and in no table: {refused}"


def test_a_typed_result_is_found():
    assert typed_results("It lost 3.1 points at 66.6 % (table 8.1, sections 7.2 to 7.4).") == [
        "3.1",
        "66.6",
    ]
    exercise = "```{exercise} By hand\n:label: x\nSay 12.5 % of it.\n```\nThen 7 % more."
    assert typed_results(exercise) == ["7"]
    assert typed_results(r"With $t = 4.30$ and `lr=0.1`, see [8.1](x_1.5.md).") == ["8.1"]


def test_a_chapter_names_the_study_that_is_missing(tmp_path, capsys):
    chapter = Chapter("smoke", results=tmp_path / "squeezenet_cifar10")
    with pytest.raises(FileNotFoundError, match=r"python -m prunekit\.study run ratios"):
        chapter.study("ratios")
    assert chapter.study_or_notice("ratios") is None
    assert "Markdown" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="none of the studies ratios, criteria"):
        chapter.study_tables("networks", "ratios", "criteria")
    with pytest.raises(FileNotFoundError, match=r"no_such\.toml does not exist"):
        chapter.study("no_such")


@pytest.mark.skipif("ratios" not in STUDIES, reason="the study of ratios is not recorded")
def test_a_chapter_reads_several_studies_as_one_table():
    chapter = Chapter("smoke")
    table = chapter.study_tables("networks", "ratios", "base_48px")
    assert set(table["variant"]) > {"base_48px"}
    assert "of 9 runs recorded" in chapter.caption("ratios")


def test_a_frozen_start_leaves_room_that_pays_for_cuts_as_chapter_11_says():
    own = Recorded(RESULTS / "thesis_88px", read_study("thesis_88px", BOOK / "studies"))
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
        pattern = Recorded(RESULTS / name, read_study(name, BOOK / "studies")).table("pattern")
        found |= {(name, one): far for one, far in pattern_distances(pattern, printed).items()}
    near = {run: far for run, far in found.items() if run[1] not in ("taylor_signed", "random")}
    assert max(near.values()) < 0.75 * lots  # "nearer than lots do"
    others = [found["criteria", "weight_l1"], found["thesis_88px", "activation_l2"]]
    assert max(others) < found["ratios", "taylor"]  # "come as near to it"
    assert abs(found["criteria", "taylor_signed"] - lots) < 0.02


def test_widths_by_entropy_end_level_with_uniform_ones_as_chapter_17_says():
    study = Recorded(RESULTS / "entropy", read_study("entropy", BOOK / "studies"))
    networks = study.table("networks").assign(ratio=0.0)
    apart = paired_differences(networks, "entropy_alone", "uniform_alone", "test_accuracy").iloc[0]
    assert apart["seeds"] >= 3 and side(apart) == "tied"
    assert apart["high"] - apart["low"] < 0.02  # or "level" would only mean that nobody knows
    of_variant = networks.groupby("variant")
    assert of_variant["macs"].mean().pct_change().abs().max() < 0.01  # "at the same MACs"
    entropy, uniform = of_variant["parameters"].mean()[["entropy_alone", "uniform_alone"]]
    assert 1.2 < entropy / uniform < 1.3  # "a quarter more parameters"
    removed = study.table("networks_pattern").groupby("variant").first()
    second = [f"layer2.{block}.conv1" for block in range(3)]
    assert sorted(32 - removed.loc["entropy_alone", second]) == [3, 3, 32]
    assert sorted(32 - removed.loc["uniform_alone", second]) == [15, 16, 16]


def widths_of_two_studies() -> tuple[pd.DataFrame, pd.DataFrame]:
    """What chapters 17 and 18 compare: networks, and what they lost in each layer."""
    studies = [
        Recorded(RESULTS / name, read_study(name, BOOK / "studies"))
        for name in ("entropy", "entropy_controls")
    ]
    networks, patterns = (
        pd.concat([study.table(name) for study in studies]).assign(ratio=0.0)
        for name in ("networks", "networks_pattern")
    )
    return networks, patterns


def test_an_imagenet_network_keeps_the_ends_of_its_blocks_as_chapter_14_says():
    study = Recorded(
        RESULTS / "efficientnet_lite0", read_study("efficientnet_lite0", BOOK / "studies")
    )
    networks = study.table("networks")
    assert len(study.records()) == 1  # "This is one seed"
    whole, half = networks.sort_values("ratio").iloc
    gained = whole["val_accuracy"] - study.table("history")["val_accuracy"].iloc[-1]
    assert gained == pytest.approx(0.01, abs=0.002)  # "a point on validation"
    assert 0.01 < whole["test_accuracy"] - half["test_accuracy"] < 0.015
    assert 0.49 < half["macs"] / whole["macs"] <= 0.5
    assert 0.7 < 1 - half["parameters"] / whole["parameters"] < 0.75  # "nearly three quarters"
    lost = study.table("networks_pattern").set_index("ratio").loc[half["ratio"]]
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


def test_widths_by_entropy_turned_around_end_below_as_chapter_17_says():
    networks, patterns = widths_of_two_studies()
    by_seed = networks.pivot_table("test_accuracy", "seed", "variant")
    for other in ("entropy_alone", "uniform_alone"):
        apart = paired_differences(networks, "reversed", other, "test_accuracy").iloc[0]
        assert apart["seeds"] == 3 and side(apart) == "behind"
        assert apart["mean"] == pytest.approx(-0.025, abs=0.0015)  # "about two and a half"
        assert (by_seed["reversed"] - by_seed[other]).max() < -0.015  # "each of three seeds"
    parameters = networks.groupby("variant")["parameters"].mean()
    assert parameters["reversed"] < parameters[["entropy_alone", "uniform_alone"]].min()
    lost = patterns.set_index("variant").loc["reversed"]
    last = 64 - lost[[f"layer3.{block}.conv1" for block in range(3)]].to_numpy()
    assert (last.min(), last.max()) == (12, 18)  # "between 12 and 18 of their 64 channels"
    assert (lost["layer1.0.conv1"] == 1).all()  # "the first almost whole"


def test_widths_by_richness_gained_nothing_as_chapter_18_says():
    networks, _ = widths_of_two_studies()
    for other in ("entropy_alone", "uniform_alone"):
        apart = paired_differences(networks, "richness", other, "test_accuracy").iloc[0]
        assert apart["seeds"] == 3 and apart["low"] < 0 < apart["high"]
        assert apart["mean"] == pytest.approx(-0.005, abs=0.0006)  # "half a point behind"
        assert apart["high"] < 0.005  # "more than half a point ahead is ruled out"
    parameters = networks.groupby("variant")["parameters"].mean()
    kept = parameters["richness"] / parameters[["uniform_alone", "entropy_alone"]]
    assert kept.tolist() == pytest.approx([7 / 8, 2 / 3], abs=0.02)


def test_for_a_detector_it_matters_which_filters_go_as_chapter_20_says():
    names = ("pedestrian", "pedestrian_controls")
    studies = [Recorded(RESULTS / name, read_study(name, BOOK / "studies")) for name in names]
    networks = pd.concat([study.table("networks") for study in studies]).assign(ratio=0.0)
    apart = paired_differences(networks, "half", "random", "test_average_precision").iloc[0]
    assert apart["seeds"] >= 3 and side(apart) == "ahead" and apart["mean"] > 0.05  # "far"
    macs = networks.groupby("variant")["macs"].mean()
    assert abs(macs["half"] / macs["random"] - 1) < 0.01


def test_three_seeds_left_half_of_the_macs_undecided_as_chapter_20_says():
    study = Recorded(RESULTS / "pedestrian", read_study("pedestrian", BOOK / "studies"))
    networks = study.table("networks").assign(ratio=0.0)
    first = networks[networks["seed"] < 3]
    value = "test_average_precision"
    apart = paired_differences(first, "half", "unpruned", value, level=0.9).iloc[0]
    assert apart["seeds"] == 3 and -0.022 < apart["low"] < -0.02  # "by a tenth of a point"
    assert "undecided" in kept_within(first, "half", "unpruned", value, margin=0.02)
