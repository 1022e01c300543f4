"""SqueezeNet, whole and in miniature, and the two forms of transfer learning."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import SqueezeNet, SqueezeNet1_1_Weights, squeezenet1_1

FINAL_RELU = "classifier.2"


def squeezenet(num_classes: int = 10, *, pretrained: bool = False) -> SqueezeNet:
    """SqueezeNet 1.1 with a classifier of ``num_classes`` maps (thesis, section 5.2).

    With ten classes it has 727,626 parameters (2.9 MB in float32), the
    figure of the thesis. With ``pretrained`` every layer but the classifier
    starts from torchvision's ImageNet weights, which are read from
    ``$TORCH_HOME`` or downloaded.

    Examples
    --------
    >>> sum(p.numel() for p in squeezenet().parameters())
    727626
    """
    if not pretrained:
        return squeezenet1_1(num_classes=num_classes)
    model = squeezenet1_1(weights=SqueezeNet1_1_Weights.IMAGENET1K_V1)
    replace_head(model, num_classes)
    return model


def replace_head(model: SqueezeNet, num_classes: int) -> None:
    """Give a SqueezeNet a fresh classifier, in place."""
    head = nn.Conv2d(model.classifier[1].in_channels, num_classes, kernel_size=1)
    nn.init.normal_(head.weight, mean=0.0, std=0.01)
    nn.init.zeros_(head.get_parameter("bias"))
    model.classifier[1] = head
    model.num_classes = num_classes


def freeze_features(model: SqueezeNet) -> SqueezeNet:
    """Turn a network into a fixed feature extractor: only its classifier still learns.

    This is the first of the two transfer-learning approaches of the thesis
    (section 5.1). The model is changed in place and returned.

    Examples
    --------
    >>> model = freeze_features(squeezenet())
    >>> sum(p.numel() for p in model.parameters() if p.requires_grad)
    5130
    """
    for parameter in model.features.parameters():
        parameter.requires_grad_(False)
    return model


def remove_final_relu(model: nn.Module) -> None:
    """Take away the ReLU on a SqueezeNet's class maps, in place.

    A class whose map is negative everywhere learns nothing through it, and a
    pruned network in which all of them are stays at chance.

    Raises
    ------
    ValueError
        There is none: the model is no SqueezeNet.

    Examples
    --------
    >>> model = squeezenet()
    >>> remove_final_relu(model)
    >>> model.classifier[2]
    Identity()
    """
    if not isinstance(dict(model.named_modules()).get(FINAL_RELU), nn.ReLU):
        raise ValueError(f"no {FINAL_RELU} that is a ReLU: the model does not end as SqueezeNet")
    model.set_submodule(FINAL_RELU, nn.Identity())


class Fire(nn.Module):
    """Squeeze to few maps by 1x1, then expand by 1x1 and 3x3 side by side (Iandola et al. 2016)."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        expanded = torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))
        return torch.cat(expanded, dim=1)


class TinySqueezeNet(nn.Module):
    """SqueezeNet in miniature, for runs of a few seconds: one convolution and three Fires.

    Takes images of shape (batch, 3, 32, 32) or larger and has 184 filters
    before the classifier.

    Examples
    --------
    >>> TinySqueezeNet()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            Fire(16, 8, 16),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(32, 12, 24),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(48, 20, 24),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.1), nn.Conv2d(48, num_classes, 1), nn.AdaptiveAvgPool2d(1)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)
