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
        """The middle square of an image, resized and normalised: float32 (1, 3, size, size)."""
        return self.normalised(self.middle(image))

    @staticmethod
    def middle(image: np.ndarray) -> np.ndarray:
        """The middle square of an image."""
        height, width = checked(image).shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return image[top : top + side, left : left + side]
