"""From a camera image to a class and a score, with onnxruntime and numpy alone."""

from __future__ import annotations

import numpy as np
from bundled import Network, checked


class Classifier(Network):
    """A network of a bundle, fed with camera images of any size."""

    def __call__(self, image: np.ndarray) -> tuple[str, float]:
        """The class and its probability for a uint8 RGB image of shape (height, width, 3)."""
        scores = self.outputs(self.middle(image))[0][0]
        probabilities = np.exp(scores - scores.max())
        best = int(scores.argmax())
        return self.classes[best], float(probabilities[best] / probabilities.sum())

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """The middle of an image, resized and normalised: float32 (1, 3, rows, columns)."""
        return self.normalised(self.middle(image))

    def middle(self, image: np.ndarray) -> np.ndarray:
        """The largest part in the middle that has the proportions of the network's images."""
        height, width = checked(image).shape[:2]
        rows, columns = self.size
        scale = min(height / rows, width / columns)
        tall, wide = round(rows * scale), round(columns * scale)
        top, left = (height - tall) // 2, (width - wide) // 2
        return image[top : top + tall, left : left + wide]
