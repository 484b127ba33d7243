"""Face recognition and metric learning: embeddings compared by cosine."""

from jaxcv.tasks.faces.metric_learning import MetricLearning, SupervisedContrastive, Triplet
from jaxcv.tasks.faces.recognition import FaceRecognition

__all__ = ["FaceRecognition", "MetricLearning", "SupervisedContrastive", "Triplet"]
