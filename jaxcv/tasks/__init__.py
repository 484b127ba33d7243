"""What a model's output means: its loss, its metrics, its prediction and its report. A folder per task."""

from jaxcv.devices import AXIS
from jaxcv.tasks.classification import BinaryClassification, Classification
from jaxcv.tasks.detection import (
    ATSS,
    CenterSampling,
    CIoU,
    Detection,
    DIoU,
    EqualizedSigmoidFocal,
    GIoU,
    IoU,
    MaxIoU,
    SigmoidAsymmetric,
    SigmoidFocal,
    SmoothL1,
    SoftmaxHardNegatives,
)
from jaxcv.tasks.faces import FaceRecognition, MetricLearning, SupervisedContrastive, Triplet
from jaxcv.tasks.regression import Regression
from jaxcv.tasks.segmentation import Segmentation
from jaxcv.train.task import Task

__all__ = [
    "ATSS",
    "AXIS",
    "BinaryClassification",
    "CIoU",
    "CenterSampling",
    "Classification",
    "DIoU",
    "Detection",
    "EqualizedSigmoidFocal",
    "FaceRecognition",
    "GIoU",
    "IoU",
    "MaxIoU",
    "MetricLearning",
    "Regression",
    "Segmentation",
    "SigmoidAsymmetric",
    "SigmoidFocal",
    "SmoothL1",
    "SoftmaxHardNegatives",
    "SupervisedContrastive",
    "Task",
    "Triplet",
]
