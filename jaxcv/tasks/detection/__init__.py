"""Object detection: a class and a box for every object."""

from jaxcv.tasks.detection.assignment import ATSS, Assigner, CenterSampling, MaxIoU
from jaxcv.tasks.detection.objectives import (
    BoxLoss,
    CIoU,
    ClassLoss,
    DIoU,
    EqualizedSigmoidFocal,
    GIoU,
    IoU,
    SigmoidAsymmetric,
    SigmoidFocal,
    SmoothL1,
    SoftmaxHardNegatives,
)
from jaxcv.tasks.detection.task import Detection

__all__ = [
    "ATSS",
    "Assigner",
    "BoxLoss",
    "CIoU",
    "CenterSampling",
    "ClassLoss",
    "DIoU",
    "Detection",
    "EqualizedSigmoidFocal",
    "GIoU",
    "IoU",
    "MaxIoU",
    "SigmoidAsymmetric",
    "SigmoidFocal",
    "SmoothL1",
    "SoftmaxHardNegatives",
]
