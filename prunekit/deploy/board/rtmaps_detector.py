"""An RTMaps Python component: camera images in, boxes of objects out.

Load it in RTMaps Studio with the Python component, from an unpacked bundle.
It needs onnxruntime and numpy in the Python that RTMaps uses.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import rtmaps.core as rt
import rtmaps.reading_policy
import rtmaps.types
from rtmaps.base_component import BaseComponent

sys.path.insert(0, str(Path(__file__).resolve().parent))
from detector import Detector

NUMBERS, MOST = 5, 100  # of a box, and boxes an image


class rtmaps_python(BaseComponent):  # the name RTMaps looks for
    def __init__(self) -> None:
        BaseComponent.__init__(self)
        # Always the newest image: one that comes while the network computes is passed over.
        self.force_reading_policy(rtmaps.reading_policy.SAMPLING)
        self.detector: Any = None  # until Birth

    def Dynamic(self) -> None:
        """Declare inputs, outputs and properties."""
        self.add_input("image", rtmaps.types.IPL_IMAGE)
        self.add_output("boxes", rtmaps.types.FLOAT32, NUMBERS * MOST)
        self.add_property("bundle", str(Path(__file__).resolve().parent))
        self.add_property("model", "pruned-int8")
        self.add_property("threads", 1)
        self.add_property("least", 0.5)

    def Birth(self) -> None:
        """Load the network once, before the first image."""
        folder, model = self.properties["bundle"].data, self.properties["model"].data
        threads, least = self.properties["threads"].data, self.properties["least"].data
        self.detector = Detector(model, folder, threads, least=least)
        rt.report_info(f"{model} of {folder} is loaded")

    def Core(self) -> None:
        """Find the objects of one image; the boxes carry its time stamp.

        A box is five numbers: x1, y1, x2, y2 in pixels, and the score.
        """
        element = self.inputs["image"].ioelt
        pixels = np.asarray(element.data.image_data)
        order = element.data.channel_seq
        if order not in ("RGB", "BGR"):
            rt.report_error(f"images must be RGB or BGR, not {order}")
            return
        try:
            found = self.detector(pixels[..., ::-1] if order == "BGR" else pixels)[:MOST]
        except ValueError as error:
            rt.report_error(str(error))
            return
        numbers = [number for one in found for number in (*one.box, one.score)]
        self.outputs["boxes"].write(np.array(numbers, np.float32), element.ts)

    def Death(self) -> None:
        """Let the network go."""
        self.detector = None
