"""Classes of whole images: one of many, or yes and no."""

from jaxcv.tasks.classification.binary import BinaryClassification
from jaxcv.tasks.classification.task import Classification

__all__ = ["BinaryClassification", "Classification"]
