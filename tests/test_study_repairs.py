"""Studies of a long repair: starts of their own, batch norm for the run, teachers and views."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
import torch
from loops import SMALL_STUDY
from torch import nn

from prunekit.data import Dataset, ImageSet, Loader, load_dataset
from prunekit.models import TinySqueezeNet, remove_final_relu, squeezenet
from prunekit.repair import insert_batch_norm
from prunekit.storage import load
from prunekit.study import read_study
from prunekit.study import tuning as tuning_module
from prunekit.study.__main__ import main
from prunekit.study.engine import run_study
from prunekit.study.recorded import Recorded
from prunekit.study.tasks import Classification
from prunekit.study.tuning import Tuning
from prunekit.study.work import carry_out
from prunekit.training import answers, evaluate

BASE = """
title = "Starts"
dataset = "digits"
start = "tiny"
seeds = [0, 1]
batch_norm = true
keep_model = true
train = { epochs = 2, lr = 0.02, schedule = "cosine", warm_up = 0.5, average = 0.9 }
"""
REPAIRED = """
title = "Pruned from starts of their own, and taught by two teachers"
dataset = "digits"
start = "base/base-seed{seed}"
seeds = [0, 1]
batch_norm = true
keep_model = true

[prune]
criterion = "weight_l1"
ratio = 0.4
per_iteration = 40
repair = "moments"
fine_tune = { epochs = 0.25, lr = 0.01 }

