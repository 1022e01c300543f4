"""Every criterion has a name, a colour and a marker of its own, wherever it is drawn."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from prunekit.book.plots.criteria import colour_of, label_of, looks_of
from prunekit.criteria import CRITERIA, Random

#: How eyes without one kind of cone see linear RGB: Machado, Oliveira and Fernandes (2009).
EYES = {
    "all cones": np.eye(3),
    "no long": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no middle": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no short": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def seen(colour: str, eyes: str) -> np.ndarray:
    """The colour in CIELAB, in which distances are about those that people see."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(EYES[eyes]) @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_distances_are_those_of_people():
    assert np.linalg.norm(seen("#ff0000", "all cones") - seen("#00ff00", "all cones")) > 100
    red, green = (seen(colour, "no middle") for colour in ("#c06000", "#808000"))
    assert np.linalg.norm(red - green) < 15


def test_every_criterion_has_a_name_for_people():
    labels = [label_of(name) for name in CRITERIA]
    assert len(set(labels)) == len(CRITERIA)
    assert not any("_" in label for label in labels)


@pytest.mark.parametrize("eyes", EYES)
def test_no_two_criteria_look_alike_to_anyone(eyes):
    for one, other in combinations(CRITERIA, 2):
        distance = np.linalg.norm(seen(colour_of(one), eyes) - seen(colour_of(other), eyes))
        assert distance > 15, (one, other)
    assert len({look.marker for look in looks_of(CRITERIA).values()}) == len(CRITERIA)


@pytest.mark.parametrize("name", CRITERIA)
def test_colours_stand_out_from_the_page(name):
    assert np.linalg.norm(seen(colour_of(name), "all cones") - seen("white", "all cones")) > 40


def test_a_criterion_of_a_readers_own_looks_like_no_other(monkeypatch):
    for name in ("largest_value", "smallest_value"):
        monkeypatch.setitem(CRITERIA, name, Random())
    looks = looks_of(CRITERIA)
    assert looks["largest_value"].label == "largest value"
    assert len({look.colour for look in looks.values()}) == len(CRITERIA)
    assert colour_of("largest_value") == looks["largest_value"].colour


def test_variants_that_are_no_criteria_keep_clear_of_those_shown():
    looks = looks_of(["taylor", "one_shot", "taylor", "step_32", "activation_l2"])
    assert list(looks) == ["taylor", "one_shot", "step_32", "activation_l2"]
    assert looks["one_shot"].label == "one shot"
    assert len({look.colour for look in looks.values()}) == 4
    assert looks["taylor"].colour == colour_of("taylor")


def test_there_is_a_look_for_more_names_than_colours():
    names = [f"variant {i}" for i in range(40)]
    assert list(looks_of(names)) == names
