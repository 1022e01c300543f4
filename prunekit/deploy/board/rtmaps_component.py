"""An RTMaps Python component: camera images in, class and score out.

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
from classifier import Classifier


class rtmaps_python(BaseComponent):  # the name RTMaps looks for
    def __init__(self) -> None:
        BaseComponent.__init__(self)
        # Always the newest image: one that comes while the network computes is passed over.
        self.force_reading_policy(rtmaps.reading_policy.SAMPLING)
        self.classifier: Any = None  # until Birth

    def Dynamic(self) -> None:
        """Declare inputs, outputs and properties."""
        self.add_input("image", rtmaps.types.IPL_IMAGE)
        self.add_output("class", rtmaps.types.TEXT_ASCII, 64)
        self.add_output("score", rtmaps.types.FLOAT32)
        self.add_property("bundle", str(Path(__file__).resolve().parent))
        self.add_property("model", "pruned-int8")
        self.add_property("threads", 1)

    def Birth(self) -> None:
        """Load the network once, before the first image."""
        folder, model = self.properties["bundle"].data, self.properties["model"].data
        self.classifier = Classifier(model, folder, self.properties["threads"].data)
        rt.report_info(f"{model} of {folder} is loaded")

    def Core(self) -> None:
        """Classify one image; class and score carry its time stamp."""
        element = self.inputs["image"].ioelt
        pixels = np.asarray(element.data.image_data)
        order = element.data.channel_seq
        if order not in ("RGB", "BGR"):
            rt.report_error(f"images must be RGB or BGR, not {order}")
            return
        try:
            name, score = self.classifier(pixels[..., ::-1] if order == "BGR" else pixels)
        except ValueError as error:
            rt.report_error(str(error))
            return
        self.outputs["class"].write(name, element.ts)
        self.outputs["score"].write(score, element.ts)

    def Death(self) -> None:
        """Let the network go."""
        self.classifier = None
