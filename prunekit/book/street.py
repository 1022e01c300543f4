"""A detector and its pictures: the trained one on photographs, or a small one on drawn people."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from prunekit.detection import (
    BoxLoader,
    BoxSet,
    SSDLite,
    detection_loss,
    draw_people,
    load_voc,
    pedestrian_detector,
    tiny_ssdlite,
)
from prunekit.training import fit

DRAWN = {"train": 256, "val": 96, "test": 96}  # pictures
NOTICE = (
    "**Drawn people.** {why} So a small detector, trained here in seconds, looks at pictures that "
    "the computer has drawn. All that follows is computed for it; only what was recorded is of the "
    "real one."
)


@dataclass(frozen=True)
class Street:
    """A trained detector and pictures for it.

    Attributes
    ----------
    model : SSDLite
    pictures : dict
        ``"train"``, ``"val"`` and ``"test"``.
    notice : str
        In Markdown, why it is not the real one; empty where it is.
    """

    model: SSDLite
    pictures: dict[str, BoxSet]
    notice: str = ""

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return self.pictures["train"].images.shape[-1]

    @property
    def example_inputs(self) -> Tensor:
        return torch.zeros(1, 3, self.size, self.size)

    def loader(self, part: str, limit: int | None = None, batch_size: int = 16) -> BoxLoader:
        """Batches of one part, or of ``limit`` pictures that are spread evenly over it."""
        pictures = self.pictures[part]
        if limit is not None and limit < len(pictures):
            pictures = pictures[torch.linspace(0, len(pictures) - 1, limit).round().long()]
        return BoxLoader(pictures, batch_size)


def street(*, small: bool = False) -> Street:
    """The pedestrian detector and the data set ``streets``, where both are there.

    Elsewhere, and with ``small``, a tiny detector is trained on drawn people.
    The notice names what is missing.
    """
    if small:
        return _drawn("This is the smallest of the book's profiles.")
    try:
        model = pedestrian_detector()
        return Street(model, {part: load_voc("streets", part) for part in DRAWN})
    except FileNotFoundError as error:
        return _drawn(f"The detector or its photographs are not here: {error}.")


def _drawn(why: str) -> Street:
    pictures = {
        part: draw_people(count, seed=seed) for seed, (part, count) in enumerate(DRAWN.items())
    }
    torch.manual_seed(0)
    model = tiny_ssdlite()
    fit(
        model,
        BoxLoader(pictures["train"], 8, shuffle=True),
        loss=partial(detection_loss, anchors=model.anchors),
        epochs=6,
        lr=0.1,
        clip_norm=20,
        progress=False,
    )
    return Street(model.eval(), pictures, NOTICE.format(why=why))
