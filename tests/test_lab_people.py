"""The detectors of the lab: small enough for a page, which finds the people that PyTorch finds."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from lab_page import make_site, start, watched
from PIL import Image

from prunekit.book import in_page
from prunekit.detection import Detections, detect, ssd_anchors

sys.path.insert(0, str(ROOT / "book"))
import lab
import lab_people

RECORDED = pd.read_csv(lab_people.TABLE)
LIMIT = 6e6
LOADED = ["engine.js", "chooser.js", "people_view.js", "people.js", "detectors.js"]
TIMED = """() => [...document.querySelectorAll("[data-fact=time]")].map((time) => time.textContent)
    .filter((text) => text.endsWith(" ms")).length === 2"""
LOOKED_AT, SURE = 0.05, 0.5


def file_of(name: str) -> str:
    return f"network-{name}.js"


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """The lab, started once: timing whole detectors takes a while."""
    page = browser.new_page()
    with watched(page):
        start(page, make_site(tmp_path_factory.mktemp("site")), "people")
        page.wait_for_function(TIMED)
        yield page
    page.close()


@contextmanager
def looking(page) -> Iterator[None]:
    """Afterwards both detectors have looked at what was chosen within."""
    turn = page.locator("[data-lab=people]").get_attribute("data-turn")
    yield
    page.wait_for_function(
        "turn => document.querySelector('[data-lab=people]').dataset.turn > turn", arg=int(turn)
    )


def found_by_pytorch(name: str, pixels: np.ndarray) -> Detections:
    model, content = in_page.read(lab.FILES / file_of(name))
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        return detect(model(x), ssd_anchors(content["maps"]), min_score=LOOKED_AT)


def found_by_page(page, name: str) -> list[dict]:
    return json.loads(page.locator(f"[data-network={name}]").get_attribute("data-found"))


def pictures_of(page):
    return page.locator("[data-lab=people] .pictures button")


def test_a_reader_loads_no_more_than_six_megabytes():
    files = [*LOADED, *map(file_of, RECORDED["name"])]
    loaded = sum((lab.FILES / name).stat().st_size for name in files)
    assert loaded <= LIMIT
    assert f"It loads {loaded / 1e6:.1f} MB" in (ROOT / "book" / "lab.md").read_text("utf-8")


def test_the_page_says_what_the_detectors_are_and_on_what_they_were_measured():
    _, content = in_page.read(lab.FILES / file_of("whole"))
    page = " ".join((ROOT / "book" / "lab.md").read_text("utf-8").split())
    assert f"gives {len(ssd_anchors(content['maps'])):,} boxes" in page
    assert f"squashed to {content['size']} pixels a side" in page
    (pictures,) = RECORDED["pictures"].unique()
    assert f"on the {pictures} test photographs" in page


def test_the_recorded_detectors_are_those_the_page_loads(tmp_path):
    assert RECORDED["name"].tolist() == ["whole", "half"]
    for row in RECORDED.to_dict("records"):
        model, content = in_page.read(lab.FILES / file_of(row["name"]))
        assert content["name"] == row["name"] and content["overlap"] == lab_people.OVERLAP
        assert sum(p.numel() for p in model.parameters()) == row["parameters"]
    (tmp_path / "files").mkdir()
    lab_people.for_pages(folder=tmp_path, files=tmp_path / "files")
    recorded = (lab.BOOK / "lab_people.csv").read_text()
    assert (tmp_path / "lab_people.csv").read_text() == recorded
    script = (lab.FILES / "detectors.js").read_text()
    assert (tmp_path / "files" / "detectors.js").read_text() == script


def test_half_of_the_multiplications_are_gone_and_rounding_cost_less_than_a_point():
    whole, half = RECORDED["macs"]
    assert 0.49 < half / whole <= 0.5
    table = pd.read_csv(lab.BOOK / "lab_people.csv")
    here, before = (table[c].str.rstrip("%").astype(float) for c in ("AP here", "In 32 bits"))
    assert (before - here).abs().max() < 1


@pytest.mark.parametrize("picture", ["noise", "people"])
def test_the_page_finds_the_people_that_pytorch_finds(opened, tmp_path, picture):
    """Squashed, cut and overlapping: 300 pixels a side, which no browser has to resize."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    if picture == "people":
        pixels[40:240, 20:180] = shown_first()
        pixels[10:210, 110:270] = shown_first()
    Image.fromarray(pixels).save(tmp_path / "own.png")
    with looking(opened):
        opened.locator("[data-lab=people] input[type=file]").set_input_files(tmp_path / "own.png")
    for name in RECORDED["name"]:
        wanted, found = found_by_pytorch(name, pixels), found_by_page(opened, name)
        assert len(found) == len(wanted.scores)
        assert np.allclose([one["score"] for one in found], wanted.scores, atol=1e-3)
        if found:
            assert np.allclose([one["box"] for one in found], wanted.boxes, atol=1e-3)
    if picture == "people":
        assert found_by_page(opened, "whole")


def shown_first() -> np.ndarray:
    """The first picture of the lab, 160 x 200 pixels."""
    data = re.search(r"base64,([^\"]+)", (lab.FILES / "people.js").read_text("utf-8"))
    picture = Image.open(io.BytesIO(base64.b64decode(data[1])))
    return np.asarray(picture.resize((160, 200)))


def test_boxes_below_the_score_asked_for_are_not_drawn(opened):
    with looking(opened):
        pictures_of(opened).first.click()
    least, answers = (
        opened.locator("input[name=least]"),
        opened.locator("[data-lab=people] .answer"),
    )
    least.press("End")
    assert "no people, at most" in answers.nth(1).text_content()
    least.press("Home")
    assert "no people" not in answers.nth(0).text_content()


def test_the_whole_detector_is_surer_and_finds_somebody_whom_the_pruned_one_misses(opened):
    """What the page says of its own pictures."""
    sure = {name: [] for name in RECORDED["name"]}
    for picture in pictures_of(opened).all():
        with looking(opened):
            picture.click()
        for name, scores in sure.items():
            scores.append(max((one["score"] for one in found_by_page(opened, name)), default=0))
    assert all(whole > half for whole, half in zip(sure["whole"], sure["half"], strict=True))
    assert all(score > SURE for score in sure["whole"])
    assert any(score < SURE for score in sure["half"])


def test_a_smaller_picture_is_looked_at_again(opened):
    with looking(opened):
        pictures_of(opened).first.click()
    before = found_by_page(opened, "whole")
    with looking(opened):
        opened.locator("input[name=size]").press("Home")
    assert found_by_page(opened, "whole") != before


def test_times_are_copied(opened):
    opened.get_by_role("button", name="Copy my times").click()
    opened.wait_for_selector("[data-row]")
    row = json.loads(opened.locator("[data-lab=people]").get_attribute("data-row"))
    assert [one["name"] for one in row["networks"]] == RECORDED["name"].tolist()
    assert all(one["milliseconds"] > 0 for one in row["networks"])
