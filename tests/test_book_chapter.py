"""What a notebook opens with."""

import json

import pytest
import torch

import prunekit
from prunekit.book.chapter import Chapter
from prunekit.models import TinySqueezeNet
from prunekit.training import evaluate


@pytest.fixture(scope="module")
def chapter():
    return Chapter("smoke")


def test_the_small_network_of_the_stand_in_has_learnt_the_digits(chapter):
    assert evaluate(chapter.model(), chapter.loader("test")).accuracy > 0.85


def test_each_call_gives_a_fresh_model(chapter):
    first, second = chapter.model(), chapter.model()
    with torch.no_grad():
        first.features[0].weight.zero_()
    assert second.features[0].weight.abs().sum() > 0


def test_a_limit_keeps_the_same_examples_every_time(chapter):
    first, again = (chapter.loader("val", limit=20) for _ in range(2))
    assert len(first.images) == 20
    assert torch.equal(first.images.images, again.images.images)


def test_a_profile_or_part_that_does_not_exist_is_named(chapter):
    with pytest.raises(ValueError, match="smoke, quick, full"):
        Chapter("fast")
    with pytest.raises(ValueError, match="train, val or test"):
        chapter.loader("dev")


def test_without_cifar10_the_page_says_that_it_shows_digits(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    monkeypatch.setattr("prunekit.data.named.CIFAR10.__init__", _offline)
    chapter = Chapter("quick")
    assert chapter.dataset.is_stand_in
    assert chapter.input_size == 32
    assert "Markdown" in capsys.readouterr().out


def test_recorded_results_are_read_and_a_missing_one_says_how_to_get_it(tmp_path):
    folder = tmp_path / "fine_tuned"
    folder.mkdir()
    (folder / "history.csv").write_text("epoch,loss\n1,0.5\n")
    machine = {"processor": "Chip", "instruction_set": "AVX2", "accelerator": None, "threads": 2}
    record = {"data": "cifar10", "seed": 3, "machine": machine, "commit": "abcdef0123"}
    record |= {"seconds": 5400, "settings": {"input_size": 96}}
    (folder / "provenance.json").write_text(json.dumps(record | {"command": "python x.py"}))
    chapter = Chapter("smoke", results=tmp_path)
    assert chapter.table("fine_tuned", "history")["loss"].tolist() == [0.5]
    assert chapter.caption("fine_tuned") == (
        "Recorded run `fine_tuned`: cifar10 at 96 pixels, seed 3; 1.5 hours on Chip (AVX2), "
        "2 threads; commit abcdef0, `python x.py`."
    )
    with pytest.raises(FileNotFoundError, match=r"python book/record\.py combined_90"):
        chapter.record("combined_90")


def test_with_cifar10_the_recorded_network_is_used(tmp_path):
    (tmp_path / "fine_tuned").mkdir()
    model = TinySqueezeNet().eval()
    prunekit.save(model, tmp_path / "fine_tuned" / "model.safetensors")
    chapter = Chapter("smoke", results=tmp_path)
    object.__setattr__(chapter.dataset, "name", "cifar10")
    x = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        assert torch.allclose(chapter.model()(x), model(x), atol=1e-5)


def _offline(self, *_, **__):
    raise OSError("no network")
