"""From a camera image to a class and a score, with onnxruntime and numpy alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


class Classifier:
    """A network of a bundle, fed with camera images of any size.

    Parameters
    ----------
    model
        Name of a model in the bundle's manifest, such as ``"pruned-int8"``.
    folder
        The unpacked bundle; by default the folder of this file.
    """

    def __init__(self, model: str, folder: str | Path = HERE, threads: int = 1) -> None:
        import onnxruntime as ort

        folder = Path(folder)
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        models = {entry["name"]: entry for entry in manifest["models"]}
        if model not in models:
            raise ValueError(f"no model {model!r} in {folder}; there are {', '.join(models)}")
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        self.session = ort.InferenceSession(
            str(folder / models[model]["onnx"]["file"]),
            settings,
            providers=["CPUExecutionProvider"],
        )
        self.input = self.session.get_inputs()[0].name
        self.classes = manifest["classes"]
        self.size = manifest["shape"][-1]
        self.mean = np.array(manifest["mean"], np.float32)
        self.std = np.array(manifest["std"], np.float32)

    def __call__(self, image: np.ndarray) -> tuple[str, float]:
        """The class and its probability for a uint8 RGB image of shape (height, width, 3)."""
        scores = self.session.run(None, {self.input: self.prepare(image)})[0][0]
        probabilities = np.exp(scores - scores.max())
        best = int(scores.argmax())
        return self.classes[best], float(probabilities[best] / probabilities.sum())

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """The middle square of an image, resized and normalised: float32 (1, 3, size, size)."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"an image must be uint8 of shape (height, width, 3), not {image.dtype} "
                f"{image.shape}"
            )
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        square = image[top : top + side, left : left + side].astype(np.float32) / 255
        resize = _bilinear(side, self.size)
        resized = np.einsum("oi,ijc,pj->opc", resize, square, resize, optimize=True)
        return ((resized - self.mean) / self.std).transpose(2, 0, 1)[None].astype(np.float32)


def _bilinear(side: int, size: int) -> np.ndarray:
    """Weights of shape (size, side) that resize one axis; a shrinking one is averaged as well."""
    scale = side / size
    width = max(scale, 1.0)
    centres = (np.arange(size)[:, None] + 0.5) * scale - 0.5
    places = np.arange(side)[None]
    if width == 1.0:
        centres = centres.clip(0, side - 1)
    weights = np.maximum(0, 1 - np.abs(centres - places) / width)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
