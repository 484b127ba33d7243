"""Sources of detection data: COCO, Pascal VOC, TFDS, and shapes drawn from a formula."""

from jaxcv.data.detection.objects import BoxCounts
from jaxcv.data.detection.shapes import Shapes
from jaxcv.data.detection.tfds import TFDSDetection

__all__ = ["BoxCounts", "Shapes", "TFDSDetection"]
