"""Studies of widths in one step, of an alignment and of grafted training."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from prunekit import profile, rebuild, trace
from prunekit.adversarial import alignment
from prunekit.grafting import training as grafted_training
from prunekit.models import ResNet, TinySqueezeNet
from prunekit.storage import load, save
from prunekit.study import read_study
from prunekit.study.at_once import cut, unit_values
from prunekit.study.recorded import Recorded
from prunekit.study.work import carry_out
from prunekit.widths import layer_entropies

DECLARED = """
title = "What a study does at once, in small"
dataset = "digits"
input_size = 16
batch_size = 128
start = "tiny"

[[variants]]
name = "grafted"
train = { epochs = 0.5, lr = 0.02 }
widths = { values = "entropy", relation = "contrast", ratio = 0.5 }
graft = { networks = 2, epochs = 2, lr = 0.05, calibration = 128 }

[[variants]]
name = "richness"
widths = { values = "richness", ratio = 0.5, keep = "random", richness = { weight = 0.3 } }
finish = { fine_tune = { epochs = 0.5, lr = 0.02 } }

[[variants]]
name = "aligned"
batch_norm = true

[variants.align]
epochs = 2
penalty = [3.6, 60]
mask_every = 1
calibration = 128
slope = 0.2
choose = { rule = "last", ratio = 0.5 }
"""
SHARED = {"threads": 1, "command": "", "commit": "", "progress": lambda share: None}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("declared") / "once.toml"
    path.write_text(DECLARED)
    return read_study(path)


@pytest.fixture(scope="module")
def recorded(study, tmp_path_factory):
    """The study, recorded without a break."""
    folder = tmp_path_factory.mktemp("once")
    recorded = Recorded(folder / "results" / "once", study)
    for run, settings in study.runs.items():
        carry_out(settings, folder / run, folder, **SHARED)
        recorded.add(run, folder / run)
    return recorded


def test_each_key_leaves_what_it_declares(recorded):
    networks = recorded.table("networks").set_index("variant")
    whole = TinySqueezeNet()
    before = sum(p.numel() for p in whole.parameters())
    assert (networks["parameters"] < before).all()
    assert networks.loc["grafted", "macs"] == pytest.approx(
        networks.loc["richness", "macs"], rel=0.05
    )
    grafting = recorded.table("grafting")
    assert grafting["variant"].unique().tolist() == ["grafted"]
    assert grafting["network"].tolist() == [0, 1] * 2
    last = grafting.tail(2)["val_accuracy"]
    assert networks.loc["grafted", "val_accuracy"] == pytest.approx(last.max())
    candidates = recorded.table("candidates")
    assert candidates["penalty"].tolist() == [3.6, 3.6, 60, 60]
    before = profile(whole, torch.zeros(1, 3, 16, 16)).macs
    allowed = candidates[candidates["macs"] >= 0.5 * before]
    assert candidates["chosen"].sum() == 1 and allowed["chosen"].iloc[-1]
    assert 0.45 * before < networks.loc["aligned", "macs"] <= 0.5 * before  # cut to it
    assert recorded.missing() == []
    assert {record["classes"] for record in recorded.records().values()} == {10}


@pytest.mark.parametrize(
    ("run", "module", "measured"),
    [("grafted-seed0", grafted_training, 3), ("aligned-seed0", alignment, 3)],
)
def test_killed_in_an_epoch_it_ends_as_unbroken(
    study, recorded, tmp_path, monkeypatch, run, module, measured
):
    real, left = module.evaluate, iter([True] * measured + [False])

    def dying(*args):
        if not next(left):
            raise RuntimeError("killed")
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(module, "evaluate", dying)
        with pytest.raises(RuntimeError, match="killed"):
            carry_out(study.runs[run], tmp_path / run, tmp_path, **SHARED)
    carry_out(study.runs[run], tmp_path / run, tmp_path, **SHARED)
    for name in ("networks", "networks_pattern", "grafting", "candidates"):
        if (path := tmp_path / run / f"{name}.csv").is_file():
            whole = recorded.table(name)
            whole = whole[whole["variant"] == study.runs[run]["variant"]]
            whole = whole.drop(columns=["variant", "seed"]).reset_index(drop=True)
            one, other = (t.drop(columns="seconds", errors="ignore") for t in (
                pd.read_csv(path), whole
            ))  # fmt: skip
            pd.testing.assert_frame_equal(one, other[one.columns])


@pytest.mark.parametrize(
    ("change", "named"),
    [(("epochs = 2, lr", "epochs = 3, lr"), "graft"), (("weight = 0.3", "weight = 0.2"), "widths")],
)
def test_recorded_runs_of_other_settings_are_refused(recorded, tmp_path, change, named):
    (tmp_path / "once.toml").write_text(DECLARED.replace(*change))
    changed = Recorded(recorded.folder, read_study(tmp_path / "once.toml"))
    with pytest.raises(ValueError, match=f"with other settings: {named}"):
        changed.missing()


def test_a_run_begun_before_a_key_existed_goes_on(study, tmp_path):
    """As after an update of the library: its settings do not know the key."""
    settings = study.runs["richness-seed0"]
    older = {key: value for key, value in settings.items() if key not in ("align", "graft")}
    (tmp_path / "settings.json").write_text(json.dumps(older))
    carry_out(settings, tmp_path, tmp_path, **SHARED)
    (tmp_path / "provenance.json").unlink()
    (tmp_path / "settings.json").write_text(json.dumps(older | {"seed": 9}))
    with pytest.raises(ValueError, match="unfinished run of other settings"):
        carry_out(settings, tmp_path, tmp_path, **SHARED)


def test_values_of_units():
    torch.manual_seed(0)
    model = TinySqueezeNet()
    graph = trace(model, torch.zeros(1, 3, 32, 32))
    known = layer_entropies(model, graph)

    def values(seed=0, **settings):
        return unit_values(model, graph, settings, seed)

    pd.testing.assert_series_equal(values(values="entropy"), known)
    assert values(values="uniform").tolist() == [1.0] * len(known)
    assert (values(values="reversed") * known).to_numpy() == pytest.approx(np.ones(len(known)))
    by_seed, by_draw = values(3, values="permuted"), values(0, values="permuted", draw=3)
    pd.testing.assert_series_equal(by_seed, by_draw)
    assert sorted(by_seed) == sorted(known) and list(by_seed) != list(known)
    assert not by_seed.equals(values(4, values="permuted"))
    norms = values(values="richness", richness={"weight": 0, "per": "filter"})
    assert norms.between(0, 1).all()
    assert not norms.equals(values(values="richness", richness={"weight": 0}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ratio = 0.5 }", "share = 0.5 }"), "share means nothing there"),
        (('"entropy", relation', '"entropies", relation'), "values of widths must be one of"),
        (('relation = "contrast", ratio = 0.5', 'relation = "contrast"'), "widths must say ratio"),
        (("networks = 2", "models = 2"), "models means nothing there"),
        (("{ weight = 0.3 }", "{ weights = 0.3 }"), "weights means nothing there"),
        (("penalty = [3.6, 60]", "lambda = 20"), "lambda means nothing there"),
        (('rule = "last"', 'law = "last"'), "law means nothing there"),
        (('rule = "last"', 'rule = "best"'), "choose of align: rule must be one of harmonic"),
        (
            ('"last", ratio = 0.5', '"last", ratio = 1'),
            "choose of align: ratio must be above 0",
        ),
        (
            ("graft = {", 'graft = { training = { teacher = "unpruned" },'),
            "teacher means nothing there",
        ),
        (
            ("batch_norm = true", 'widths = { values = "entropy", ratio = 0.5 }'),
            "widths and align stand in place of one another",
        ),
        (("finish = {", "graft = {}\nfinish = { ratios = [0.0],"), "ratios, which only prune"),
    ],
)
def test_what_a_file_may_not_say(tmp_path, change, message):
    assert change[0] in DECLARED
    (tmp_path / "once.toml").write_text(DECLARED.replace(*change))
    with pytest.raises(ValueError, match=message):
        read_study(tmp_path / "once.toml")


def test_what_an_alignment_cannot_give_is_said(study, tmp_path):
    settings = study.runs["aligned-seed0"]
    once = settings["align"] | {"epochs": 1}
    too_much = once | {"penalty": 60, "choose": {"ratio": 0.999}}
    with pytest.raises(ValueError, match=r"only \d+ of the \d+ filters .* can be removed"):
        carry_out(settings | {"align": too_much}, tmp_path / "much", tmp_path, **SHARED)
    too_little = once | {"penalty": 5000, "choose": {"ratio": 0.01}}
    with pytest.raises(ValueError, match=r"every candidate has lost more than 1\.0% of the MACs"):
        carry_out(settings | {"align": too_little}, tmp_path / "little", tmp_path, **SHARED)


def test_an_alignment_is_cut_by_what_is_masked_and_lowest_scales_first():
    torch.manual_seed(0)
    model = ResNet(blocks=1).eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight)
    whole = profile(model, torch.zeros(1, 3, 16, 16)).macs
    task = SimpleNamespace(
        example_inputs=torch.zeros(1, 3, 16, 16),
        train=[(torch.randn(4, 3, 16, 16), torch.zeros(4, dtype=torch.long))],
    )
    small = cut(model, task, "blocks", 0.8 * whole)
    channel = 2 * 9 * 16 * 16**2  # the dearest: made and read by 3x3 convolutions of 16 channels
    assert 0 <= 0.8 * whole - profile(small, task.example_inputs).macs < channel
    kept, gone = [], []
    for name in ("layer1.0.bn1", "layer2.0.bn1", "layer3.0.bn1"):
        left = small.get_submodule(name).weight
        scales = model.get_submodule(name).weight
        kept += left.tolist()
        gone += scales[~torch.isin(scales, left)].tolist()
    assert gone and max(gone) < min(kept)
    assert small.conv1.weight.shape == model.conv1.weight.shape  # its channels enter sums
    assert cut(small, task, "blocks", 0.8 * whole) is small


def test_fresh_weights_have_the_widths_of_the_start(study, tmp_path):
    network = TinySqueezeNet()
    x = torch.zeros(1, 3, 16, 16)
    small = rebuild(network, x, {"features.0": [0, 1, 2]})
    save(small, tmp_path / "before" / "run" / "model.safetensors", {}, example_inputs=x)
    given = {"start": "before/run", "train": {"epochs": 0.1, "lr": 1e-9}}
    settings = study.runs["richness-seed0"] | {"widths": None, "finish": None} | given
    found = {}
    for name, fresh in (("kept", None), ("fresh", True), ("again", True)):
        carry_out(settings | {"fresh": fresh}, tmp_path / name, tmp_path, **SHARED)
        found[name] = load(tmp_path / name / "model.safetensors").get_submodule("features.0").weight
    torch.testing.assert_close(found["kept"], small.features[0].weight, rtol=0, atol=1e-4)
    assert found["fresh"].shape == found["kept"].shape
    assert not torch.allclose(found["fresh"], found["kept"], atol=1e-2)
    assert torch.equal(found["fresh"], found["again"])
