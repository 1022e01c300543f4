"""SSDLite: single-shot detection with depthwise-separable heads (Sandler et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2
from torchvision.ops import Conv2dNormActivation

from prunekit.checks import checked, flag, whole
from prunekit.data.images import IMAGENET_MEAN, IMAGENET_STD
from prunekit.detection.anchors import shapes, ssd_anchors
from prunekit.models import squeezenet

EXTRAS = (512, 256, 256, 128)  # channels of the maps behind the backbone's


def normed(inputs: int, outputs: int, kernel: int = 1, **options: int) -> Conv2dNormActivation:
    """Convolution, batch norm with TensorFlow's epsilon, ReLU6."""
    return Conv2dNormActivation(
        *(inputs, outputs, kernel),
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
        activation_layer=nn.ReLU6,
        **options,
    )


def _head(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(normed(inputs, inputs, 3, groups=inputs), nn.Conv2d(inputs, outputs, 1))


def _extra(inputs: int, outputs: int) -> nn.Sequential:
    """Half as wide by 1x1, filtered at every second place, then as wide as asked."""
    half = outputs // 2
    return nn.Sequential(
        normed(inputs, half), normed(half, half, 3, stride=2, groups=half), normed(half, outputs)
    )


class SSDLite(nn.Module):
    """A chain of stages, each giving a map that two heads read: one for classes, one for boxes.

    The network gives raw numbers, for which the anchors, :func:`decode` and
    :func:`detect` are outside: so it can be traced, pruned and exported like
    any other.

    Parameters
    ----------
    stages
        Each reads what the one before it gives; the first reads the image.
    channels
        Of the map of each stage.
    maps
        Side of the map of each stage, in places.
    classes
        With the background, which is the first.

    Notes
    -----
    ``model(images)`` gives class scores before the sigmoid, of shape (images,
    anchors, classes), and offsets from anchors, of shape (images, anchors, 4).
    ``model.anchors`` are the anchors, of shape (anchors, 4). They are those of
    square images: others can have as many, and boxes would lie elsewhere.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        channels: Sequence[int],
        maps: Sequence[int],
        classes: int,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        places = [len(of_map) for of_map in shapes(len(maps))]
        pairs = list(zip(channels, places, strict=True))
        self.class_heads = nn.ModuleList(_head(width, n * classes) for width, n in pairs)
        self.box_heads = nn.ModuleList(_head(width, n * 4) for width, n in pairs)
        self.maps, self.classes = tuple(maps), classes

    @property
    def anchors(self) -> Tensor:
        return ssd_anchors(self.maps)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, offsets = [], []
        for stage, class_head, box_head in zip(
            self.stages, self.class_heads, self.box_heads, strict=True
        ):
            x = stage(x)
            scores.append(_by_anchor(class_head(x), self.classes))
            offsets.append(_by_anchor(box_head(x), 4))
        return torch.cat(scores, 1), torch.cat(offsets, 1)


def _by_anchor(maps: Tensor, each: int) -> Tensor:
    """From (images, anchors x each, rows, columns) to (images, anchors, each)."""
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, each)


@checked(classes=partial(whole, least=2), size=partial(whole, least=32))
def ssdlite_mobilenet_v2(classes: int = 2, *, size: int = 300) -> SSDLite:
    """SSDLite on MobileNetV2: at 300 pixels 3.1 M parameters, and 1,917 anchors on six maps.

    Heads read the expansion of block 13, the last map of the backbone, and
    four maps behind it. As in TensorFlow's networks of this name, a stride of
    2 over an even number of places pads the far side only ("SAME"), and so
    the network is for images of one size.

    Parameters
    ----------
    classes
        With the background.
    size
        Side of the images in pixels.

    Examples
    --------
    >>> model = ssdlite_mobilenet_v2(size=64)
    >>> scores, offsets = model.eval()(torch.zeros(1, 3, 64, 64))
    >>> scores.shape, offsets.shape, model.maps
    (torch.Size([1, 96, 2]), torch.Size([1, 96, 4]), (4, 2, 1, 1, 1, 1))
    """
    backbone = mobilenet_v2(norm_layer=partial(nn.BatchNorm2d, eps=1e-3)).features
    expand, *rest = backbone[14].conv
    widths = (backbone[18][0].out_channels, *EXTRAS)
    stages = [
        nn.Sequential(*backbone[:14], expand),
        nn.Sequential(*rest, *backbone[15:]),
        *(_extra(*pair) for pair in pairwise(widths)),
    ]
    channels = (expand[0].out_channels, *widths)
    return SSDLite(stages, channels, list(_padded_as_tensorflow(stages, size)), classes)


@checked(classes=partial(whole, least=2), size=partial(whole, least=32), pretrained=flag)
def ssdlite_squeezenet(classes: int = 2, *, size: int = 300, pretrained: bool = False) -> SSDLite:
    """SSDLite on SqueezeNet 1.1: at 300 pixels 1.3 M parameters, and 6,765 anchors on six maps.

    Heads read the backbone's maps of stride 8, where small objects are found,
    and 16, its last, and four maps behind it, each at every second place of
    the one before. Images have values from -1 to 1, as for
    :func:`ssdlite_mobilenet_v2`.

    Parameters
    ----------
    classes
        With the background.
    size
        Side of the images in pixels.
    pretrained
        Start the backbone from torchvision's ImageNet weights, as
        :func:`prunekit.models.squeezenet` finds them. They were trained on
        images normalised otherwise, for which the first convolution makes up.

    Notes
    -----
    This is a reconstruction of ours. The public network of this name, in ``qfgaohao/pytorch-ssd``,
    reads one map of the backbone, that of stride 16, and five extra maps, with boxes of 60 to 330
    pixels at 300. Here small people are looked for at stride 8 as well, so there are two maps of
    the backbone and four extra ones, and anchors have the scales 0.2 to 0.95 of
    :func:`ssd_anchors`, by one rule for all detectors here. Weights from there do not fit, and
    numbers from there are of another network.

    Examples
    --------
    >>> model = ssdlite_squeezenet(size=64)
    >>> scores, offsets = model.eval()(torch.zeros(1, 3, 64, 64))
    >>> scores.shape, offsets.shape, model.maps
    (torch.Size([1, 243, 2]), torch.Size([1, 243, 4]), (7, 3, 2, 1, 1, 1))
    """
    backbone = squeezenet(pretrained=pretrained).features
    if pretrained:
        _take_values_around_zero(backbone[0])
    widths = (512, *EXTRAS)
    stages = [backbone[:8], backbone[8:], *(_extra(*pair) for pair in pairwise(widths))]
    sides = [(size - 1) // 8, (size - 1) // 16]  # its convolution drops the edge, its pooling none
    while len(sides) < len(stages):
        sides.append(-(-sides[-1] // 2))
    return SSDLite(stages, (256, *widths), sides, classes)


def _take_values_around_zero(convolution: nn.Conv2d) -> None:
    """From images normalised as for ImageNet to the same images from -1 to 1, in place.

    Exact, since the convolution pads nothing.
    """
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    weight, bias = convolution.weight.detach(), convolution.get_parameter("bias").detach()
    bias.add_((weight * (0.5 - mean) / std).sum((1, 2, 3)))
    weight.mul_(0.5 / std)


@checked(classes=partial(whole, least=2), size=partial(whole, least=32))
def tiny_ssdlite(classes: int = 2, *, size: int = 96) -> SSDLite:
    """An SSDLite of three maps and few filters, which learns drawn people in a minute on a laptop.

    Parameters
    ----------
    classes
        With the background.
    size
        Side of the images in pixels, of which :func:`draw_people` makes some.

    Examples
    --------
    >>> model = tiny_ssdlite()
    >>> model.maps, sum(p.numel() for p in model.parameters()) < 40_000
    ((12, 6, 3), True)
    """
    first = [normed(3, 16, 3, stride=2), normed(16, 24, 3, stride=2), normed(24, 32, 3, stride=2)]
    stages = [nn.Sequential(*first, normed(32, 32, 3)), _extra(32, 64), _extra(64, 64)]
    sides = [-(-size // stride) for stride in (8, 16, 32)]
    return SSDLite(stages, (32, 64, 64), sides, classes)


def _padded_as_tensorflow(stages: Sequence[nn.Module], side: int) -> Iterator[int]:
    """Pad every stride of 2 as TensorFlow does for images of that side; the sides of the maps."""
    for stage in stages:
        for block in list(stage.modules()):
            if isinstance(block, Conv2dNormActivation) and block[0].stride == (2, 2):
                if side % 2 == 0:
                    block[0].padding = (0, 0)
                    block.insert(0, nn.ZeroPad2d((0, 1, 0, 1)))
                side = -(-side // 2)
        yield side
