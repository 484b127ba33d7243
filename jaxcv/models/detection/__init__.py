"""Detectors: a box, and scores for the classes, at every position of a pyramid of features."""

from jaxcv.models.detection.anchors import Anchors, grid_anchors
from jaxcv.models.detection.fcos import FCOS
from jaxcv.models.detection.head import DetectionHead
from jaxcv.models.detection.outputs import DetectionOutputs
from jaxcv.models.detection.retinanet import RetinaNet

__all__ = [
    "FCOS",
    "Anchors",
    "DetectionHead",
    "DetectionOutputs",
    "RetinaNet",
    "grid_anchors",
]
