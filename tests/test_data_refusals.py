"""What ``prunekit.data`` refuses: each wrong input with the words its error must hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prunekit.data import (
    Dataset,
    ImageSet,
    Loader,
    load_dataset,
    normalise,
    random_crop,
    random_flip,
    split,
)

NAN = float("nan")
PIXELS = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
LABELS = torch.tensor([0, 0, 1, 1])
FOUR = ImageSet(PIXELS, LABELS)
NONE = FOUR[:0]
FLOATS = r"not float32 of shape \(4, 3, 8, 8\).*\(images \* 255\)\.round\(\)\.to\(torch\.uint8\)"

IMAGE_SETS = {
    "floats": (PIXELS / 255, LABELS, FLOATS),
    "half": (PIXELS.half(), LABELS, r"not float16 .*images \* 255"),
    "long": (PIXELS.long(), LABELS, r"must be uint8 .*not int64"),
    "signed": (PIXELS.to(torch.int8), LABELS, "not int8"),
    "an array": (PIXELS.numpy(), LABELS, r"images must be a tensor, not ndarray: torch\.as_tensor"),
    "nothing": (None, LABELS, "images must be a tensor, not NoneType"),
    "channels last": (PIXELS.permute(0, 2, 3, 1), LABELS, r"by images\.permute\(0, 3, 1, 2\)"),
    "grey": (PIXELS[:, :1], LABELS, r"by images\.expand\(-1, 3, -1, -1\)"),
    "grey without channels": (PIXELS[:, 0], LABELS, r"not uint8 of shape \(4, 8, 8\)"),
    "four channels": (PIXELS[:, [0, 1, 2, 0]], LABELS, r"not uint8 of shape \(4, 4, 8, 8\)"),
    "one image": (PIXELS[0], LABELS[:1], r"not uint8 of shape \(3, 8, 8\)"),
    "no height": (PIXELS[:, :, :0], LABELS, r"not uint8 of shape \(4, 3, 0, 8\)"),
    "short labels": (PIXELS, LABELS.int(), r"labels must be int64 .*not int32 .*labels\.long\(\)"),
    "float labels": (PIXELS, LABELS.float(), "labels must be int64 .*not float32"),
    "bool labels": (PIXELS, LABELS.bool(), "labels must be int64 .*not bool"),
    "one-hot labels": (PIXELS, torch.eye(4).long(), r"not int64 of shape \(4, 4\)"),
    "a list of labels": (PIXELS, [0, 0, 1, 1], "labels must be a tensor, not list"),
    "a column of labels": (PIXELS, LABELS[:, None], r"not int64 of shape \(4, 1\)"),
    "too few labels": (PIXELS, LABELS[:3], "4 images cannot have 3 labels"),
    "too many labels": (PIXELS[:3], LABELS, "3 images cannot have 4 labels"),
    "negative labels": (PIXELS, LABELS - 100, "label -100 is negative: classes are numbered from"),
    "two devices": (PIXELS, LABELS.to("meta"), "images lie on cpu, labels on meta: move them"),
}


@pytest.fixture(autouse=True)
def _nothing_of_the_users(tmp_path, monkeypatch):
    """What is wrongly accepted must not reach their data or their cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path / "data"))


