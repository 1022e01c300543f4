"""Where the time of a network goes, layer by layer."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from prunekit.deploy.engines import onnx_session
from prunekit.deploy.export import INPUT
from prunekit.extras import need
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
    number = _convolutions(onnx)
    medians = nodes.groupby("node", sort=False)["ms"].median()
    medians.index = medians.index.str.removesuffix("_nchwc").map(lambda name: number.get(name, -1))
    medians = medians.groupby(level=0).sum()
    layers = profile(model, torch.from_numpy(image)).layers
    layers = layers[layers["type"] == "Conv2d"].reset_index(drop=True)
    if medians.index[medians.index >= 0].tolist() != list(range(len(layers))):
        raise ValueError(f"the convolutions of {onnx} are not those of the model")
    times = layers[["layer", "macs", "parameters"]].assign(ms=medians)
    rest = {"layer": "everything else", "macs": 0, "parameters": 0, "ms": medians.get(-1, 0.0)}
    return pd.concat([times, pd.DataFrame([rest])], ignore_index=True)


def _convolutions(path: str | Path) -> dict[str, int]:
    """The number of each convolution, by every name that its node may have after fusing.

    They are numbered in the order of the graph, which is that in which the
    model calls its layers; ONNX Runtime may run them in another. A fused node
    keeps the name of the convolution or gets that of the activation's output.
    """
    graph = need("onnx", "deploy").load(str(path)).graph
    names: dict[str, int] = {}
    for number, node in enumerate(n for n in graph.node if n.op_type == "Conv"):
        after = [n for n in graph.node if n.op_type == "Relu" and n.input[0] == node.output[0]]
        for part in (node, *after):
            names |= {part.name: number, part.output[0]: number}
    return names
