"""A user's own folders: classes by name, what lies about in them, what is refused."""

from __future__ import annotations

import os
import shutil
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import NOBODY, ordinary_user, pets, solid
from PIL import Image

from prunekit.data import Loader, folders, load_dataset, normalise
from prunekit.data.datasets import load_for
from prunekit.deploy.__main__ import main
from prunekit.models import TinySqueezeNet
from prunekit.storage import save
from prunekit.study.tasks import Classification


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path / "data"))


def counts(images) -> list[int]:
    return torch.bincount(images.labels).tolist()


def test_labels_are_those_of_train_whatever_classes_a_split_lacks(tmp_path):
    folder = pets(
        tmp_path / "pets",
        {
            "train": {"cat": 3, "dog": 3, "fox": 3},
            "val": {"dog": 1, "fox": 2},
            "test": {"cat": 0, "fox": 3},
        },
    )
    loaded = load_dataset(folder, size=8)
    assert loaded.classes == ("cat", "dog", "fox")
    assert loaded.val.labels.tolist() == [1, 2, 2]
    assert loaded.val.images[:, 0, 0, 0].tolist() == [0, 100, 101]
    assert loaded.test.labels.tolist() == [2, 2, 2]


@pytest.fixture
def stripes(tmp_path) -> Path:
    """Pictures of 64 pixels, black and white by turns: at half the size there is only grey."""
    folder = pets(tmp_path / "stripes")
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 1::2] = 255
    for path in folder.rglob("*.png"):
        Image.fromarray(pixels).save(path)
    return folder


SHARP = normalise(torch.tensor([0, 255] * 32, dtype=torch.uint8).expand(1, 3, 64, 64))


def test_a_study_shows_the_pictures_of_a_folder_at_its_input_size_not_enlarged(stripes):
    settings = {"dataset": str(stripes), "input_size": 64, "batch_size": 4, "seed": 0}
    dataset = Classification.load(settings)
    task = Classification(dataset, settings, TinySqueezeNet())
    for x, _ in (*task.val, *task.test):
        assert torch.equal(x, SHARP.expand_as(x))


def test_a_bundle_holds_the_pictures_of_a_folder_at_its_size_not_enlarged(
    stripes, tmp_path, monkeypatch
):
    given = {}

    def packed(models, images, out, **facts):
        given.update(facts, images=images[0])
        out.write_bytes(b"packed")

    monkeypatch.setattr("prunekit.deploy.__main__.bundle", packed)
    save(TinySqueezeNet(), tmp_path / "tiny.safetensors")
    command = ["bundle", str(tmp_path / "out.tar.gz"), "--data", str(stripes), "--size", "64"]
    assert main([*command, "--model", f"tiny={tmp_path / 'tiny.safetensors'}"]) == 0
    for x in (given["images"], given["calibration"]):
        assert torch.equal(x, SHARP.expand_as(x))


def test_what_goes_by_a_name_is_enlarged_by_its_loader_as_ever():
    pytest.importorskip("sklearn", reason="pip install prunekit[digits]")
    test = load_for("digits", 48).test
    assert torch.equal(test.images, load_dataset("digits").test.images)
    assert next(iter(Loader(test, 2, size=48)))[0].shape == (2, 3, 48, 48)


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_class_that_train_lacks_is_refused_by_name(tmp_path, part):
    folder = pets(tmp_path / "pets")
    solid(folder / "val" / "dog" / "0.png", 1)
    solid(folder / part / "fox" / "0.png", 1)
    with pytest.raises(ValueError, match=rf"{part} has classes that train lacks: fox\. .*cat, dog"):
        load_dataset(folder, size=8)


def test_what_lies_about_in_a_folder_of_holiday_pictures_does_no_harm(tmp_path):
    folder = pets(tmp_path / "pets", {"train": {"cat": 4, "dog": 4}, "test": {"cat": 1}})
    cat = folder / "train" / "cat"
    for litter in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", "notes.txt", "boxes.xml"):
        (cat / litter).write_bytes(b"no image")
    (folder / "train" / "labels.csv").write_text("no class")
    for hidden in (".ipynb_checkpoints", "__MACOSX"):
        solid(folder / "train" / hidden / "0.png", 5)
        solid(cat / hidden / "0.png", 5)
    solid(cat / "DSC_0001.JPG", 40)
    solid(cat / "Été 2024" / "Plage à midi.Png", 41)
    solid(Path(os.fsdecode(os.fsencode(cat) + b"/\xff\xfe.png")), 42)
    solid(tmp_path / "elsewhere" / "0.png", 43)
    (cat / "linked").symlink_to(tmp_path / "elsewhere")
    (cat / "5.png").symlink_to(cat / "3.png")
    loaded = load_dataset(folder, size=8, val_fraction=0.1)
    assert loaded.classes == ("cat", "dog")
    assert counts(loaded.train) == [8, 3]
    assert counts(loaded.val) == [1, 1]


def test_a_name_is_the_same_with_its_accent_in_one_code_point_or_two(tmp_path):
    name = unicodedata.normalize("NFC", "Bärenkäfer")
    folder = pets(tmp_path / "bugs", {"train": {name: 2, "ant": 2}})
    solid(folder / "test" / unicodedata.normalize("NFD", name) / "0.png", 7)
    loaded = load_dataset(folder, size=8)
    assert loaded.classes == (name, "ant")
    assert loaded.test.labels.tolist() == [0]


def test_of_every_class_one_image_is_left_to_train_on(tmp_path):
    folder = pets(tmp_path / "pets", {"train": {"cat": 2, "dog": 3}, "test": {"cat": 1}})
    loaded = load_dataset(folder, size=8, val_fraction=0.99)
    assert counts(loaded.train) == [1, 1]
    assert counts(loaded.val) == [1, 2]


