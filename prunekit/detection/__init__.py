"""Single-shot detection: boxes with scores, from a network that can be pruned like any other.

The network gives raw numbers. Anchors, decoding and suppression are outside
it, so that tracing, surgery and export see one graph of convolutions.
"""

from prunekit.detection.anchors import ssd_anchors
from prunekit.detection.boxes import decode, encode
from prunekit.detection.data import BoxSet, load_voc
from prunekit.detection.drawn import draw_people
from prunekit.detection.evaluation import DetectionEvaluation, detect_all, evaluate_detector
from prunekit.detection.loader import BoxLoader
from prunekit.detection.loss import detection_distillation, detection_loss
from prunekit.detection.matching import Matches, match
from prunekit.detection.precision import PrecisionCurve, precision_curve
from prunekit.detection.pretrained import pedestrian_detector
from prunekit.detection.ssdlite import (
    SSDLite,
    ssdlite_mobilenet_v2,
    ssdlite_squeezenet,
    tiny_ssdlite,
)
from prunekit.detection.suppression import Detections, detect

__all__ = [
    "BoxLoader",
    "BoxSet",
    "DetectionEvaluation",
    "Detections",
    "Matches",
    "PrecisionCurve",
    "SSDLite",
    "decode",
    "detect",
    "detect_all",
    "detection_distillation",
    "detection_loss",
    "draw_people",
    "encode",
    "evaluate_detector",
    "load_voc",
    "match",
    "pedestrian_detector",
    "precision_curve",
    "ssd_anchors",
    "ssdlite_mobilenet_v2",
    "ssdlite_squeezenet",
    "tiny_ssdlite",
]
