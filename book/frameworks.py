"""Read the newest release of every framework in frameworks.md from PyPI into frameworks.csv.

python book/frameworks.py
"""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from urllib.request import urlopen

import pandas as pd

from prunekit.storage.files import write_table

TABLE = Path(__file__).with_suffix(".csv")
PACKAGES = {
    "TensorFlow": "tensorflow",
    "Keras": "keras",
    "Theano": "Theano",
    "PyTorch": "torch",
    "JAX": "jax",
    "Flax": "flax",
    "ONNX": "onnx",
    "ONNX Runtime": "onnxruntime",
    "ExecuTorch": "executorch",
    "LiteRT": "ai-edge-litert",
    "LiteRT Torch": "litert-torch",
    "TensorFlow Model Optimization": "tensorflow-model-optimization",
    "torchao": "torchao",
    "Torch-Pruning": "torch-pruning",
    "NNI": "nni",
}


def newest(package: str) -> tuple[str, date]:
    """Version and the day of its last upload."""
    with urlopen(f"https://pypi.org/pypi/{package}/json", timeout=60) as answer:
        project = json.load(answer)
    uploads = [datetime.fromisoformat(file["upload_time_iso_8601"]) for file in project["urls"]]
    return project["info"]["version"], max(uploads).date()


def main() -> None:
    rows = [(project, package, *newest(package)) for project, package in PACKAGES.items()]
    table = pd.DataFrame(rows, columns=["Project", "Package", "Version", "Released"])
    write_table(table, TABLE)


if __name__ == "__main__":
    main()
