"""Every network that is shipped says where it comes from, and under which terms."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import prunekit
from prunekit.detection import tiny_ssdlite
from prunekit.models import TinySqueezeNet

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))
import model_cards  # noqa: E402

if not (ROOT / ".git").exists():
    pytest.skip("which networks are shipped is known from git", allow_module_level=True)

SHIPPED = model_cards.shipped()


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    """Results that are not the book's: a network fine-tuned from one of which nothing is known."""
    monkeypatch.setattr(model_cards, "RESULTS", tmp_path)
    record = json.loads(
        (ROOT / "book/results/squeezenet_cifar10/fine_tuned/provenance.json").read_text("utf-8")
    )
    folder = tmp_path / "study" / "from_elsewhere"
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text(json.dumps(record | {"weights": "a friend's"}))
    return tmp_path


def test_page_is_current():
    assert model_cards.PAGE.read_text("utf-8") == model_cards.page(), (
        "run `python book/model_cards.py`"
    )


def test_weights_in_the_repository_all_have_a_card():
    page = model_cards.PAGE.read_text("utf-8")
    assert SHIPPED
    for name in SHIPPED:
        assert f"\n## {name}\n" in page


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet20/resnet20-seed0", ["resnet20"]),
        ("squeezenet_cifar10/fine_tuned", [model_cards.IMAGENET[1]]),
        (
            "squeezenet_cifar10/combined_90",
            ["squeezenet_cifar10/fine_tuned", model_cards.IMAGENET[1]],
        ),
        ("best/best-seed0", ["squeezenet_cifar10/fine_tuned", model_cards.IMAGENET[1]]),
    ],
)
def test_lineage_leads_back_to_weights_that_are_no_result(name, expected):
    assert model_cards.lineage(name) == expected


def test_heirs_of_imagenet_refer_to_its_notice_and_others_do_not():
    for name in SHIPPED:
        heir = model_cards.lineage(name)[-1] in (*model_cards.IMAGENET, model_cards.PEDESTRIAN)
        assert ("see the notice" in model_cards.card(name)) == heir, name
    assert "BSD LICENSE" in model_cards.page()


def test_card_says_what_was_recorded():
    card = model_cards.card("squeezenet_cifar10/combined_90")
    folder = ROOT / "book" / "results" / "squeezenet_cifar10" / "combined_90"
    record = json.loads((folder / "provenance.json").read_text("utf-8"))
    for fact in (record["commit"], record["command"], record["data_sha256"]):
        assert fact in card
    assert f"{record['test_accuracy']:.2%}" in card


def test_card_says_what_was_switched_off_and_no_default():
    """What `best_96px` leaves out decides what its networks are."""
    card = model_cards.card("best_96px/best_96px-seed0")
    assert "final_relu False" in card and "decay_all False" in card
    assert "freeze" not in card and "None" not in card


def test_each_network_of_a_run_that_reports_several_has_its_own_accuracy(results):
    run = json.loads((ROOT / "book/results/base_96px/provenance.json").read_text("utf-8"))["runs"]
    run = run["base_96px-seed0"]
    run["settings"] |= {"variant": "cut", "start": "imagenet"}
    folder = results / "cut"
    for place in ("cut-seed0", "cut-seed0/0.5"):
        prunekit.save(TinySqueezeNet(), folder / place / "model.safetensors")
    (folder / "provenance.json").write_text(json.dumps({"title": "C", "runs": {"cut-seed0": run}}))
    rows = "variant,seed,ratio,test_accuracy\ncut,0,0.5,0.75\ncut,0,0.9,0.625\n"
    (folder / "networks.csv").write_text(rows)
    assert "Test accuracy: 62.50%" in model_cards.card("cut/cut-seed0")
    card = model_cards.card("cut/cut-seed0/0.5")
    assert "## cut/cut-seed0/0.5" in card and "Test accuracy: 75.00%" in card


def test_a_detector_is_judged_by_its_precision_and_carries_the_notice(results, monkeypatch):
    run = {"seed": 0, "data": "streets", "data_sha256": "d", "seconds": 1.0, "commit": "c"}
    run |= {"command": "run it", "finished": "2026-12-01", "versions": {"torch": "2"}}
    run |= {"machine": {"accelerator": None, "processor": "one"}}
    run |= {"settings": {"variant": "a", "seed": 0, "start": "pedestrian", "input_size": 96}}
    folder = results / "walkers"
    (folder / "a-seed0").mkdir(parents=True)
    (folder / "provenance.json").write_text(json.dumps({"title": "W", "runs": {"a-seed0": run}}))
    (folder / "networks.csv").write_text("variant,seed,test_average_precision\na,0,0.625\n")
    prunekit.save(tiny_ssdlite(), folder / "a-seed0" / "model.safetensors")
    assert model_cards.lineage("walkers/a-seed0") == ["pedestrian"]
    card = model_cards.card("walkers/a-seed0")
    assert "Average precision on the test pictures: 62.50%" in card
    assert "Began with: the pedestrian detector (see the notice)" in card
    monkeypatch.setattr(model_cards, "shipped", lambda: ["walkers/a-seed0"])
    page = model_cards.page()
    assert "Copyright (c) 2018 cftang" in page and "least of\n  all anybody's safety" in page


@pytest.mark.usefixtures("results")
def test_weights_of_unknown_origin_get_no_card():
    with pytest.raises(ValueError, match='study/from_elsewhere began with "a friend\'s"'):
        model_cards.card("study/from_elsewhere")
