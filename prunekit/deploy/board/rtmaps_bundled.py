"""What the RTMaps components of a bundle share: camera images in, each shown to the network.

It needs onnxruntime and numpy in the Python that RTMaps uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rtmaps.core as rt
import rtmaps.reading_policy
import rtmaps.types
from rtmaps.base_component import BaseComponent


class Bundled(BaseComponent):
    """A component that says by ``load`` which network it runs, and by ``write`` what that found."""

    def __init__(self) -> None:
        BaseComponent.__init__(self)
        # Always the newest image: one that comes while the network computes is passed over.
        self.force_reading_policy(rtmaps.reading_policy.SAMPLING)
        self.network: Any = None  # until Birth

    def Dynamic(self) -> None:
        """Declare inputs, outputs and properties."""
        self.add_input("image", rtmaps.types.IPL_IMAGE)
        self.add_property("bundle", str(Path(__file__).resolve().parent))
        self.add_property("model", "pruned-int8")
        self.add_property("threads", 1)

    def Birth(self) -> None:
        """Load the network once, before the first image."""
        folder, model = self.properties["bundle"].data, self.properties["model"].data
        self.network = self.load(model, folder, self.properties["threads"].data)
        rt.report_info(f"{model} of {folder} is loaded")

    def Core(self) -> None:
        """Show one image to the network; what it finds carries the image's time stamp."""
        element = self.inputs["image"].ioelt
        pixels = np.asarray(element.data.image_data)
        order = element.data.channel_seq
        if order not in ("RGB", "BGR"):
            rt.report_error(f"images must be RGB or BGR, not {order}")
            return
        image = pixels[..., ::-1] if order == "BGR" else pixels
        try:
            found = self.network(image)
        except ValueError as error:
            rt.report_error(str(error))
            return
        self.write(found, image, element.ts)

    def Death(self) -> None:
        """Let the network go."""
        self.network = None

    def load(self, model: str, folder: str, threads: int) -> Any:
        """The network, ready to run."""
        raise NotImplementedError

    def write(self, found: Any, image: np.ndarray, ts: int) -> None:
        """Hand on what the network found in an RGB image of a time stamp."""
        raise NotImplementedError
