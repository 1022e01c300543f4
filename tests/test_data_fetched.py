"""Data sets that torchvision fetches: read in its layouts, replaced by the digits, or refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from pictures import solid
from scipy.io import savemat

from prunekit.data import load_dataset, named


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def write_cifar10(folder) -> None:
    place = folder / "cifar-10-batches-py"
    place.mkdir()
    generator = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = generator.integers(0, 256, (20, 3072), dtype=np.uint8)
        (place / name).write_bytes(pickle.dumps({"data": pixels, "labels": [*range(10)] * 2}))
    (place / "batches.meta").write_bytes(pickle.dumps({"label_names": [*"abcdefghij"]}))


def write_svhn(folder) -> None:
    """Images come last, and the digit 0 is called 10. Pixels tell digit and place."""
    (folder / "svhn").mkdir()
    for name, each in (("train", 10), ("test", 2)):
        digits = np.tile(np.arange(1, 11), each)
        pixels = np.zeros((32, 32, 3, len(digits)), dtype=np.uint8)
        pixels[:, :, 2] = digits % 10
        pixels[5, 7, 0] = 100 + digits % 10
        savemat(folder / "svhn" / f"{name}_32x32.mat", {"X": pixels, "y": digits[:, None]})


@pytest.fixture
def not_the_real_ones(monkeypatch):
    """Torchvision knows the sums of the files of each of its data sets."""
    monkeypatch.setattr(named.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    monkeypatch.setattr(named.SVHN, "_check_integrity", lambda self: True)


@pytest.mark.usefixtures("not_the_real_ones")
def test_cifar10_is_read_in_torchvisions_layout(folder):
    write_cifar10(folder)
    cifar = load_dataset("cifar10", download=False, stand_in=False)
    assert (len(cifar.train), len(cifar.val), len(cifar.test)) == (90, 10, 20)
    assert cifar.test.images.shape == (20, 3, 32, 32)
    assert cifar.classes == tuple("abcdefghij")


@pytest.mark.usefixtures("not_the_real_ones")
def test_svhn_is_read_in_torchvisions_layout_and_each_label_is_its_digit(folder):
    write_svhn(folder)
    svhn = load_dataset("svhn", download=False, stand_in=False)
    assert (svhn.name, svhn.classes) == ("svhn", tuple("0123456789"))
    assert [len(part) for part in (svhn.train, svhn.val, svhn.test)] == [90, 10, 20]
    assert sorted(svhn.val.labels.tolist()) == list(range(10))
    for part in (svhn.train, svhn.val, svhn.test):
        assert part.images.shape[1:] == (3, 32, 32) and part.images.is_contiguous()
        assert torch.equal(part.images[:, 2, 0, 0].long(), part.labels)
        assert torch.equal(part.images[:, 0, 5, 7].long(), 100 + part.labels)
        assert not part.images[:, 0, 7, 5].any()


@pytest.mark.usefixtures("not_the_real_ones")
@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_what_is_missing_is_downloaded_first(folder, name, monkeypatch):
    """By torchvision, whose network is replaced."""
    write = {"cifar10": write_cifar10, "svhn": write_svhn}[name]

    def downloads(self):
        if not named.FETCHED[name].is_in(folder):
            write(folder)

    for kind in (named.CIFAR10, named.SVHN):
        monkeypatch.setattr(kind, "download", downloads)
    with pytest.raises(FileNotFoundError, match="PRUNEKIT_DATA"):
        load_dataset(name, download=False, stand_in=False)
    assert load_dataset(name, stand_in=False).name == name


@pytest.mark.parametrize(
    ("name", "place", "files"),
    [
        ("cifar10", "cifar-10-batches-py", ["data_batch_1"]),
        ("svhn", "svhn", ["train_32x32.mat", "test_32x32.mat"]),
    ],
)
def test_a_damaged_download_is_named(folder, name, place, files):
    (folder / place).mkdir()
    for file in files:
        (folder / place / file).write_bytes(b"half")
    with pytest.raises(ValueError, match=rf"{place} is damaged .*: delete it"):
        load_dataset(name)


def test_one_file_of_svhn_is_not_all_of_it(folder):
    """A download that stopped between its two files goes on; nothing is damaged."""
    (folder / "svhn").mkdir()
    (folder / "svhn" / "train_32x32.mat").write_bytes(b"whole")
    assert load_dataset("svhn", download=False).is_stand_in


@pytest.mark.parametrize(("name", "title"), [("cifar10", "CIFAR-10"), ("svhn", "SVHN")])
def test_the_digits_take_the_place_of_what_is_not_there_and_say_so(name, title):
    digits = load_dataset(name, download=False)
    assert digits.name == "digits"
    assert digits.is_stand_in
    assert f"{title} was not found: using scikit-learn's handwritten digits" in digits.notice
    with pytest.raises(FileNotFoundError, match=rf"{title} is not under .*PRUNEKIT_DATA"):
        load_dataset(name, download=False, stand_in=False)


@pytest.mark.parametrize("stand_in", [True, False])
@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_a_download_that_fails_is_made_good_or_told(name, stand_in, monkeypatch):
    def offline(*given, **options):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(named, name.upper(), offline)
    if stand_in:
        assert load_dataset(name).is_stand_in
    else:
        with pytest.raises(
            FileNotFoundError, match=r"could not be downloaded \(no route to host\)"
        ):
            load_dataset(name, stand_in=False)


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_pictures_in_folders_of_that_name_come_first(folder, name):
    for part in ("train", "test"):
        for label in ("one", "two"):
            for number in "ab":
                path = folder / name / part / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                solid(path, 100, (32, 32))
    found = load_dataset(name, download=False, stand_in=False)
    assert (found.name, found.classes, len(found.test)) == (name, ("one", "two"), 4)
