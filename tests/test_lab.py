"""The pruning lab: networks small enough for a page, and a page that computes as PyTorch does."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from lab_page import frame_of, make_site, page_around, start, watched
from PIL import Image
from torch import nn

from prunekit.book import in_page
from prunekit.data.images import normalise

sys.path.insert(0, str(ROOT / "book"))
import lab
import lab_figure
from lab_figure import first_picture, reduced

RECORDED = pd.read_csv(lab.TABLE)
LIMIT = 6e6
NUMBERED = [f"network-{number}.js" for number in RECORDED["number"]]
LOADED = ["engine.js", "chooser.js", "view.js", "pictures.js", "networks.js", *NUMBERED]
SCORES = "kind => JSON.parse(document.querySelector(`[data-network=${kind}]`).dataset.scores)"
SHOWN = """number => document.querySelector("[data-network=pruned]")?.dataset.number == number
    && !document.querySelector("[data-network=pruned]").textContent.includes("measuring")"""


def test_the_page_says_on_how_many_images_the_networks_were_measured():
    page = (ROOT / "book" / "lab.md").read_text("utf-8")
    right = 10_000 * RECORDED["test_accuracy"]
    assert np.allclose(right, right.round()) and (right.round() % 5 != 0).any()  # not of 2,000
    assert "the 10,000 test images" in page
    assert lab.COMPARED == 1000 and "a\nthousand other images" in page


def test_the_recorded_networks_are_those_the_page_loads(tmp_path):
    assert len(RECORDED) >= 9 and RECORDED["ratio"].is_monotonic_increasing
    assert sum((lab.FILES / name).stat().st_size for name in LOADED) <= LIMIT
    for row in RECORDED.to_dict("records"):
        model, content = in_page.read(lab.FILES / f"network-{row['number']}.js")
        assert content["ratio"] == row["ratio"]
        assert sum(p.numel() for p in model.parameters()) == row["parameters"]
    (tmp_path / "files").mkdir()
    lab.for_pages(folder=tmp_path, files=tmp_path / "files")
    assert (tmp_path / "lab.csv").read_text() == (lab.BOOK / "lab.csv").read_text()
    script = lab.FILES / "networks.js"
    assert (tmp_path / "files" / "networks.js").read_text() == script.read_text()


def test_the_still_picture_is_of_the_whole_network_and_the_middle_one(tmp_path):
    assert [in_page.read(path)[1]["name"] for path in lab_figure.shown().values()] == [0, 4]
    lab_figure.main(tmp_path / "still.png")
    with Image.open(tmp_path / "still.png") as drawn, Image.open(lab.FILES / "still.png") as kept:
        assert drawn.size == kept.size


def test_what_the_cut_kept_is_what_the_layers_have():
    _, original = in_page.read(lab.FILES / "network-0.js")
    for number in RECORDED["number"][1:]:
        _, content = in_page.read(lab.FILES / f"network-{number}.js")
        for before, layer in zip(original["layers"], content["layers"], strict=True):
            assert len(set(layer["kept"])) == layer["shape"][0]
            assert max(layer["kept"]) < before["shape"][0]


@pytest.fixture
def site(tmp_path):
    return make_site(tmp_path)


@pytest.fixture
def opened(page, site):
    """The lab, started; afterwards nothing went to another place and nothing was an error."""
    with watched(page):
        start(page, site, "classes")
        page.wait_for_function(SHOWN, arg=len(RECORDED) // 2)
        yield page


def scores_of(model: nn.Module, pixels: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return model(normalise(reduced(pixels)[None], 96))[0]


def test_every_network_scores_a_picture_as_pytorch_does(opened):
    slider, pixels = opened.locator(".removed input"), first_picture()
    original, _ = in_page.read(lab.FILES / "network-0.js")
    slider.press("Home")
    for number in RECORDED["number"][1:]:
        if number > 1:
            slider.press("ArrowRight")
        opened.wait_for_function(SHOWN, arg=number)
        model, _ = in_page.read(lab.FILES / f"network-{number}.js")
        for kind, network in (("original", original), ("pruned", model)):
            found = torch.tensor(opened.evaluate(SCORES, kind))
            assert (found - scores_of(network, pixels)).abs().max() < 1e-3
    accuracy = f"{100 * RECORDED['test_accuracy'].iloc[-1]:.1f} %"
    assert accuracy in opened.locator("[data-network=pruned]").text_content()


def test_a_picture_of_ones_own_is_classified_and_times_are_copied(opened, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "own.png")
    opened.locator("input[type=file]").set_input_files(tmp_path / "own.png")
    opened.wait_for_selector("canvas[aria-label*='own.png']")
    original, _ = in_page.read(lab.FILES / "network-0.js")
    wanted = scores_of(original, pixels)
    opened.wait_for_function(
        "([first]) => JSON.parse(document.querySelector('[data-network=original]')"
        ".dataset.scores).some((score) => Math.abs(score - first) < 1e-3)",
        arg=[float(wanted.max())],
    )
    found = torch.tensor(opened.evaluate(SCORES, "original"))
    assert (found - wanted).abs().max() < 1e-3
    opened.get_by_role("button", name="Copy my times").click()
    opened.wait_for_selector("[data-row]")
    row = json.loads(opened.locator("[data-lab=classes]").get_attribute("data-row"))
    assert [one["ratio"] for one in row["networks"]] == RECORDED["ratio"].tolist()
    assert all(one["milliseconds"] > 0 for one in row["networks"])
    assert "Chrome" in row["device"]["browser"]


def test_filters_that_the_cut_took_are_struck_out_in_the_layer_chosen(opened):
    _, content = in_page.read(lab.FILES / f"network-{len(RECORDED) // 2}.js")
    layer = next(one for one in content["layers"] if one["name"] == "features.11.expand1x1")
    gone = 256 - len(layer["kept"])
    opened.locator("select").select_option(layer["name"])
    label = f"Layer 11.expand1x1: 256 maps of the original, {gone} of them struck out"
    opened.wait_for_selector(f".maps[aria-label='{label}']")
    assert f"{256 - gone} of 256" in opened.locator(".layers").text_content()


def test_what_is_no_picture_is_said_to_be_none(opened, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    opened.locator("input[type=file]").set_input_files(tmp_path / "notes.txt")
    opened.wait_for_function("document.querySelector('.message').textContent !== ''")
    assert "notes.txt is no picture" in opened.locator(".message").text_content()


def test_a_browser_that_cannot_run_it_keeps_a_clear_sentence(page, site):
    page.add_init_script("delete window.Worker")
    page.goto(site.as_uri())
    for frame in page.locator(".prunekit-lab").all():
        assert "a browser from 2021 or later" in frame.text_content()
    assert page.get_by_role("button").count() == 0
    assert page.locator(".prunekit-lab img").evaluate("i => i.decode().then(() => i.naturalWidth)")


def test_the_small_form_shows_both_networks_and_leaves_the_rest_to_the_lab(page, site):
    (site.parent / "index.html").write_text(page_around(frame_of("index.md")), "utf-8")
    page.set_default_timeout(120_000)
    page.goto((site.parent / "index.html").as_uri())
    page.get_by_role("button", name="Start the lab").click()
    page.wait_for_function(SHOWN, arg=len(RECORDED) // 2)
    assert page.locator(".answer:visible").count() == 2
    assert page.locator(".removed input").is_visible()
    assert page.locator("select:visible, .maps:visible, .layers:visible").count() == 0
