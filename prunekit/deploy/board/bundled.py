"""A network of a bundle and the camera images it takes, with onnxruntime and numpy alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


class Network:
    """A network of a bundle, ready to run.

    Parameters
    ----------
    model
        Name of a model in the bundle's manifest, such as ``"pruned-int8"``.
    folder
        The unpacked bundle; by default the folder of this file.
    """

    finds_boxes = False

    def __init__(self, model: str, folder: str | Path = HERE, threads: int = 1) -> None:
        import onnxruntime as ort

        folder = Path(folder)
        manifest = manifest_of(folder)
        models = {entry["name"]: entry for entry in manifest["models"]}
        if model not in models:
            raise ValueError(f"no model {model!r} in {folder}; there are {', '.join(models)}")
        if (manifest["detector"] is not None) != self.finds_boxes:
            raise ValueError(
                f"the models of {folder} find boxes: use detector.py"
                if manifest["detector"]
                else f"the models of {folder} find no boxes: use classifier.py"
            )
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        self.session = ort.InferenceSession(
            str(folder / models[model]["onnx"]["file"]),
            settings,
            providers=["CPUExecutionProvider"],
        )
        self.input = self.session.get_inputs()[0].name
        self.manifest = manifest
        self.classes = manifest["classes"]
        self.size = manifest["shape"][-2:]
        self.mean = np.array(manifest["mean"], np.float32)
        self.std = np.array(manifest["std"], np.float32)

    def outputs(self, image: np.ndarray) -> list[np.ndarray]:
        """What the network gives for a uint8 RGB image of shape (height, width, 3)."""
        return self.session.run(None, {self.input: self.normalised(image)})

    def normalised(self, image: np.ndarray) -> np.ndarray:
        """An image resized to the network's size and normalised: float32 (1, 3, rows, columns)."""
        pixels = image.astype(np.float32) / 255
        rows, columns = map(_bilinear, image.shape[:2], self.size)
        resized = np.einsum("oi,ijc,pj->opc", rows, pixels, columns, optimize=True)
        return ((resized - self.mean) / self.std).transpose(2, 0, 1)[None].astype(np.float32)


def manifest_of(folder: str | Path) -> dict:
    """What a bundle says of itself."""
    return json.loads((Path(folder) / "manifest.json").read_text("utf-8"))


def checked(image: np.ndarray) -> np.ndarray:
    """The image, which is uint8 of shape (height, width, 3)."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"an image must be uint8 of shape (height, width, 3), not {image.dtype} {image.shape}"
        )
    return image


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
