"""The networks the book prunes, one file a family, and the two forms of transfer learning."""

from collections.abc import Callable

from torch import nn

from prunekit.models.efficientnet import efficientnet_lite0
from prunekit.models.googlenet import GoogLeNet, Inception, googlenet
from prunekit.models.mobilenet import InvertedResidual, MobileNetV2, mobilenet_v2
from prunekit.models.resnet import BasicBlock, ResNet, resnet20, resnet56, resnet110
from prunekit.models.squeezenet import (
    Fire,
    TinySqueezeNet,
    freeze_features,
    remove_final_relu,
    replace_head,
    squeezenet,
)
from prunekit.models.vgg import VGG, vgg16_bn, vgg16_bn_half

# The networks in their CIFAR forms, by name: each takes the number of classes.
CIFAR_MODELS: dict[str, Callable[[int], nn.Module]] = {
    "vgg16_bn": vgg16_bn,
    "vgg16_bn_half": vgg16_bn_half,
    "resnet20": resnet20,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "mobilenet_v2": mobilenet_v2,
    "googlenet": googlenet,
}

__all__ = [
    "CIFAR_MODELS",
    "VGG",
    "BasicBlock",
    "Fire",
    "GoogLeNet",
    "Inception",
    "InvertedResidual",
    "MobileNetV2",
    "ResNet",
    "TinySqueezeNet",
    "efficientnet_lite0",
    "freeze_features",
    "googlenet",
    "mobilenet_v2",
    "remove_final_relu",
    "replace_head",
    "resnet20",
    "resnet56",
    "resnet110",
    "squeezenet",
    "vgg16_bn",
    "vgg16_bn_half",
]
