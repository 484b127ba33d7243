"""One number for each image."""

from jaxcv.tasks.regression.objectives import (
    EuclideanDistance,
    Huber,
    LogCosh,
    MeanAbsolute,
    MeanSquared,
    SmoothL1,
)
from jaxcv.tasks.regression.task import Regression

__all__ = [
    "EuclideanDistance",
    "Huber",
    "LogCosh",
    "MeanAbsolute",
    "MeanSquared",
    "Regression",
    "SmoothL1",
]
