"""Studies of detectors: their loss, their numbers, their teacher, their files."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from streets import streets

import prunekit
from prunekit import rank, select
from prunekit.detection import (
    BoxLoader,
    detect,
    evaluate_detector,
    load_voc,
    ssd_anchors,
    ssdlite_mobilenet_v2,
)
from prunekit.storage import load
from prunekit.study import read_study
from prunekit.study.__main__ import main
from prunekit.study.recorded import Recorded
from prunekit.study.tasks import Detection, task_of
from prunekit.study.work import carry_out
from prunekit.widths import allocate, layer_entropies

BASE = """
title = "A detector"
dataset = "streets"
input_size = 96
batch_size = 8
start = "tiny_ssdlite"
keep_model = true
train = { epochs = 8, lr = 0.1, clip_norm = 20.0 }
"""
PRUNED = """
title = "The same, pruned"
like = "base"
start = "base/base-seed{seed}"
train = false

[finish]
fine_tune = { epochs = 2, lr = 0.02, teacher = "unpruned", teacher_weight = 0.25 }

[[variants]]
name = "taught"

[variants.prune]
criterion = "taylor"
budget = "macs"
ratio = 0.4
share_per_iteration = 0.2
fine_tune = { epochs = 1, lr = 0.02, teacher = "unpruned" }

[[variants]]
name = "uniform"
widths = { values = "uniform", ratio = 0.4, keep = "taylor" }
finish.fine_tune = { epochs = 1, lr = 0.02 }

[[variants]]
name = "unpruned"
train = { epochs = 2, lr = 0.02 }
"""
NUMBERS = ["average_precision", "average_precision_11", "miss_rate"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Both studies, recorded, and the pictures they saw."""
    folder = tmp_path_factory.mktemp("detectors")
    streets(folder / "streets", train=65, val=17, test=17)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNEKIT_DATA", str(folder))
        for name, declared in (("base", BASE), ("pruned", PRUNED)):
            (folder / f"{name}.toml").write_text(declared)
            folders = ["--results", str(folder), "--unfinished", str(folder / "unfinished")]
            main(["run", str(folder / f"{name}.toml"), *folders, "--workers", "1"])
        yield folder


def recorded(folder, name):
    return Recorded(folder / name, read_study(folder / f"{name}.toml"))


def test_a_detector_is_trained_by_its_loss_and_judged_by_its_precision(folder):
    history = recorded(folder, "base").table("history")
    assert [c for c in history if c.startswith("val_")] == [f"val_{name}" for name in NUMBERS]
    assert history["loss"].iloc[-1] < 0.7 * history["loss"].iloc[0]
    assert history["steps"].unique() == [8]  # 64 pictures: the one without a box is left out
    (network,) = recorded(folder, "base").table("networks").to_dict("records")
    assert network["val_average_precision"] > 0.2
    kept = load(folder / "base" / "base-seed0" / "model.safetensors")
    loader = BoxLoader(load_voc(folder / "streets", "test", size=96))
    found = evaluate_detector(kept, loader, ssd_anchors(kept.metadata["maps"]))
    assert found.pictures == 17
    assert [network[f"test_{name}"] for name in NUMBERS] == pytest.approx(
        [getattr(found, name) for name in NUMBERS]
    )


def test_rows_of_pruning_and_of_networks_have_the_numbers_of_a_detector(folder):
    study = recorded(folder, "pruned")
    table, networks = study.table("table"), study.table("networks").set_index("variant")
    for name in NUMBERS:
        assert {f"{name}_before", f"{name}_after"} <= set(table)
        assert {f"val_{name}", f"test_{name}"} <= set(networks)
    assert "val_average_precision_before" in networks
    assert not any("accuracy" in column for column in [*table, *networks])
    macs = table["macs"] / table["macs"].iloc[0]
    assert macs.tolist() == pytest.approx([1, 0.8, 0.6], abs=0.03)
    assert (networks["macs"] / networks["macs"]["unpruned"]).to_dict() == pytest.approx(
        {"taught": 0.6, "uniform": 0.6, "unpruned": 1.0}, abs=0.01
    )
    for variant in networks.index:
        kept = load(folder / "pruned" / f"{variant}-seed0" / "model.safetensors")
        cost = prunekit.profile(kept, torch.zeros(1, 3, 96, 96))
        row = networks.loc[variant, ["parameters", "macs", "bytes"]]
        assert row.tolist() == [cost.parameters, cost.macs, cost.bytes]


