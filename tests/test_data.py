"""Image sets, their splits, their cache, and batch-wise augmentation."""

import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from prunekit import data
from prunekit.data import folders


@pytest.fixture
def image_folder(tmp_path, monkeypatch):
    """Two classes of solid grey pictures whose shade tells their number."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for part, count in (("train", 10), ("test", 4)):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / "pets" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                shade = 100 * label + index
                Image.new("RGB", (48, 40), (shade,) * 3).save(folder / f"{index}.png")
    return tmp_path / "pets"


def test_a_folder_of_images_is_split_by_class_and_decoded_to_size(image_folder):
    pets = data.load_dataset(image_folder, size=16, val_fraction=0.2, seed=3)
    assert pets.classes == ("cat", "dog")
    assert pets.train.images.shape == (16, 3, 16, 16)
    assert torch.bincount(pets.val.labels).tolist() == [2, 2]
    shades = [part.images[:, 0, 0, 0].tolist() for part in (pets.train, pets.val)]
    assert sorted(shades[0] + shades[1]) == [*range(10), *range(100, 110)]
    assert not pets.is_stand_in


def test_the_split_depends_on_the_seed_alone(image_folder):
    first, again, other = (data.load_dataset(image_folder, size=8, seed=s) for s in (1, 1, 2))
    assert first.fingerprint() == again.fingerprint()
    assert first.fingerprint() != other.fingerprint()


def test_a_second_load_reads_the_cache_and_a_changed_file_renews_it(image_folder, monkeypatch):
    data.load_dataset(image_folder, size=8)
    with monkeypatch.context() as patched:
        patched.setattr(folders, "decode", lambda *_: pytest.fail("decoded again"))
        data.load_dataset(image_folder, size=8)
    Image.new("RGB", (48, 40), (255, 255, 255)).save(image_folder / "train" / "cat" / "0.png")
    changed = data.load_dataset(image_folder, size=8)
    everything = torch.cat([changed.train.images, changed.val.images])
    assert (everything == 255).all(dim=(1, 2, 3)).sum() == 1


def test_a_run_killed_while_it_writes_the_cache_leaves_no_half_file(image_folder, tmp_path):
    program = (
        "import os, signal; from prunekit import data; from prunekit.storage import files\n"
        "def killed(tensors, path, metadata):\n"
        "    open(path, 'wb').write(b'half'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.save_file = killed\n"
        f"data.load_dataset({str(image_folder)!r}, size=8)"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == -9
    assert len(data.load_dataset(image_folder, size=8).train) == 18


def test_an_image_that_cannot_be_decoded_is_named(image_folder):
    (image_folder / "train" / "dog" / "3.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"dog.3\.png cannot be decoded"):
        data.load_dataset(image_folder, size=8)


def test_a_folder_without_train_or_test_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train is missing"):
        data.load_dataset(tmp_path)


def test_classes_that_differ_between_train_and_test_are_named(image_folder):
    (image_folder / "test" / "dog").rename(image_folder / "test" / "fox")
    with pytest.raises(ValueError, match="lacks: fox"):
        data.load_dataset(image_folder, size=8)


def test_every_image_is_handed_out_once_and_the_seed_fixes_the_order():
    digits = data.load_dataset("digits")
    loader = data.Loader(digits.train, 100, shuffle=True, augment=True)
    assert len(loader) == len(list(loader))
    epochs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        epochs.append([torch.cat(part) for part in zip(*loader, strict=True)])
    assert torch.equal(epochs[0][0], epochs[1][0])
    assert not torch.equal(epochs[0][1], epochs[2][1])
    assert torch.bincount(epochs[0][1]).tolist() == torch.bincount(digits.train.labels).tolist()


def test_images_are_augmented_on_the_device_on_which_they_lie():
    """On ``meta``, which as a GPU does refuses to meet tensors of the CPU."""
    there = data.load_dataset("digits").train[:8].to("meta")
    for x, y in data.Loader(there, 4, size=48, shuffle=True, augment=True):
        assert (x.device.type, y.device.type, tuple(x.shape)) == ("meta", "meta", (4, 3, 48, 48))


def test_a_random_crop_is_a_window_of_the_padded_image():
    torch.manual_seed(0)
    images = torch.randint(1, 256, (50, 3, 8, 8), dtype=torch.uint8)
    padded = torch.nn.functional.pad(images, (2,) * 4)
    windows = padded.unfold(2, 8, 1).unfold(3, 8, 1)
    cropped = data.random_crop(images, 2)
    found = (windows == cropped[:, :, None, None]).all(dim=(1, 4, 5))
    assert (found.flatten(1).sum(1) >= 1).all()
    assert len({tuple(row.nonzero()[0].tolist()) for row in found}) > 10


def test_a_random_flip_mirrors_about_half_and_leaves_the_rest():
    torch.manual_seed(0)
    images = torch.arange(8).expand(400, 3, 8, 8).to(torch.uint8)
    flipped = data.random_flip(images)
    mirrored = (flipped == images.flip(-1)).all(dim=(1, 2, 3))
    assert ((flipped == images).all(dim=(1, 2, 3)) ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_normalised_images_have_imagenets_mean_at_zero():
    mean = torch.tensor(data.IMAGENET_MEAN).mul(255).round().to(torch.uint8)
    x = data.normalise(mean.view(1, 3, 1, 1).expand(1, 3, 4, 4), size=8)
    assert x.shape == (1, 3, 8, 8)
    assert x.abs().max() < 0.01


def test_a_loader_normalises_as_it_is_told_and_its_fingerprint_says_so():
    images = data.load_dataset("digits").test[:8]
    usual = data.Loader(images)
    other = data.Loader(images, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1))
    (x, _) = next(iter(other))
    shares = torch.tensor([0.25, 0.5, 1]).view(3, 1, 1)
    torch.testing.assert_close(x, (images.images / 255 - 0.5) / shares)
    assert other.fingerprint() != usual.fingerprint()


def test_images_that_are_narrow_or_low_are_smoothed_when_they_shrink():
    """Without, a pattern finer than the new pixels shows as one that is not there."""
    stripes = (torch.arange(64) % 2 * 255).to(torch.uint8).view(1, 1, 64, 1)
    x = data.normalise(stripes.expand(1, 3, 64, 16), size=24)
    inner = x[0, 0, 4:-4]
    assert inner.max() - inner.min() < 0.5 / data.IMAGENET_STD[0]


def counted(start: int, count: int) -> data.ImageSet:
    pixels = (torch.arange(count * 48) + start).to(torch.uint8).view(count, 3, 4, 4)
    return data.ImageSet(pixels, torch.arange(count) % 2)


def test_a_fingerprint_is_that_of_earlier_records_and_of_other_machines():
    dataset = data.Dataset("n", ("a", "b"), counted(0, 4), counted(9, 2), counted(5, 3), "")
    assert dataset.fingerprint() == (
        "2733cde15c88baf70d2e552a8036b5e60d188e37e886247ff6e2966b96d0e056"
    )
    assert data.Loader(dataset.train, 2, size=8, shuffle=True).fingerprint() == (
        "1f86c60873978c9d8fdf0976ee2ed6e75d7c3a4885b3d6e6dbbecd400cf0944e"
    )


def test_a_fingerprint_covers_images_and_labels_of_every_part():
    parts = {"train": counted(0, 4), "val": counted(9, 2), "test": counted(5, 3)}
    known = {data.Dataset("n", ("a", "b"), **parts, source="").fingerprint()}
    for name, part in parts.items():
        pixels, labels = part.images.clone(), part.labels.clone()
        pixels[-1, -1, -1, -1] += 1
        labels[-1] = 1 - labels[-1]
        for other in (
            data.ImageSet(pixels, part.labels),
            data.ImageSet(part.images, labels),
            part[:-1],
            part[torch.arange(len(part)).flip(0)],
        ):
            known.add(
                data.Dataset("n", ("a", "b"), **parts | {name: other}, source="").fingerprint()
            )
    assert len(known) == 1 + 3 * 4


def test_the_fingerprint_of_a_loader_changes_with_all_that_changes_its_batches():
    images = counted(0, 6)
    usual = {"batch_size": 2, "size": 8, "shuffle": True, "augment": True, "flip": True}
    others = (("batch_size", 3), ("size", None), ("shuffle", False), ("augment", False))
    known = {data.Loader(images, **usual).fingerprint()}
    for name, value in (*others, ("flip", False)):
        known.add(data.Loader(images, **usual | {name: value}).fingerprint())
    for other in (images[:-1], images[[1, 0, 2, 3, 4, 5]], counted(1, 6)):
        known.add(data.Loader(other, **usual).fingerprint())
    wider = data.ImageSet(images.images.reshape(6, 3, 2, 8), images.labels)
    known.add(data.Loader(wider, **usual).fingerprint())
    assert len(known) == 10


def test_the_fingerprint_of_a_loader_does_not_change_with_what_leaves_its_batches_alone():
    images = counted(0, 6)
    strided = data.ImageSet(
        images.images.contiguous(memory_format=torch.channels_last), images.labels
    )
    one, same = data.Loader(images, 2), data.Loader(strided, 2, flip=False)
    list(one)
    assert one.fingerprint() == same.fingerprint()


def test_a_loader_that_must_not_flip_only_crops():
    """A bright left edge, which no crop by an eighth can bring to the right."""
    pixels = torch.zeros(64, 3, 16, 16, dtype=torch.uint8)
    pixels[..., :4] = 255
    images = data.ImageSet(pixels, torch.zeros(64, dtype=torch.int64))

    def right_edges(**options):
        x = next(iter(data.Loader(images, 64, augment=True, **options)))[0]
        return (x[:, 0, :, 8:] > 0).flatten(1).any(1)

    torch.manual_seed(0)
    assert not right_edges(flip=False).any()
    assert 10 < right_edges().sum() < 54
