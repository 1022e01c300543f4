"""Where the time of a network goes, layer by layer."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from prunekit.deploy.engines import onnx_session
from prunekit.deploy.export import INPUT
from prunekit.measure import profile


def layer_times(
    model: nn.Module, onnx: str | Path, image: np.ndarray, *, repeats: int = 200
) -> pd.DataFrame:
    """Time each convolution inside ONNX Runtime, beside its MACs.

    Parameters
    ----------
    model
        The network that ``onnx`` was exported from, without quantisation.
    image
        One input, float32 of shape (1, 3, height, width).
    repeats
        Runs of which each layer's median is taken.

    Returns
    -------
    DataFrame with a row a convolution, in order of execution, and a last row
    ``everything else`` (pooling, concatenation, changes of layout):
    ``layer``, ``macs``, ``parameters``, ``ms``.

    Raises
    ------
    ValueError
        The file is not that of this model.
    """
    with tempfile.TemporaryDirectory() as scratch:
        session = onnx_session(onnx, profile_prefix=f"{scratch}/profile")
        for _ in range(repeats):
            session.run(None, {INPUT: image})
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    nodes = pd.DataFrame(
        [
            {"node": event["name"].removesuffix("_kernel_time"), "ms": event["dur"] / 1e3}
            for event in events
            if event["cat"] == "Node" and event["name"].endswith("_kernel_time")
        ]
    )
    medians = nodes.groupby("node", sort=False)["ms"].median()
    layers = profile(model, torch.from_numpy(image)).layers
    layers = layers[layers["type"] == "Conv2d"]
    number = {node: _convolution(node) for node in medians.index}
    found = {index: node for node, index in number.items() if index is not None}
    if sorted(found) != list(range(len(layers))):
        raise ValueError(f"{onnx} has {len(found)} convolutions, the model {len(layers)}")
    rows = [
        {
            "layer": layer.layer,
            "macs": layer.macs,
            "parameters": layer.parameters,
            "ms": medians[found[index]],
        }
        for index, layer in enumerate(layers.itertuples())
    ]
    rest = float(medians[[node for node in medians.index if number[node] is None]].sum())
    rows.append({"layer": "everything else", "macs": 0, "parameters": 0, "ms": rest})
    return pd.DataFrame(rows)


def _convolution(node: str) -> int | None:
    """The exporter numbers convolutions in the order in which the model calls them."""
    match = re.fullmatch(r"node_conv2d(?:_(\d+))?(?:_nchwc)?", node)
    return int(match[1] or 0) if match else None