def test_a_pruned_detector_detects_with_the_anchors_of_its_file(folder):
    kept = load(folder / "pruned" / "taught-seed0" / "model.safetensors")
    x, _ = next(iter(BoxLoader(load_voc(folder / "streets", "test", size=96))))
    with torch.inference_mode():
        found = detect(kept(x), ssd_anchors(kept.metadata["maps"]))
    assert len(found.scores)


def test_the_start_of_each_seed_is_known_by_the_number_that_decides(folder):
    started = recorded(folder, "pruned").started()
    (network,) = recorded(folder, "base").table("networks").to_dict("records")
    assert started.loc[0].to_dict() == {
        f"{part}_average_precision": network[f"{part}_average_precision"]
        for part in ("val", "test")
    }


def test_a_run_that_was_killed_ends_as_an_unbroken_one(folder, tmp_path):
    """Once between iterations and once as the last fine-tuning begins."""
    settings = read_study(folder / "pruned.toml").runs["taught-seed0"]
    shared = {"threads": 1, "command": "", "commit": ""}
    for share in (0.4, 0.9):

        def stop(done, share=share):
            if done > share:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            carry_out(settings, tmp_path / "run", folder, progress=stop, **shared)
    carry_out(settings, tmp_path / "run", folder, progress=lambda share: None, **shared)
    for name in ("networks", "table"):
        again = pd.read_csv(tmp_path / "run" / f"{name}.csv").drop(columns="seconds")
        before = recorded(folder, "pruned").table(name).query("variant == 'taught'")
        before = before.drop(columns=["variant", "seed", "seconds"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(again, before)


@pytest.mark.parametrize("action", ["status", "latency"])
def test_status_and_latency_know_detectors(folder, action, capsys):
    main([action, str(folder / "pruned.toml"), "--results", str(folder)])
    assert "3 of 3 runs recorded" in (shown := capsys.readouterr().out)
    assert "test_average_precision" in shown and "accuracy" not in shown
    if action == "latency":
        assert recorded(folder, "pruned").table("latency")["ms"].gt(0).all()


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("graft = { networks = 1, epochs = 1 }", "graft means nothing on streets"),
        ("freeze = true", "freeze means nothing on streets"),
        ("finish = { fine_tune = { epochs = 1, views = 2 } }", "views means nothing on streets"),
        ("finish = { fine_tune = { temperature = 2.0 } }", "temperature means nothing on streets"),
    ],
)
def test_settings_of_classifiers_are_refused(tmp_path, declared, message):
    (tmp_path / "base.toml").write_text(BASE + declared)
    with pytest.raises(ValueError, match=message):
        read_study(tmp_path / "base.toml")


def test_a_network_that_does_not_say_its_maps_is_refused(folder):
    settings = {"dataset": "streets", "input_size": 96, "batch_size": 8, "seed": 0}
    with pytest.raises(ValueError, match=r'save it with \{"maps": model.maps\}'):
        Detection(Detection.load(settings), settings, torch.nn.Conv2d(3, 4, 3))


@pytest.fixture(scope="module")
def detector():
    """That of the book for small pictures, and a list of its filters by the weights' norm."""
    model, x = ssdlite_mobilenet_v2(size=64).eval(), torch.zeros(1, 3, 64, 64)
    return model, x, rank(model, [(x, torch.zeros(1, dtype=torch.int64))], "weight_l1")


