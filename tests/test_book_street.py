"""Chapter 20: what it runs on, and what it says of recorded detectors."""

from __future__ import annotations

import json
import os

import numpy as np
import pandas as pd
import pytest
import torch

from prunekit.book import BOOK
from prunekit.book.differences import kept_within
from prunekit.book.street import street
from prunekit.data import data_folder
from prunekit.detection import evaluate_detector
from prunekit.study import read_study

CHAPTER = BOOK.parent / "notebooks" / "20_pedestrian_detector.ipynb"


def found_at(scene, part: str) -> float:
    return evaluate_detector(scene.model, scene.loader(part), scene.model.anchors).average_precision


@pytest.fixture(scope="module")
def drawn():
    return street(small=True)


def test_in_small_a_detector_has_learnt_drawn_people(drawn):
    assert found_at(drawn, "test") > 0.8
    assert "smallest" in drawn.notice and not drawn.model.training
    assert drawn.example_inputs.shape == (1, 3, drawn.size, drawn.size)


def test_a_limit_takes_pictures_from_the_whole_of_a_part(drawn):
    part = drawn.pictures["val"]
    few = drawn.loader("val", 4).pictures
    assert torch.equal(few.images, part.images[torch.tensor([0, 32, 63, 95])])
    assert len(drawn.loader("val", 1000).pictures) == len(drawn.loader("val").pictures) == 96


@pytest.mark.parametrize("missing", ["weights", "pictures"])
def test_without_weights_or_photographs_the_page_says_what_is_missing(
    missing, tmp_path, monkeypatch
):
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    monkeypatch.delenv("PRUNEKIT_WEIGHTS", raising=False)
    monkeypatch.setattr("prunekit.book.street.fit", lambda *given, **settings: None)
    if missing == "pictures":
        monkeypatch.setattr("prunekit.book.street.pedestrian_detector", lambda: None)
    scene = street()
    named = {"weights": "PRUNEKIT_WEIGHTS", "pictures": "no data set 'streets'"}
    assert named[missing] in scene.notice and "drawn" in scene.notice


def of(variants: dict[str, list[float]]) -> pd.DataFrame:
    rows = [(v, seed, 0.0, x) for v, values in variants.items() for seed, x in enumerate(values)]
    return pd.DataFrame(rows, columns=["variant", "seed", "ratio", "value"])


@pytest.mark.parametrize(
    ("half", "said"),
    [
        ([0.70, 0.71, 0.70], "**shown**"),
        ([0.695, 0.70, 0.69], "**shown**"),
        ([0.66, 0.67, 0.66], "**refuted**"),
        ([0.68, 0.66, 0.72], "**undecided**"),
        ([0.70], "fewer than two seeds of one ratio are no evidence yet"),
    ],
)
def test_a_margin_is_kept_where_more_can_be_ruled_out(half, said):
    table = of({"half": half, "unpruned": [0.70, 0.71, 0.70]})
    assert said in kept_within(table, "half", "unpruned", "value", 0.02)
    assert "2 points" in kept_within(table, "half", "unpruned", "value", 0.02)


def test_networks_that_are_compared_trained_for_as_many_epochs_each():
    epochs = {}
    for name in ("pedestrian", "pedestrian_controls"):
        for run, settings in read_study(name, BOOK / "studies").runs.items():
            pruning, last = settings["prune"] or {}, settings["finish"]["fine_tune"]["epochs"]
            steps = np.ceil(pruning["ratio"] / pruning["share_per_iteration"]) if pruning else 0
            epochs[run] = last + steps * pruning.get("fine_tune", {}).get("epochs", 0)
    assert len(set(epochs.values())) == 1
    cells = json.loads(CHAPTER.read_text("utf-8"))["cells"]
    code = "".join(line for cell in cells for line in cell["source"])
    for variant in ("half", "thirty", "seventy", "unpruned", "without_teacher", "random"):
        assert f'"{variant}"' in code and any(run.startswith(variant) for run in epochs)


@pytest.mark.skipif(
    not os.environ.get("PRUNEKIT_WEIGHTS") or not (data_folder() / "streets").is_dir(),
    reason="the detector and its photographs are not here",
)
def test_what_the_chapter_says_of_the_photographs():
    scene = street()
    assert not scene.notice
    without = {
        part: int((~(pictures.targets[..., 4] > 0).any(1)).sum())
        for part, pictures in scene.pictures.items()
    }
    assert sum(map(len, scene.pictures.values())) == 991
    assert sum(without.values()) == 59
    # "No box begins at 0, and some end at the picture's width", counting as PASCAL VOC does.
    known = torch.cat([p.targets[p.targets[..., 4] > 0] for p in scene.pictures.values()])
    assert (known[:, 2] == 1).sum() > 10 and (known[:, :2] >= 0).all()