[finish]
ratios = [0.0, 0.4]
fine_tune = { epochs = 1, lr = 0.01, teacher = ["unpruned", "base/base-seed0"], views = 2 }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Both studies, recorded."""
    folder = tmp_path_factory.mktemp("repaired")
    for name, declared in (("base", BASE), ("repaired", REPAIRED)):
        (folder / f"{name}.toml").write_text(declared)
        folders = ["--results", str(folder), "--unfinished", str(folder / "unfinished")]
        main(["run", str(folder / f"{name}.toml"), *folders, "--workers", "1"])
    return folder


def recorded(folder, name):
    return Recorded(folder / name, read_study(folder / f"{name}.toml"))


def test_each_seed_begins_with_the_start_of_its_own(folder):
    records = recorded(folder, "repaired").records()
    starts = [record["settings"]["start"] for record in records.values()]
    assert starts == ["base/base-seed0", "base/base-seed1"]
    assert len({record["starting_weights"] for record in records.values()}) == 2


def test_runs_whose_start_is_recorded_do_not_wait_for_the_others(folder, tmp_path):
    shutil.copytree(folder / "base" / "base-seed0", tmp_path / "base" / "base-seed0")
    declared = BASE.replace('"tiny"', '"base/base-seed{seed}"').replace("epochs = 2", "epochs = 1")
    (tmp_path / "again.toml").write_text(declared)
    study = read_study(tmp_path / "again.toml")
    recorded = run_study(study, tmp_path, tmp_path / "unfinished", command="", workers=1)
    assert recorded.missing() == ["again-seed1"]
    with pytest.raises(FileNotFoundError, match="run the study 'base' first"):
        run_study(study, tmp_path, tmp_path / "unfinished", command="", workers=1)


@pytest.mark.parametrize("name", ["base", "repaired"])
def test_networks_are_kept_as_they_are_reported_with_batch_norm_folded(folder, name):
    rows = recorded(folder, name).table("networks").query("seed == 1")
    places = {"base": [""], "repaired": ["0", ""]}[name]  # the last beside the run's others
    for place, row in zip(places, rows.to_dict("records"), strict=True):
        network = load(folder / name / f"{name}-seed1" / place / "model.safetensors")
        assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        assert row["parameters"] == sum(p.numel() for p in network.parameters())
        accuracy = evaluate(network, Loader(load_dataset("digits").test)).accuracy
        assert row["test_accuracy"] == pytest.approx(accuracy, abs=0.01)
    for table in ("pattern", "networks_pattern"):
        path = folder / name / f"{table}.csv"
        assert not path.is_file() or not any(".conv" in c for c in pd.read_csv(path).columns)


def test_ratios_are_shares_of_the_filters(folder):
    rows = recorded(folder, "repaired").table("networks").query("seed == 0")
    assert rows["filters"].tolist() == [184, 184 - 74]  # four tenths of 184, and whole filters


def test_a_run_that_was_killed_is_taught_the_same_again(folder, tmp_path):
    settings = read_study(folder / "repaired.toml").runs["repaired-seed1"]
    shared = {"threads": 1, "command": "", "commit": ""}

    def stop(share):
        if share > 0.4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        carry_out(settings, tmp_path / "run", folder, progress=stop, **shared)
    carry_out(settings, tmp_path / "run", folder, progress=lambda share: None, **shared)
    again = pd.read_csv(tmp_path / "run" / "networks.csv").drop(columns="seconds")
    before = recorded(folder, "repaired").table("networks").query("seed == 1")
    before = before.drop(columns=["variant", "seed", "seconds"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(again, before)


def test_a_recorded_teacher_sees_the_views_at_its_own_size(folder, tmp_path):
    settings = {"dataset": "digits", "input_size": 64, "batch_size": 50, "seed": 0}
    unpruned = squeezenet()
    task = Classification(Classification.load(settings), settings, unpruned)
    tuning = Tuning(unpruned, task, folder, tmp_path)
    views = tuning.of({"teacher": "base/base-seed0", "views": 2}).views
    teacher = load(folder / "base" / "base-seed0" / "model.safetensors")
    expected = answers(teacher, task.views(2, 32), progress=False)
    assert torch.equal(views.answers, expected.float().to(views.answers.dtype))
    assert next(iter(views))[0].shape == (50, 3, 64, 64)


def test_a_run_taken_up_again_does_not_ask_its_teachers_again(folder, tmp_path, monkeypatch):
    settings = {"dataset": "digits", "input_size": 32, "batch_size": 50, "seed": 0}
    unpruned = TinySqueezeNet().eval()
    task = Classification(Classification.load(settings), settings, unpruned)
    asked = {"teacher": ["unpruned", "base/base-seed0"], "views": 2}

    def views():
        return Tuning(unpruned, task, folder, tmp_path).of(asked).views

    before = views().answers
    monkeypatch.setattr(tuning_module, "answers", None)
    assert torch.equal(views().answers, before)
    nn.init.zeros_(next(unpruned.parameters()))
    with pytest.raises(ValueError, match=r"unpruned-2.safetensors is of a teacher with other"):
        views()


@pytest.mark.parametrize(("name", "mirrored"), [("digits", False), ("svhn", False), ("any", True)])
def test_digits_are_never_mirrored(name, mirrored):
    """A bright left edge, which no crop by an eighth can bring to the right."""
    pixels = torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
    pixels[..., :8] = 255
    images = ImageSet(pixels, torch.zeros(64, dtype=torch.int64))
    dataset = Dataset(name, ("one",), images, images, images, "here")
    settings = {"input_size": 32, "batch_size": 64, "seed": 0}
    task = Classification(dataset, settings, squeezenet())
    ((trained, _),) = task.train
    for x in (trained, task.views(1, 32).view(0, torch.arange(64))):
        assert (x[:, 0, :, 16:] > 0).any().item() is mirrored


def test_a_setting_of_batch_norm_or_views_without_meaning_is_refused(tmp_path):
    (tmp_path / "one.toml").write_text(SMALL_STUDY.format(ratio=0.4) + "view = 2\n")
    with pytest.raises(ValueError, match="view means nothing there"):
        read_study(tmp_path / "one.toml")


def test_a_warm_up_that_training_would_refuse_is_refused_before_any_run(tmp_path):
    (tmp_path / "one.toml").write_text(BASE.replace('schedule = "cosine", ', ""))
    with pytest.raises(ValueError, match=r"one\.toml: schedule=\"one_cycle\" warms up by itself"):
        read_study(tmp_path / "one.toml")


def test_a_precision_that_training_would_refuse_is_refused_before_any_run(tmp_path):
    study = BASE.replace('schedule = "cosine"', 'precision = "half", schedule = "cosine"')
    (tmp_path / "one.toml").write_text(study)
    with pytest.raises(ValueError, match=r"one\.toml: precision must be one of mixed, full, not"):
        read_study(tmp_path / "one.toml")
    (tmp_path / "one.toml").write_text(study.replace("half", "full"))
    runs = read_study(tmp_path / "one.toml").runs.values()
    assert {run["train"]["precision"] for run in runs} == {"full"}


def test_without_the_last_relu_class_maps_may_be_negative():
    torch.manual_seed(0)
    model = squeezenet()
    remove_final_relu(model)
    normed = insert_batch_norm(model, [torch.randn(16, 3, 64, 64)])
    assert (normed.eval()(torch.randn(8, 3, 64, 64)) < 0).any()
    with pytest.raises(ValueError, match="does not end as SqueezeNet"):
        remove_final_relu(model)