def test_the_control_in_the_backbone_alone_leaves_extra_maps_and_heads_whole(detector):
    _, _, ranking = detector
    settings = read_study("pedestrian_controls").runs["backbone_alone-seed0"]["prune"]
    free = set(select(ranking, 2000))
    chosen = set(select(ranking, 2000, exclude=settings["exclude"]))
    assert not all(layer.startswith(("stages.0.", "stages.1.")) for layer in free)
    assert all(layer.startswith(("stages.0.", "stages.1.")) for layer in chosen)


def test_the_uniform_control_takes_one_rate_everywhere_and_trains_as_long(detector):
    model, x, ranking = detector
    settings = read_study("pedestrian_controls").runs["uniform-seed0"]
    assert settings["finish"]["fine_tune"]["epochs"] == 20 and not settings["prune"]
    scope, ratio = settings["widths"]["scope"], settings["widths"]["ratio"]
    graph = prunekit.trace(model, x)
    units = layer_entropies(model, graph, scope).index
    rates = allocate(model, x, dict.fromkeys(units, 1.0), ratio)
    assert rates["rate"].max() - rates["rate"].min() < 0.05
    assert rates["width"].sum() == ranking["group"].nunique()  # no group of filters is left out


VOC = {"dataset": "voc2007", "input_size": 96, "batch_size": 8, "seed": 0}


def test_people_of_pascal_voc_are_a_study(tmp_path, monkeypatch):
    streets(tmp_path / "voc2007", trainval=21, test=5)
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    (tmp_path / "voc.toml").write_text(
        'dataset = "voc2007"\ninput_size = 96\nbatch_size = 8\nstart = "tiny_ssdlite"\n'
        "train = { epochs = 1, lr = 0.02 }\n"
    )
    folders = ["--results", str(tmp_path), "--unfinished", str(tmp_path / "unfinished")]
    main(["run", str(tmp_path / "voc.toml"), *folders, "--workers", "1"])
    (network,) = recorded(tmp_path, "voc").table("networks").to_dict("records")
    assert {f"{part}_{name}" for part in ("val", "test") for name in NUMBERS} <= set(network)


def test_pascal_voc_is_split_by_one_draw_and_tested_on_its_own_test(tmp_path, monkeypatch):
    streets(tmp_path / "voc2007", trainval=21, test=5)
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    kind = task_of("voc2007")
    found, again = kind.load(VOC), kind.load(VOC | {"seed": 7})
    assert found.fingerprint() == again.fingerprint()
    train, val, test = found.train, found.val, found.test
    assert (len(val), len(test)) == (2, 5) and 18 <= len(train) <= 19  # one has nobody
    whole = load_voc("voc2007", "trainval", size=96).images
    places = [
        next(i for i, one in enumerate(whole) if torch.equal(one, image))
        for image in [*train.images, *val.images]
    ]
    assert len(set(places)) == len(places) and set(places) | {0} == set(range(21))
    assert sorted(places[-2:]) != [0, 1], "drawn, not the first ones"
    assert torch.equal(test.images, load_voc("voc2007", "test", size=96).images)


@pytest.mark.parametrize("parts", [{}, {"test": 2}, {"trainval": 2}])
def test_pascal_voc_that_is_not_there_says_how_to_get_it(tmp_path, monkeypatch, parts):
    if parts:
        streets(tmp_path / "voc2007", **parts)
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"voc2007.*VOCDetection\(.*download=True"):
        task_of("voc2007").load(VOC)


def test_a_damaged_picture_of_pascal_voc_is_named(tmp_path, monkeypatch):
    folder = streets(tmp_path / "voc2007", trainval=3, test=2)
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    (folder / "VOCdevkit" / "VOC2007" / "Annotations" / "trainval001.xml").write_text("<ann")
    with pytest.raises(ValueError, match=r"trainval001\.xml is damaged"):
        task_of("voc2007").load(VOC)
