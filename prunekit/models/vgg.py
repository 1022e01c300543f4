"""VGG-16 with batch norm in its CIFAR form."""

from __future__ import annotations

from torch import Tensor, nn

#: Widths of the thirteen convolutions, in five stages that each end in a pooling.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG(nn.Module):
    """Stages of 3x3 convolutions, then two linear layers of which the first has 512 units.

    Takes images of shape (batch, 3, 32, 32) or larger.
    """

    def __init__(self, num_classes: int = 10, stages: tuple = STAGES, hidden: int = 512) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage in stages:
            for width in stage:
                # A bias before a batch norm is subtracted again.
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)))


def vgg16_bn(num_classes: int = 10) -> VGG:
    """VGG-16 for images of 32x32 pixels: 15.0 M parameters, 313 M multiply-accumulates.

    The thirteen convolutions of Simonyan and Zisserman (2015), each with a
    batch norm, and one hidden linear layer of 512 units in place of two of
    4096, the form that Li et al. (2017) prune.

    Examples
    --------
    >>> sum(p.numel() for p in vgg16_bn().parameters())
    14987210
    """
    return VGG(num_classes)


def vgg16_bn_half(num_classes: int = 10) -> VGG:
    """:func:`vgg16_bn` with half as many filters in every layer: 3.8 M parameters, 79 M MACs.

    A quarter of the work, for machines without a GPU.

    Examples
    --------
    >>> sum(p.numel() for p in vgg16_bn_half().parameters())
    3750890
    """
    halves = tuple(tuple(width // 2 for width in stage) for stage in STAGES)
    return VGG(num_classes, halves, hidden=256)
