"""What a model's output means: its loss, its metrics and its prediction. One task a file."""

from jaxcv.tasks.binary import BinaryClassification
from jaxcv.tasks.classification import Classification
from jaxcv.tasks.regression import Regression
from jaxcv.tasks.task import Task

__all__ = ["BinaryClassification", "Classification", "Regression", "Task"]
