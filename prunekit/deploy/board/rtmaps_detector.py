"""An RTMaps Python component: camera images in, boxes of objects out.

Load it in RTMaps Studio with the Python component, from an unpacked bundle.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import rtmaps.types

sys.path.insert(0, str(Path(__file__).resolve().parent))
from detector import Detector, Found
from rtmaps_bundled import Bundled

NUMBERS, MOST = 5, 100  # of a box, and boxes an image


class rtmaps_python(Bundled):  # the name RTMaps looks for
    """A box is five numbers: x1, y1, x2, y2 in pixels, and the score."""

    def Dynamic(self) -> None:
        super().Dynamic()
        self.add_output("boxes", rtmaps.types.FLOAT32, NUMBERS * MOST)
        self.add_property("least", 0.5)

    def load(self, model: str, folder: str, threads: int) -> Detector:
        return Detector(model, folder, threads, least=self.properties["least"].data)

    def write(self, found: list[Found], ts: int) -> None:
        numbers = [number for one in found[:MOST] for number in (*one.box, one.score)]
        self.outputs["boxes"].write(np.array(numbers, np.float32), ts)
