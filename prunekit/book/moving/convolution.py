"""A convolution whose window the reader moves: kernel size, stride, padding and position."""

from __future__ import annotations

import numpy as np

from prunekit.book.moving.page import MovingFigure

SLIDERS = (
    ("W", "input side W", 4, 9),
    ("F", "kernel size F", 1, 5),
    ("S", "stride S", 1, 4),
    ("P", "padding P", 0, 2),
)


def moving_convolution(
    *, side: int = 7, kernel: int = 3, stride: int = 2, padding: int = 1, seed: int = 0
) -> MovingFigure:
    """Sliders for the input side, kernel size, stride, padding and position of one window.

    Parameters
    ----------
    side, kernel, stride, padding
        Where the sliders start: W in 4..9, F in 1..5, S in 1..4 and P in 0..2.
    seed
        Of the digits from 0 to 9 that stand for pixels.

    Raises
    ------
    ValueError
        A starting value lies outside its slider.

    Examples
    --------
    >>> moving_convolution(stride=1).data["sliders"][2]
    {'name': 'S', 'label': 'stride S', 'min': 1, 'max': 4, 'value': 1}
    """
    sliders = []
    starts = side, kernel, stride, padding
    for (name, label, low, high), start in zip(SLIDERS, starts, strict=True):
        if not low <= start <= high:
            raise ValueError(f"{label} must lie between {low} and {high}, not {start}")
        sliders.append({"name": name, "label": label, "min": low, "max": high, "value": start})
    most = SLIDERS[0][3]
    pixels = np.random.default_rng(seed).integers(0, 10, (most, most)).tolist()
    still = "The figures above and below show single positions."
    return MovingFigure("convolution", {"pixels": pixels, "sliders": sliders}, still)
