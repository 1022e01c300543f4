"""Studies of widths in one step, of an alignment and of grafted training."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from prunekit import trace
from prunekit.adversarial import alignment
from prunekit.grafting import training as grafted_training
from prunekit.models import TinySqueezeNet
from prunekit.study import read_study
from prunekit.study.at_once import unit_values
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
penalty = 60
mask_every = 1
calibration = 128
choose = { rule = "accuracy", ratio = 0.05 }
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
    chosen = candidates[candidates["macs"] == networks.loc["aligned", "macs"]]
    assert len(chosen) and networks.loc["aligned", "val_accuracy"] in chosen["accuracy"].tolist()
    assert recorded.missing() == []
    assert {record["classes"] for record in recorded.records().values()} == {10}


@pytest.mark.parametrize(
    ("run", "module", "measured"),
    [("grafted-seed0", grafted_training, 3), ("aligned-seed0", alignment, 1)],
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
        (("penalty = 60", "lambda = 20"), "lambda means nothing there"),
        (('rule = "accuracy"', 'law = "accuracy"'), "law means nothing there"),
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


def test_too_much_asked_of_an_alignment_is_said(study, tmp_path):
    settings = study.runs["aligned-seed0"]
    asked = settings["align"] | {"epochs": 1, "choose": {"ratio": 0.99}}
    with pytest.raises(ValueError, match=r"no network has at most .* MACs: the least is"):
        carry_out(settings | {"align": asked}, tmp_path / "run", tmp_path, **SHARED)
