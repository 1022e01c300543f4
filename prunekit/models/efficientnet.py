"""EfficientNet-Lite0, made for machines without floating point, as timm builds it."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from prunekit.extras import need
from prunekit.models.weights import weights_file

EFFICIENTNET_LITE0_FILE = "efficientnet_lite0_imagenet.safetensors"
CLASSES, HEAD = 1000, "classifier."


def efficientnet_lite0(
    num_classes: int = 10, *, pretrained: bool = False, path: str | Path | None = None
) -> nn.Module:
    """timm's ``tf_efficientnet_lite0`` with a classifier of ``num_classes`` scores.

    An EfficientNet (Tan and Le 2019) without squeeze and excitation, and with
    ReLU6 in place of SiLU, so that it can be quantised. With ten classes it has
    3,383,818 parameters. Its convolutions pad by the size of what comes in: give
    :func:`prunekit.save` the ``example_inputs``.

    Parameters
    ----------
    pretrained
        Every layer starts from weights trained on ImageNet, the classifier only
        where it has ImageNet's 1,000 classes.
    path
        A safetensors file of them under timm's names. By default it is looked
        for under the name ``efficientnet_lite0_imagenet.safetensors`` in the
        folder that the environment variable ``PRUNEKIT_WEIGHTS`` names.

    Raises
    ------
    ImportError
        timm is not installed.
    FileNotFoundError
        There is no such file, or no path was given and ``PRUNEKIT_WEIGHTS``
        is not set.
    ValueError
        The file is damaged, or holds other weights.

    Examples
    --------
    >>> sum(p.numel() for p in efficientnet_lite0().parameters())
    3383818
    """
    model: nn.Module = need("timm", "timm").create_model(
        "tf_efficientnet_lite0", num_classes=num_classes
    )
    if not pretrained:
        return model
    path = weights_file(EFFICIENTNET_LITE0_FILE, path)
    own = model.state_dict()
    try:
        state = load_file(path)
        head = {} if num_classes == CLASSES else {k: own[k] for k in own if k.startswith(HEAD)}
        model.load_state_dict(state | head)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} does not hold EfficientNet-Lite0: {error}") from error
    return model
