"""Object detection: a class and a box for every object."""

from jaxcv.tasks.detection.assignment import ATSS, Assigner, CenterSampling, MaxIoU
from jaxcv.tasks.detection.task import Detection

__all__ = ["ATSS", "Assigner", "CenterSampling", "Detection", "MaxIoU"]
