"""The recorded studies agree with their declarations, with themselves and with the chapters."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prunekit.book import BOOK
from prunekit.book.chapter import Chapter
from prunekit.book.deployment import PRUNED
from prunekit.book.findings import RUN, layers_of, over_seeds
from prunekit.book.measures import MEASURES
from prunekit.storage.fingerprints import digest_of
from prunekit.study import read_study
from prunekit.study.recorded import Recorded
from prunekit.study.work import FRESH, MODEL, start

RESULTS = BOOK / "results"
DECLARED = sorted(path.stem for path in (BOOK / "studies").glob("*.toml"))
#: Too large for what they give a reader: starts of runs, and nothing else.
NOT_SHIPPED = {"vgg16/vgg16-seed0", *(f"pedestrian_base/pedestrian_base-seed{n}" for n in (3, 4))}
STUDIES = [name for name in DECLARED if (RESULTS / name / "provenance.json").is_file()]
#: Chapter 1, and those from 17 on, quote the tables of other authors, which are in no file.
CHAPTERS = [
    path
    for path in sorted((BOOK.parent / "notebooks").glob("*.ipynb"))
    if 2 <= int(path.stem[:2]) <= 16
]
# Numbers of sections, tables, figures, equations and versions are names, not results; so is one
# in bold at the head of an item.
NAMES = re.compile(
    r"\b(sections?|tables?|figures?|equations?|chapters?|SqueezeNet|version|Ubuntu|glibc) "
    r"[\d.]+((, | to | and )[\d.]+)*|^- \*\*[\d.]+( and [\d.]+)*\*\*",
    re.IGNORECASE | re.MULTILINE,
)
# What a formula gives for numbers put into it: "For $x = 2$ and ... that is 0.5".
WORKED = re.compile(r"\bFor \$[^$\n]+ = [^$\n]+\$[^.$]* that is \d+\.\d+")
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
    """Where it is not, all of its runs must at least have begun with one and the same."""
    begun = {}
    for name, record in recorded.records().items():
        name_of_start, weights = record["settings"]["start"], record["starting_weights"]
        if (RESULTS / name_of_start / MODEL).is_file():
            assert digest_of(start(name_of_start, 10, RESULTS)) == weights, name
        elif name_of_start not in FRESH:
            assert name_of_start in NOT_SHIPPED
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
    assert set(claims["better"]) <= {"higher", "lower", "equal", "above", "at_least"}
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


@pytest.mark.parametrize("page", ["README.md", "book/index.md"])
def test_the_front_page_says_what_a_long_repair_left(page):
    said = re.sub(r"\s+", " ", (BOOK.parent / page).read_text("utf-8"))
    best = Recorded(RESULTS / "best_96px", read_study("best_96px", BOOK / "studies"))
    networks = best.table("networks").pivot_table("test_accuracy", "seed", "ratio")
    before, after = best.started()["test_accuracy"].mean(), networks[0.75].mean()
    assert f"{100 * after:.1f} % " in said and f"it began with {100 * before:.1f} %" in said
    assert networks.index.tolist() == [0, 1, 2] and "in the mean of three networks" in said
    assert "three quarters of its parameters" in said and "sixty epochs" in said
    assert "with three teachers" in said
    files = pd.read_csv(RESULTS / "deployment" / "files.csv")
    files = files.set_index(["engine", "model", "precision"])
    for engine, times in {"onnxruntime": 10, "executorch": 12}.items():
        original = files.loc[(engine, "original", "fp32")]
        pruned = files.loc[(engine, "pruned", "int8")]
        assert round(original["bytes"] / pruned["bytes"]) == times
        whole = files.loc[(engine, "pruned", "fp32"), "accuracy"]
        assert abs(pruned["accuracy"] - whole) <= 1.01 / pruned["images"]
    assert PRUNED.parent.name == "best_96px-seed0" and "the first of them" in said
    assert "ten times smaller than its original's as ONNX and twelve times as ExecuTorch" in said
    assert "as many validation images right as before rounding" in said


def allowed_numbers() -> set[float]:
    """Every number of the claims, the thesis's tables and the studies' declarations."""
    files = [BOOK / "claims.csv", *BOOK.glob("thesis_*.csv"), *(BOOK / "studies").glob("*.toml")]
    text = "\n".join(path.read_text("utf-8") for path in files)
    numbers = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)}
    return numbers | {round(100 * number, 6) for number in numbers if number < 1}


def typed_results(markdown: str) -> list[str]:
    """Decimals and percentages in prose."""
    return RESULT.findall(NAMES.sub("", NOT_PROSE.sub("", WORKED.sub("", markdown))))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapters_show_no_number_that_no_table_holds(chapter: Path):
    cells = json.loads(chapter.read_text("utf-8"))["cells"]
    typed = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            typed += typed_results(source)
        if "mystnb" in cell["metadata"]:  # a caption may repeat what its own code was given
            said = typed_results(json.dumps(cell["metadata"]["mystnb"], ensure_ascii=False))
            typed += [one for one in said if one not in re.findall(r"\d+(?:\.\d+)?", source)]
    allowed = list(allowed_numbers())
    refused = [n for n in typed if not np.isin(float(n.replace(",", "")), allowed)]
    assert not refused, f"typed into the text, and in no table: {refused}"


def test_a_typed_result_is_found():
    assert typed_results("It lost 3.1 points at 66.6 % (table 8.1, sections 7.2 to 7.4).") == [
        "3.1",
        "66.6",
    ]
    exercise = "```{exercise} By hand\n:label: x\nSay 12.5 % of it.\n```\nThen 7 % more."
    assert typed_results(exercise) == ["7"]
    assert typed_results(r"With $t = 4.30$ and `lr=0.1`, see [8.1](x_1.5.md).") == ["8.1"]
    assert typed_results("Ubuntu 16.04, and equations 8.2 to 8.6:\n- **8.2 and 8.4** slip.") == []
    assert typed_results("It is **8.2** points lower.") == ["8.2"]
    assert typed_results(r"For $e = 0.1$ and ten classes that is 0.91. It won 0.92.") == ["0.92"]


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
