"""torchvision's detectors: backbone and neck are pruned, heads kept, and the whole runs after."""

import copy

import pytest
import torch
from networks import some_of_every_layer
from torch import nn
from torchvision.models.detection import (
    FCOS,
    FasterRCNN,
    RetinaNet,
    ssdlite320_mobilenet_v3_large,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

import prunekit

SIZES = {"min_size": 64, "max_size": 96}
PICTURES = [torch.rand(3, 64, 96, dtype=torch.double), torch.rand(3, 80, 64, dtype=torch.double)]
X = torch.zeros(1, 3, 64, 96, dtype=torch.double)


def pyramid(**settings) -> BackboneWithFPN:
    """ResNet-18 and a feature pyramid. Its batch norms are frozen ones, here as if trained."""
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, **settings)
    for name, statistic in backbone.named_buffers():
        if "running_mean" not in name:
            statistic.uniform_(0.5, 1.5)
    return backbone


def single_shot() -> BackboneWithFPN:
    return pyramid(returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))


# With a threshold of zero they find things even untrained.
DETECTORS = {
    "RetinaNet": lambda: RetinaNet(single_shot(), 3, score_thresh=0.0, **SIZES),
    "FCOS": lambda: FCOS(
        *(single_shot(), 3),
        anchor_generator=AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((1.0,),) * 5),
        score_thresh=0.0,
        **SIZES,
    ),
    "Faster R-CNN": lambda: FasterRCNN(
        pyramid(), 3, box_score_thresh=0.0, rpn_post_nms_top_n_test=50, **SIZES
    ),
    "SSDLite": lambda: ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3, score_thresh=0.0
    ),
}


def with_backbone(detector: nn.Module, backbone: nn.Module) -> nn.Module:
    """The same heads on another backbone."""
    twin = copy.copy(detector)
    twin._modules = {**detector._modules, "backbone": backbone}
    return twin


@pytest.mark.parametrize("family", DETECTORS)
def test_backbone_and_neck_are_pruned_and_the_detector_runs(family):
    torch.manual_seed(0)
    detector = DETECTORS[family]().double().eval()
    graph = prunekit.trace(detector.backbone, X)
    free = sum((layer.groups > 0).sum() for layer in graph.layers.values())
    assert free > 0.6 * sum(layer.filters for layer in graph.layers.values())
    remove = some_of_every_layer(graph, 0.6, seed=1)
    small = prunekit.rebuild(detector.backbone, graph, remove)
    masked = prunekit.mask(detector.backbone, graph, remove)
    with torch.inference_mode():
        ours, theirs, before = (
            with_backbone(detector, backbone)(PICTURES)
            for backbone in (small, masked, detector.backbone)
        )
    assert all(len(found["boxes"]) for found in ours)
    torch.testing.assert_close(ours, theirs)
    assert any(not torch.equal(a["scores"], b["scores"]) for a, b in zip(ours, before, strict=True))


@pytest.mark.parametrize("family", ["RetinaNet", "FCOS", "Faster R-CNN"])
def test_the_neck_loses_what_its_levels_share(family):
    """The levels that heads read stay as wide; within, channels that are summed go together."""
    graph = prunekit.trace(DETECTORS[family]().double().backbone, X)
    outputs = [name for name in graph.layers if "layer_blocks" in name or "extra_blocks" in name]
    assert not any(graph.layers[name].groups.any() for name in outputs)
    inner = [name for name in graph.layers if "inner_blocks" in name]
    assert len(inner) >= 3
    assert set(graph.members(graph.layers[inner[0]].groups[7])) == set(inner)


def test_ranked_by_the_detectors_own_loss_and_trained_on():
    torch.manual_seed(0)
    detector, x = DETECTORS["RetinaNet"](), torch.rand(2, 3, 64, 96)
    boxes = torch.tensor([[8.0, 8.0, 50.0, 50.0], [0.0, 4.0, 40.0, 60.0]])

    def targets(boxes):
        return [{"boxes": box[None], "labels": torch.tensor([1])} for box in boxes]

    def loss(levels, boxes):
        maps = list(levels.values())
        images = ImageList(x[: len(boxes)], [(64, 96)] * len(boxes))
        anchors = detector.anchor_generator(images, maps)
        losses = detector.compute_loss(targets(boxes), detector.head(maps), anchors)
        return sum(losses.values()) * len(boxes)

    ranking = prunekit.rank(detector.backbone, [(x, boxes)], "taylor", loss=loss)
    remove = prunekit.select(ranking, count=len(ranking) // 4)
    detector.backbone = prunekit.rebuild(detector.backbone, x, remove)
    sum(detector.train()(list(x), targets(boxes)).values()).backward()
    gradients = [weight.grad for weight in detector.backbone.fpn.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
