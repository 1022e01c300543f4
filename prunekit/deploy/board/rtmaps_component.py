"""An RTMaps Python component: camera images in, class and score out.

Load it in RTMaps Studio with the Python component, from an unpacked bundle.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import rtmaps.types

sys.path.insert(0, str(Path(__file__).resolve().parent))
from classifier import Classifier
from rtmaps_bundled import Bundled


class rtmaps_python(Bundled):  # the name RTMaps looks for
    def Dynamic(self) -> None:
        super().Dynamic()
        self.add_output("class", rtmaps.types.TEXT_ASCII, 64)
        self.add_output("score", rtmaps.types.FLOAT32)

    def load(self, model: str, folder: str, threads: int) -> Classifier:
        return Classifier(model, folder, threads)

    def write(self, found: tuple[str, float], image: np.ndarray, ts: int) -> None:
        name, score = found
        self.outputs["class"].write(name, ts)
        self.outputs["score"].write(score, ts)
