"""An RTMaps Python component: camera images in, boxes of objects out, and the images with them.

Load it in RTMaps Studio with the Python component, from an unpacked bundle.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import rtmaps.types

sys.path.insert(0, str(Path(__file__).resolve().parent))
from detector import Detector, Found
from rtmaps_bundled import Bundled
from video import draw

NUMBERS, MOST = 5, 100  # of a box, and boxes an image


class rtmaps_python(Bundled):  # the name RTMaps looks for
    """Boxes of objects, their classes, and the image with the boxes drawn in.

    A box is five numbers of ``boxes``: x1, y1, x2, y2 in pixels, and the score. In the
    same order ``classes`` says of each box which of the manifest's classes it is, from 0.
    ``annotated`` is the image as ``video.py`` draws it, for which OpenCV must be there;
    without it, set the property ``draw`` to false.
    """

    def Dynamic(self) -> None:
        super().Dynamic()
        self.add_output("boxes", rtmaps.types.FLOAT32, NUMBERS * MOST)
        self.add_output("classes", rtmaps.types.INTEGER32, MOST)
        self.add_output("annotated", rtmaps.types.IPL_IMAGE)
        self.add_property("least", 0.5)
        self.add_property("draw", True)

    def Birth(self) -> None:
        super().Birth()
        self.images, self.begin = 0, time.perf_counter()

    def load(self, model: str, folder: str, threads: int) -> Detector:
        return Detector(model, folder, threads, least=self.properties["least"].data, most=MOST)

    def write(self, found: list[Found], image: np.ndarray, ts: int) -> None:
        numbers = [number for one in found for number in (*one.box, one.score)]
        classes = [self.network.classes.index(one.name) for one in found]
        self.outputs["boxes"].write(np.array(numbers, np.float32), ts)
        self.outputs["classes"].write(np.array(classes, np.int32), ts)
        self.images += 1
        if self.properties["draw"].data:
            self.outputs["annotated"].write(self.annotated(found, image, ts))

    def annotated(self, found: list[Found], image: np.ndarray, ts: int) -> rtmaps.types.Ioelt:
        """A copy of the image with the boxes, and with the images a second since Birth."""
        frame = image[..., ::-1].copy()  # OpenCV's order
        draw(frame, found, self.images / (time.perf_counter() - self.begin))
        element = rtmaps.types.Ioelt()
        element.data = rtmaps.types.IplImage()
        element.data.color_model, element.data.channel_seq = "COLR", "BGR"
        element.data.image_data = frame
        element.ts = ts
        return element