def test_a_single_image_of_a_class_needs_a_folder_val(tmp_path):
    folder = pets(tmp_path / "pets", {"train": {"cat": 3, "dog": 1}, "test": {"cat": 1}})
    with pytest.raises(ValueError, match=r"train/dog holds a single image.* val beside train"):
        load_dataset(folder, size=8)
    solid(folder / "val" / "dog" / "0.png", 1)
    assert counts(load_dataset(folder, size=8).train) == [3, 1]


SPOILS = {
    "an empty class": (
        lambda pets: (pets / "train/fox").mkdir(),
        ValueError,
        r"train/fox holds no images: add some or remove the folder",
    ),
    "a class of notes": (
        lambda pets: solid(pets / "train/fox/0.png", 1).rename(pets / "train/fox/0.txt"),
        ValueError,
        r"train/fox holds no images",
    ),
    "no classes": (
        lambda pets: [shutil.rmtree(pets / "train" / name) for name in ("cat", "dog")],
        ValueError,
        r"train has no classes: give at least two",
    ),
    "a level too many": (
        lambda pets: [
            (pets / "train").rename(pets / "inner"),
            (pets / "train").mkdir(),
            (pets / "inner").rename(pets / "train" / "train"),
        ],
        ValueError,
        r"train has the single class train: give at least two",
    ),
    "an empty test": (
        lambda pets: [shutil.rmtree(pets / "test" / name) for name in ("cat", "dog")],
        ValueError,
        r"test holds no images: put some in test/<class>",
    ),
    "an empty val": (
        lambda pets: (pets / "val").mkdir(),
        ValueError,
        r"val holds no images",
    ),
    "no test": (
        lambda pets: shutil.rmtree(pets / "test"),
        FileNotFoundError,
        r"test is missing: a folder of images needs",
    ),
    "a file for a part": (
        lambda pets: (pets / "val").write_bytes(b"PK"),
        NotADirectoryError,
        r"pets/val",
    ),
    "another name of val": (
        lambda pets: shutil.copytree(pets / "test", pets / "valid"),
        ValueError,
        r"valid would not be used: rename it to val",
    ),
    "an image in no class": (
        lambda pets: solid(pets / "train/stray.jpg", 1),
        ValueError,
        r"train/stray\.jpg lies in no class folder: move it to .*train/<class>/",
    ),
    "an image of a kind not read": (
        lambda pets: (pets / "train/cat/IMG_1.HEIC").write_bytes(b"ftypheic"),
        ValueError,
        r"cat/IMG_1\.HEIC is of a kind that is not read: save it as PNG or JPEG",
    ),
    "a link to nothing": (
        lambda pets: (pets / "train/cat/gone.png").symlink_to(pets / "nowhere.png"),
        ValueError,
        r"cat/gone\.png is no file, or a link to none",
    ),
    "a pipe": (
        lambda pets: os.mkfifo(pets / "train/cat/pipe.png"),
        ValueError,
        r"cat/pipe\.png is no file",
    ),
    "a folder in itself": (
        lambda pets: (pets / "train/cat/again").symlink_to(pets / "train"),
        ValueError,
        r"cat/again links to a folder that holds it",
    ),
    "two folders in each other": (
        lambda pets: [
            (pets / "train/cat/there").symlink_to(pets / "train/dog"),
            (pets / "train/dog/back").symlink_to(pets / "train/cat"),
        ],
        ValueError,
        r"back links to a folder that holds it",
    ),
}


@pytest.mark.parametrize(("spoil", "error", "message"), SPOILS.values(), ids=SPOILS)
def test_a_folder_that_cannot_serve_is_refused_before_an_image_is_decoded(
    tmp_path, monkeypatch, spoil, error, message
):
    folder = pets(tmp_path / "pets")
    spoil(folder)
    monkeypatch.setattr(folders, "decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(error, match=message):
        load_dataset(folder, size=8)


def test_a_folder_that_cannot_be_read_is_named():
    with tempfile.TemporaryDirectory() as top:
        folder = pets(Path(top) / "pets")
        for path in (Path(top), *Path(top).rglob("*")):
            os.chown(path, NOBODY, -1)
        hidden = folder / "train" / "dog"
        hidden.chmod(0)
        with ordinary_user(), pytest.raises(PermissionError, match="train/dog"):
            load_dataset(folder, size=8)
        hidden.chmod(0o755)


def test_a_bare_name_is_looked_for_under_the_data_folder_and_no_path_is(tmp_path, monkeypatch):
    pets(tmp_path / "data" / "pets")
    pets(tmp_path / "secret")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert load_dataset("pets", size=8).name == "pets"
    for name in ("data/pets", "pets/../../secret", "", "fox"):
        with pytest.raises(FileNotFoundError, match=rf"no data set '{name}'.*PRUNEKIT_DATA"):
            load_dataset(name, size=8)


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pets.zip").write_bytes(b"PK")
    for name in ("pets.zip", tmp_path / "data" / "pets.zip"):
        with pytest.raises(NotADirectoryError, match=r"pets\.zip is a file: give a folder"):
            load_dataset(name, size=8)


def test_the_current_folder_lends_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(pets(tmp_path / "pets"))
    assert load_dataset(".", size=8).name == "pets"


def test_a_link_lends_its_name(tmp_path):
    """Chapters ask by name whether they run on CIFAR-10."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar10").symlink_to(pets(tmp_path / "somewhere"))
    assert load_dataset("cifar10", download=False, stand_in=False).name == "cifar10"