@pytest.mark.parametrize(("images", "labels", "message"), IMAGE_SETS.values(), ids=IMAGE_SETS)
def test_an_image_set_of_another_kind_is_refused(images, labels, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ImageSet(images, labels)


@pytest.mark.parametrize("index", [0, -1])
def test_a_single_number_is_no_way_into_a_set(index):
    with pytest.raises(TypeError, match=rf"{index} is no slice and no tensor"):
        FOUR[index]


@pytest.mark.parametrize("indices", [slice(1, 3), [1, 2], np.array([1, 2]), LABELS.roll(1) == 0])
def test_slices_lists_arrays_and_masks_lead_into_a_set(indices):
    assert FOUR[indices].labels.tolist() == LABELS[indices].tolist()


def test_a_set_is_not_walked_over():
    """By Python's old protocol it would be, and hand out images without a batch dimension."""
    with pytest.raises(TypeError, match="no slice and no tensor"):
        list(FOUR)


NOT_WHOLE = "must be a whole number, not"
TOO_SMALL = "must be at least 1, not"
NO_FLAG = "must be True or False, not"
LOADERS = [
    *(("batch_size", v, TypeError, NOT_WHOLE) for v in (True, 2.0, 0.5, NAN, "8", None)),
    *(("batch_size", v, ValueError, TOO_SMALL) for v in (0, -1)),
    *(("size", v, TypeError, NOT_WHOLE) for v in (32.0, NAN, True, "32", (32, 32))),
    *(("size", v, ValueError, TOO_SMALL) for v in (0, -32)),
    *(("shuffle", v, TypeError, NO_FLAG) for v in ("no", None, 1)),
    ("augment", "no", TypeError, NO_FLAG),
    ("flip", None, TypeError, NO_FLAG),
]


@pytest.mark.parametrize(("name", "value", "error", "message"), LOADERS)
def test_a_loader_refuses_a_setting_by_name(name, value, error, message):
    with pytest.raises(error, match=f"{name} {message}") as refused:
        Loader(FOUR, **{name: value})
    assert str(refused.value).endswith(f"not {value!r}")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (NONE, "the set of images is empty"),
        (Dataset("four", ("a", "b"), FOUR, FOUR, FOUR, "here"), "an ImageSet, .*not Dataset"),
        (PIXELS, "not Tensor"),
        ((PIXELS, LABELS), "not tuple"),
        (None, "not NoneType"),
    ],
)
def test_a_loader_serves_nothing_but_images(images, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Loader(images)


def test_whole_numbers_of_numpy_and_its_booleans_are_taken():
    loader = Loader(FOUR, np.int64(3), size=np.int32(4), shuffle=np.True_)
    assert [len(y) for _, y in loader] == [3, 1]
    assert loader.fingerprint() == Loader(FOUR, 3, size=4, shuffle=True).fingerprint()


FUNCTIONS = {
    "floats to normalise": (lambda: normalise(PIXELS / 255), FLOATS),
    "a float array to normalise": (lambda: normalise(PIXELS.numpy() / 255), "not ndarray"),
    "one image to normalise": (lambda: normalise(PIXELS[0]), r"not uint8 of shape \(3, 8, 8\)"),
    "a size of nothing": (lambda: normalise(PIXELS, 0), "size must be at least 1, not 0"),
    "one mean for all channels": (
        lambda: normalise(PIXELS, mean=0.5),
        "mean must be three numbers, one a channel, not 0.5",
    ),
    "a deviation of pixels": (
        lambda: normalise(PIXELS, std=(58, 57, 57)),
        "std must be above 0 and at most 1, not 58",
    ),
    "a size that is half": (lambda: normalise(PIXELS, 8.5), "size must be a whole number"),
    "one image to flip": (lambda: random_flip(PIXELS[0]), r"images\[None\] makes a batch of one"),
    "one image to crop": (lambda: random_crop(PIXELS[0], 1), r"not \(3, 8, 8\): images\[None\]"),
    "an array to flip": (lambda: random_flip(PIXELS.numpy()), "must be a tensor, not ndarray"),
    "a negative padding": (
        lambda: random_crop(PIXELS, -1),
        "padding must be at least 0, not -1",
    ),
    "half a padding": (lambda: random_crop(PIXELS, 0.5), "padding must be a whole number"),
    "nothing to split": (lambda: split(NONE, 0.5, 0), "there are no images to split"),
    "one of a class": (lambda: split(FOUR[1:], 0.5, 0), "class 0 has a single image"),
    **{
        f"val_fraction={v!r}": (lambda v=v: split(FOUR, v, 0), "val_fraction must be above 0 and")
        for v in (0, 1, -0.1, 1.5, NAN)
    },
    **{
        f"val_fraction={v!r}": (lambda v=v: split(FOUR, v, 0), "val_fraction must be a number")
        for v in (True, "0.1", None)
    },
    **{
        f"seed={v!r}": (lambda v=v: split(FOUR, 0.5, v), "seed must be a whole number, not ")
        for v in (0.5, None, True, "0", NAN)
    },
}


@pytest.mark.parametrize(("call", "message"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_refuses_what_it_cannot_use(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


LOADS = {
    "no name": (None, {}, "name must be the name of a data set or a path, not None"),
    "a number": (10, {}, "name must be the name of a data set"),
    "bytes": (b"digits", {}, "name must be the name of a data set"),
    "size 0": ("fox", {"size": 0}, "size must be at least 1, not 0"),
    "size 32.0": ("fox", {"size": 32.0}, "size must be a whole number"),
    "size True": ("fox", {"size": True}, "size must be a whole number"),
    "a size of digits": ("digits", {"size": 64}, "digits is 32 pixels wide, not 64: pass size to"),
    "a size of CIFAR-10": ("cifar10", {"size": 96}, "cifar10 is 32 pixels wide, not 96"),
    "nothing held out": ("digits", {"val_fraction": 0}, "val_fraction must be above 0 and"),
    "all held out": ("digits", {"val_fraction": 1.0}, "val_fraction must be above 0 and"),
    "per cent": ("digits", {"val_fraction": 10}, "must be above 0 and below 1, not 10"),
    "NaN held out": ("digits", {"val_fraction": NAN}, "val_fraction must be above 0 and"),
    "half a seed": ("digits", {"seed": 0.5}, "seed must be a whole number, not 0.5"),
    "download": ("digits", {"download": "no"}, "download must be True or False, not 'no'"),
    "stand_in": ("digits", {"stand_in": None}, "stand_in must be True or False, not None"),
}


@pytest.mark.parametrize(("name", "settings", "message"), LOADS.values(), ids=LOADS)
def test_load_dataset_refuses_a_setting_by_name(name, settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        load_dataset(name, **settings)


@pytest.mark.parametrize(
    ("part", "classes", "message"),
    [
        (FOUR, ("a",), "train holds label 1, but the 1 classes are numbered from 0"),
        (PIXELS, ("a", "b"), "train must be an ImageSet, not Tensor"),
    ],
)
def test_a_data_set_has_a_class_for_every_label(part, classes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Dataset("four", classes, part, FOUR, FOUR, "here")
