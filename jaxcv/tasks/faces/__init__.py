"""Face recognition and metric learning: embeddings compared by cosine."""

from jaxcv.tasks.faces.metric_learning import MetricLearning
from jaxcv.tasks.faces.objectives import (
    Center,
    Circle,
    Contrastive,
    LiftedStructure,
    MarginSoftmax,
    MultiSimilarity,
    NPairs,
    NTXent,
    PairObjective,
    ProxyAnchor,
    ProxyNCA,
    RankedList,
    SupervisedContrastive,
    Triplet,
)
from jaxcv.tasks.faces.recognition import FaceRecognition

__all__ = [
    "Center",
    "Circle",
    "Contrastive",
    "FaceRecognition",
    "LiftedStructure",
    "MarginSoftmax",
    "MetricLearning",
    "MultiSimilarity",
    "NPairs",
    "NTXent",
    "PairObjective",
    "ProxyAnchor",
    "ProxyNCA",
    "RankedList",
    "SupervisedContrastive",
    "Triplet",
]
