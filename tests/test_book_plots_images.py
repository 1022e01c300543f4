"""Figures of image sets show the pictures, and count them."""

from __future__ import annotations

from unittest.mock import Mock

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figures import legend_names, readable, words

from prunekit.book.plots import images as plots


def test_class_grid_names_a_class_with_too_few_images():
    pictures = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="class b has 1 images, 2"):
        plots.class_grid(pictures, np.array([0, 0, 1]), ("a", "b"), each=2)
    assert not plt.get_fignums()


def test_class_grid_puts_each_picture_in_the_row_of_its_class():
    pictures = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    figure = readable(plots.class_grid(pictures, np.array([1, 0, 1, 0]), ("a", "b"), each=2))
    sheet = figure.axes[0].images[0].get_array()
    assert [int(sheet[10 * r + 4, 10 * c + 4, 0]) for r in (0, 1) for c in (0, 1)] == [1, 3, 0, 2]


def test_class_counts_stack_up_to_all_images():
    counts = pd.DataFrame({"training": [8, 9], "test": [2, 1]}, index=["a", "b"])
    (ax,) = readable(plots.class_counts(counts)).axes
    tops = [bar.get_y() + bar.get_height() for bar in ax.containers[-1]]
    assert tops == [10, 10]
    assert legend_names(ax) == ["training", "test"] and ax.get_ylabel() == "images"
    assert ax.get_ylim()[1] > 10


def test_every_part_of_the_images_is_counted():
    parts = [f"part {i}" for i in range(5)]
    (ax,) = readable(plots.class_counts(pd.DataFrame([[1] * 5], ["a"], parts))).axes
    assert legend_names(ax) == parts
    assert ax.containers[-1][0].get_y() == 4


def test_channel_histograms_are_shares_of_all_pixels():
    pictures = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    pictures[0, :, :, 0] = 255
    (ax,) = readable(plots.channel_histograms(pictures)).axes
    red, green, blue = (line.get_ydata() for line in ax.lines)
    assert legend_names(ax) == ["red", "green", "blue"]
    assert red[0] == red[255] == 0.5 and green[0] == blue[0] == 1
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("value of a pixel", "share of pixels")


def test_picture_rows_may_differ_in_size_but_not_in_number():
    small, large = np.zeros((3, 8, 8, 3)), np.ones((3, 24, 24, 3))
    figure = readable(plots.picture_rows({"32 px": small, "96 px": large}))
    shapes = [ax.images[0].get_array().shape[0] for ax in figure.axes]
    assert shapes == [8] * 3 + [24] * 3
    assert words(figure) == ["32 px", "96 px"]
    with pytest.raises(ValueError):
        plots.picture_rows({"32 px": small, "96 px": large[:2]})


def test_a_film_is_shown_by_its_first_frames(tmp_path, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter(str(tmp_path / "x.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (32, 24))
    for shade in range(8):
        writer.write(np.full((24, 32, 3), 30 * shade, np.uint8))
    writer.release()
    # Not a subclass: OpenCV frees an instance of one by the wrong call, which corrupts memory.
    capture = Mock(wraps=cv2.VideoCapture(str(tmp_path / "x.avi")))
    with monkeypatch.context() as patched:
        patched.setattr(cv2, "VideoCapture", lambda path: capture)
        figure = readable(plots.film(tmp_path / "x.avi"))
    capture.release.assert_called_once_with()
    shades = [ax.images[0].get_array().mean() for ax in figure.axes]
    assert len(shades) == 6 and np.allclose(np.diff(shades), 30, atol=4)
    with pytest.raises(ValueError, match=r"none\.avi has no frame"):
        plots.film(tmp_path / "none.avi")
