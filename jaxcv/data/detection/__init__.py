"""Sources of detection data: COCO, Pascal VOC, TFDS, and shapes drawn from a formula."""

from jaxcv.data.detection.coco import COCODetection
from jaxcv.data.detection.objects import BoxCounts
from jaxcv.data.detection.shapes import Shapes
from jaxcv.data.detection.tfds import TFDSDetection
from jaxcv.data.detection.voc import VOCDetection

__all__ = ["BoxCounts", "COCODetection", "Shapes", "TFDSDetection", "VOCDetection"]
