"""Object detection: a class and a box for every object."""

from jaxcv.tasks.detection.assignment import ATSS, Assigner, CenterSampling, MaxIoU
from jaxcv.tasks.detection.objectives import (
    BoxLoss,
    BoxSmoothL1,
    CIoU,
    DIoU,
    GIoU,
    HardNegatives,
    IoU,
)
from jaxcv.tasks.detection.task import Detection

__all__ = [
    "ATSS",
    "Assigner",
    "BoxLoss",
    "BoxSmoothL1",
    "CIoU",
    "CenterSampling",
    "DIoU",
    "Detection",
    "GIoU",
    "HardNegatives",
    "IoU",
    "MaxIoU",
]
