"""From a camera image to boxes with scores, with onnxruntime and numpy alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bundled import HERE, Network, checked


class Found(NamedTuple):
    """An object: its class, its score, and its corners (x1, y1, x2, y2) in pixels."""

    name: str
    score: float
    box: tuple[float, float, float, float]


class Decoder:
    """From the numbers that a detector gives for an image to boxes, by numpy.

    Parameters
    ----------
    facts
        What a manifest says of its ``detector``: anchors, scales of offsets, and the overlap
        above which the less likely box of two goes.
    least
        Boxes of a lower score are not looked at.
    most
        How many boxes an image may have, the likeliest.
    """

    def __init__(self, facts: dict, least: float = 0.5, most: int = 100) -> None:
        self.anchors, self.scales = np.array(facts["anchors"]), np.array(facts["scales"])
        self.overlap, self.least, self.most = facts["overlap"], least, most

    def __call__(
        self, scores: np.ndarray, offsets: np.ndarray
    ) -> list[tuple[int, float, list[float]]]:
        """Class from 0, score and box, in shares of the image, the likeliest first.

        Parameters
        ----------
        scores
            Before the sigmoid, of shape (anchors, 1 + classes), the background first.
        offsets
            From anchors, of shape (anchors, 4).

        Raises
        ------
        ValueError
            They hold NaN or an infinite offset. No comparison with NaN is true, and so a network
            that is out of order would find nobody.
        """
        if np.isnan(scores).any() or not np.isfinite(offsets).all():
            raise ValueError("the network gives NaN or infinite numbers: there is nothing to find")
        shares = 1 / (1 + np.exp(-scores[:, 1:]))
        places, labels = np.nonzero(shares >= self.least)
        order = np.argsort(-shares[places, labels], kind="stable")
        places, labels = places[order], labels[order]
        # A side grows with the exponential of an offset: an endless box would overlap with none.
        boxes = self._decoded(offsets[places], places).clip(-100, 100)
        inside, kept = boxes.clip(0, 1), self._kept(boxes, labels)
        return [
            (int(labels[k]), float(shares[places[k], labels[k]]), inside[k].tolist()) for k in kept
        ]

    def _decoded(self, offsets: np.ndarray, places: np.ndarray) -> np.ndarray:
        x1, y1, x2, y2 = self.anchors[places].T
        dx, dy, dw, dh = (offsets / self.scales).T
        width, height = x2 - x1, y2 - y1
        x, y = (x1 + x2) / 2 + dx * width, (y1 + y2) / 2 + dy * height
        w, h = width * np.exp(dw) / 2, height * np.exp(dh) / 2
        return np.stack([x - w, y - h, x + w, y + h], 1)

    def _kept(self, boxes: np.ndarray, labels: np.ndarray) -> list[int]:
        """Which of the boxes, sorted by falling score, no likelier one of their class overlaps."""
        x1, y1, x2, y2 = boxes.T
        areas = (x2 - x1) * (y2 - y1)
        left = np.arange(len(boxes))
        kept: list[int] = []
        while len(left) and len(kept) < self.most:
            best, left = left[0], left[1:]
            kept.append(best)
            wide = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left])
            high = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left])
            shared = wide.clip(0) * high.clip(0)
            covered = areas[best] + areas[left] - shared
            goes = (shared > self.overlap * covered) & (labels[left] == labels[best])
            left = left[~goes]
        return kept


class Detector(Network):
    """A detector of a bundle, fed with camera images of any size, which are squashed to a square.

    Parameters
    ----------
    least, most
        As for :class:`Decoder`.
    """

    finds_boxes = True

    def __init__(
        self,
        model: str,
        folder: str | Path = HERE,
        threads: int = 1,
        *,
        least: float = 0.5,
        most: int = 100,
    ) -> None:
        super().__init__(model, folder, threads)
        self.boxes = Decoder(self.manifest["detector"], least, most)
        self.decoding_ms = 0.0  # of the last image

    def __call__(self, image: np.ndarray) -> list[Found]:
        """The objects of a uint8 RGB image of shape (height, width, 3), the likeliest first."""
        height, width = checked(image).shape[:2]
        scores, offsets = self.outputs(image)
        begin = time.perf_counter()
        boxes = self.boxes(scores[0], offsets[0])
        found = [
            Found(self.classes[label], score, (x1 * width, y1 * height, x2 * width, y2 * height))
            for label, score, (x1, y1, x2, y2) in boxes
        ]
        self.decoding_ms = (time.perf_counter() - begin) * 1e3
        return found
