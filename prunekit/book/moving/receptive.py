"""The receptive field of a cell, through a stack of layers that the reader builds."""

from __future__ import annotations

from prunekit.book.moving.page import MovingFigure

#: The sides of a picture that can be drawn.
SIDES = (8, 32)


def moving_receptive_field(layers: str, *, side: int = 20) -> MovingFigure:
    """A cell of the last map to point at, and all that it sees of the picture and the maps between.

    Parameters
    ----------
    layers
        From the picture upwards, as in ``"conv 3 padding 1, pool 2 stride 2"``: kernel
        size, stride (1 by default) and padding (0 by default). The reader may write others.
    side
        Of the picture in pixels, from 8 to 32: where its slider stands first.

    Raises
    ------
    ValueError
        ``side`` lies outside the slider.
    """
    low, high = SIDES
    if not low <= side <= high:
        raise ValueError(f"side must lie between {low} and {high}, not {side}")
    data = {"layers": layers, "side": side, "sides": [low, high]}
    return MovingFigure("receptive", data, "The figure above follows one cell along one side.")
