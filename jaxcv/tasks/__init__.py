"""What a model's output means: its loss, its metrics and its prediction. One task a file."""

from jaxcv.tasks.binary import BinaryClassification
from jaxcv.tasks.classification import Classification
from jaxcv.tasks.detection import Detection
from jaxcv.tasks.face import FaceRecognition
from jaxcv.tasks.metric_learning import MetricLearning, SupervisedContrastive, Triplet
from jaxcv.tasks.regression import Regression
from jaxcv.tasks.segmentation import Segmentation
from jaxcv.tasks.task import AXIS, Task

__all__ = [
    "AXIS",
    "BinaryClassification",
    "Classification",
    "Detection",
    "FaceRecognition",
    "MetricLearning",
    "Regression",
    "Segmentation",
    "SupervisedContrastive",
    "Task",
    "Triplet",
]
