"""What a study file declares, and what is refused in one."""

from __future__ import annotations

import pytest
import torch
from loops import SMALL_STUDY

from prunekit import load, profile, rank, trace
from prunekit.book import BOOK
from prunekit.pruning.budgets import left_after
from prunekit.study import read_studies, read_study
from prunekit.study.at_once import unit_values
from prunekit.widths import allocate, select_widths

X = torch.zeros(1, 3, 32, 32)


def test_variants_and_seeds_span_the_runs(tmp_path):
    (tmp_path / "base.toml").write_text(SMALL_STUDY.format(ratio=0.4))
    (tmp_path / "more.toml").write_text(
        'like = "base"\nseeds = [3]\nprune.ratio = 0.5\n'
        '[[variants]]\nname = "a"\n[[variants]]\nname = "b"\nprune.fine_tune.epochs = 2\n'
    )
    runs = read_study(tmp_path / "more.toml").runs
    assert list(runs) == ["a-seed3", "b-seed3"]
    assert runs["a-seed3"]["prune"]["ratio"] == 0.5
    assert runs["a-seed3"]["prune"]["fine_tune"] == {"epochs": 0.25, "lr": 0.01}
    assert runs["b-seed3"]["prune"]["fine_tune"] == {"epochs": 2, "lr": 0.01}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("per_iteration", "per_iterations"), "per_iterations means nothing"),
        (('start = "tiny"\n', ""), "start is missing"),
        (("ratio = 0.4\n", ""), "prune must say ratio"),
        (("seeds", "seed"), "seed means nothing"),
        (("title = ", "title = = "), "not valid TOML"),
        (("lr = 0.02", "rate = 0.02"), "rate means nothing"),
        (('start = "tiny"', 'start = "tiny"\nkeep_model = "int8"'), "keep_model must be"),
        (("lr = 0.02", 'lr = 0.02, teacher = "unpruned"'), "teacher means nothing there"),
        (("lr = 0.02", "lr = 0.02, temperature = 2.0"), "temperature means nothing there"),
        (("lr = 0.02", "lr = 0.02, penalty = 0.1"), "penalty means nothing there"),
        (("epochs = 0.25", 'epochs = 0.25, loss = "mse"'), "loss means nothing there"),
        (("ratio = 0.4", 'ratio = 0.4\nevaluate = "iou"'), "evaluate means nothing there"),
        (("ratio = 0.4", "ratio = 0.2"), r"prune never reaches: \[0.3\]"),
        (
            ("ratio = 0.4", 'ratio = 0.4\nbudget = "latency"'),
            "ratios of latency: a time is not exact",
        ),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path, change, message):
    path = tmp_path / "small.toml"
    path.write_text(SMALL_STUDY.format(ratio=0.4).replace(*change))
    with pytest.raises(ValueError, match=message):
        read_study(path)


def test_a_study_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(FileNotFoundError, match=r"nonesuch.*smoke"):
        read_study("nonesuch", BOOK / "studies")


def test_every_study_of_the_book_can_be_read(root):
    for path in (root / "book" / "studies").glob("*.toml"):
        assert all(study.runs for study in read_studies(path.stem, BOOK / "studies"))


def test_a_list_of_studies_is_read_in_its_order_and_holds_nothing_else(tmp_path):
    for name in ("base", "more"):
        (tmp_path / f"{name}.toml").write_text(SMALL_STUDY.format(ratio=0.4))
    both = tmp_path / "both.toml"
    both.write_text('title = "Both"\nstudies = ["more", "base"]\n')
    assert [study.name for study in read_studies(both)] == ["more", "base"]
    both.write_text('studies = ["more"]\nseeds = [1]\n')
    with pytest.raises(ValueError, match="seeds means nothing"):
        read_studies(both)
    both.write_text('studies = ["nonesuch"]\n')
    with pytest.raises(FileNotFoundError, match="nonesuch"):
        read_studies(both)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("entropy_resnet56", "resnet56"),
        ("entropy_resnet110", "resnet110"),
        ("entropy_resnet110_as_printed", "resnet110"),
        ("richness_mobilenet_v2", "mobilenet_v2"),
        ("one_step_against_iterative", "resnet56"),
        ("abnormal_resnet56", "resnet56"),
    ],
)
def test_published_budgets_can_be_met(name, network):
    """By the network that the book ships: a study that cannot would say so after days."""
    model = load(BOOK / "results" / network / f"{network}-seed0" / "model.safetensors").float()
    graph, whole = trace(model, X), profile(model, X).macs
    ranking = rank(model, [(X, None)], "weight_l1", progress=False)
    left = left_after(model, X, "macs")
    for run, settings in read_study(name, BOOK / "studies").runs.items():
        if settings["seed"] == 0 and settings["widths"]:
            values = unit_values(model, graph, settings["widths"], 0)
            given = {key: settings["widths"][key] for key in ("ratio", "relation")}
            kept = allocate(model, X, values, **given)["kept"]
            share = left(select_widths(ranking, kept, graph)) / whole
            assert 0 <= 1 - given["ratio"] - share < 0.005, run


def test_studies_for_a_gpu_come_after_those_they_begin_with():
    listed = read_studies("gpu", BOOK / "studies")
    names = [study.name for study in listed]
    for place, study in enumerate(listed):
        starts = {run["start"].split("/")[0] for run in study.runs.values() if "/" in run["start"]}
        for start in starts & set(names):
            assert names.index(start) < place
